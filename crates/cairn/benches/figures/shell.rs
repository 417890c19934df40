//! Commands of `cairn`, and what they say.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::figure::Figure;

/// The program that is measured.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_cairn");

/// How long a node may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// A `cairn bench` under way.
#[derive(Debug)]
pub(crate) struct Load {
    child: Child,
    line: String,
}

impl Load {
    /// Starts it: `words` is what stands behind `cairn bench`.
    pub(crate) fn start(cluster: &Cluster, figure: &mut Figure, words: &str) -> Self {
        let line = format!("cairn bench {words}");
        figure.command(line.clone());
        let mut command = Command::new(PROGRAM);
        command.args(["--endpoints", &cluster.endpoints(), "--output", "json", "bench"]);
        command.args(words.split_whitespace());
        clean(&mut command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        Self { child, line }
    }

    /// Waits for its end. Operations that failed are worth a note.
    pub(crate) fn finish(self, figure: &mut Figure) -> Value {
        let output = self.child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}: {}", self.line, output.status);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        for run in answer["runs"].as_array().into_iter().flatten() {
            let foreign = run["foreign_cores"].as_f64().unwrap_or(0.0);
            if foreign > 0.3 {
                figure.note(format!("others used {foreign} cores meanwhile"));
            }
            if run["error_count"] != 0 {
                figure.note(format!("{} clients: errors: {}", run["clients"], run["errors"]));
            }
        }
        answer
    }
}

/// Runs a load to its end.
pub(crate) fn bench(cluster: &Cluster, figure: &mut Figure, words: &str) -> Value {
    Load::start(cluster, figure, words).finish(figure)
}

/// Runs another command of `cairn` to its end.
pub(crate) fn cairn(cluster: &Cluster, words: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    command.args(["--endpoints", &cluster.endpoints(), "--timeout", "60s"]).args(words);
    clean(&mut command);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let words_of = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cairn {words:?}: {words_of}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the tester's shell says must not change what is measured.
pub(crate) fn clean(command: &mut Command) {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CAIRN_")) {
        command.env_remove(name);
    }
}

/// A page of a node's, over HTTP.
pub(crate) fn fetch(address: &str, target: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    Ok(body.unwrap_or_default())
}

/// A number somewhere in an answer.
pub(crate) fn number(answer: &Value, pointer: &str) -> f64 {
    let found = answer.pointer(pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no {pointer} in {answer}"))
}
