//! What `up` prints: for people a table and lines, for programs one JSON object per line.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use consensus::Protocol;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::directory::NodeFiles;
use super::news::{News, What};
use super::tls::Files;
use crate::cli::{Output, print, table};

/// Prints.
#[derive(Debug)]
pub(crate) struct Show {
    output: Output,
    colours: bool,
    program: String,
    dir: PathBuf,
    tls: Option<Files>,
    protocol: Protocol,
}

/// A node as the table shows it.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// Where its things are.
    pub(crate) files: &'a NodeFiles,
    /// Its process, if it runs.
    pub(crate) pid: Option<u32>,
    /// What it is in its group.
    pub(crate) role: String,
}

impl Show {
    /// Prints in this form.
    pub(crate) fn new(output: Output, dir: &Path, tls: Option<Files>, protocol: Protocol) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let program = std::env::args().next().unwrap_or_else(|| "cairn".to_owned());
        Self { output, colours, program, dir: dir.to_owned(), tls, protocol }
    }

    /// The nodes are being started.
    pub(crate) fn starting(&self, cluster: &Cluster) {
        match self.output {
            Output::Text => line(&format!(
                "starting {} of cluster {} in {}",
                nodes(cluster.nodes),
                cluster.name,
                self.dir.display()
            )),
            Output::Json => json_line(json!({
                "event": "starting", "cluster": cluster.name, "nodes": cluster.nodes,
                "directory": self.dir.display().to_string(),
            })),
        }
    }

    /// The cluster serves.
    pub(crate) fn ready(&self, cluster: &Cluster, rows: &[Row<'_>]) {
        match self.output {
            Output::Text => {
                line("");
                line(&text(cluster, rows, &self.dir));
                line("");
                for hint in hints(cluster, rows, self.tls.as_ref()) {
                    line(&hint);
                }
            }
            Output::Json => {
                let nodes: Vec<Value> = rows.iter().map(|row| row_json(cluster, row)).collect();
                let mut ready =
                    json!({ "event": "ready", "cluster": cluster.name, "nodes": nodes });
                if let Some(files) = &self.tls {
                    let path = |name: &str| files.path(name).display().to_string();
                    ready["tls"] = json!({
                        "cacert": path("ca.crt"), "cert": path("client.crt"), "key": path("client.key"),
                    });
                }
                json_line(ready);
            }
        }
    }

    /// Something happened to a node.
    pub(crate) fn news(&self, news: &News, files: &NodeFiles) {
        let News { node, what } = news;
        match self.output {
            Output::Json => json_line(news_json(*node, what)),
            Output::Text if is_noise(what) => {}
            Output::Text => {
                timed(&format!("node {node} {}", what.words(self.protocol)), self.colour(what));
                if let What::Ended { restart_in: None, .. } = what {
                    line(&format!("          start it again: {}", self.by_hand(files)));
                }
            }
        }
    }

    /// A node was started again.
    pub(crate) fn started_again(&self, node: u16, pid: u32) {
        if self.output == Output::Text {
            timed(&format!("node {node} was started again (pid {pid})"), None);
        }
    }

    /// The nodes are being stopped.
    pub(crate) fn stopping(&self) {
        match self.output {
            Output::Text => timed("stopping; once more Ctrl-C ends the nodes at once", None),
            Output::Json => json_line(json!({ "event": "stopping" })),
        }
    }

    /// All nodes have ended as asked.
    pub(crate) fn stopped(&self) {
        let dir = self.dir.display();
        match self.output {
            Output::Text => line(&format!(
                "stopped; the data is in {dir}, and `{}` carries on with it",
                self.up_again()
            )),
            Output::Json => {
                json_line(json!({ "event": "stopped", "directory": dir.to_string() }));
            }
        }
    }

    /// The command that starts the cluster again.
    pub(crate) fn up_again(&self) -> String {
        if self.dir == Path::new(super::DEFAULT_DIR) {
            return format!("{} up", quote(&self.program));
        }
        format!("{} up --dir {}", quote(&self.program), quote(&self.dir.display().to_string()))
    }

    /// The command that starts one node.
    fn by_hand(&self, files: &NodeFiles) -> String {
        let config = files.config.display().to_string();
        format!("{} serve --config {}", quote(&self.program), quote(&config))
    }

    fn colour(&self, what: &What) -> Option<&'static str> {
        match what {
            What::Role { role, .. } if role == "leader" => Some("32"),
            What::Error { .. } | What::Ended { .. } => Some("31"),
            What::Started { .. } | What::Role { .. } => None,
        }
        .filter(|_| self.colours)
    }
}

fn hints(cluster: &Cluster, rows: &[Row<'_>], tls: Option<&Files>) -> Vec<String> {
    let address = |node: u16| cluster.client_address(node);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let options = tls.map(options).unwrap_or_default();
    let store = r#"'{"type":"store","key":"hello","value":"world"}'"#;
    let fetch = r#"'{"type":"fetch","key":"hello"}'"#;
    let mut lines = vec![
        format!(
            "store a value through node 1:  curl {options}{scheme}://{}/ -d {store}",
            address(1)
        ),
        format!(
            "fetch it through node {0}:       curl {options}{scheme}://{1}/ -d {fetch}",
            cluster.nodes,
            address(cluster.nodes)
        ),
    ];
    if tls.is_some() {
        lines.push(format!(
            "the same with etcd's tool:     etcdctl {options}--endpoints https://{} get hello",
            address(1)
        ));
    }
    let leader = rows.iter().find(|row| row.role == "leader").and_then(|row| row.pid);
    if let Some(pid) = leader.filter(|_| cluster.nodes > 2) {
        lines.push(format!("kill the leader:               kill -9 {pid}"));
    }
    lines.push("stop the cluster:              Ctrl-C".to_owned());
    let mut exports: Vec<String> = tls.map(variables).into_iter().collect();
    if cluster.base_port != 8001 {
        let all: Vec<String> = cluster.numbers().map(address).collect();
        exports.push(format!("CAIRN_ENDPOINTS={}", all.join(",")));
    }
    if !exports.is_empty() {
        lines.push(format!("for the other commands:        export {}", exports.join(" ")));
    }
    lines.push(String::new());
    lines
}

/// The options with which curl and etcdctl show and trust what they should; both name them alike.
fn options(files: &Files) -> String {
    let option = |(name, file): (&str, &str)| format!("--{name} {} ", quoted(files, file));
    NAMED.map(option).concat()
}

/// The same for our own commands.
fn variables(files: &Files) -> String {
    let set = |(name, file): (&str, &str)| {
        format!("CAIRN_{}={}", name.to_uppercase(), quoted(files, file))
    };
    NAMED.map(set).join(" ")
}

const NAMED: [(&str, &str); 3] =
    [("cacert", "ca.crt"), ("cert", "client.crt"), ("key", "client.key")];

fn quoted(files: &Files, file: &str) -> String {
    quote(&files.path(file).display().to_string())
}

fn timed(words: &str, colour: Option<&str>) {
    let time = time_of_day(since_epoch());
    match colour {
        Some(code) => line(&format!("{time}  \u{1b}[{code}m{words}\u{1b}[0m")),
        None => line(&format!("{time}  {words}")),
    }
}

fn json_line(mut object: Value) {
    object["time_ms"] = u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX).into();
    line(&object.to_string());
}

/// What a person does not want to read: the table says it, or the next line does.
fn is_noise(what: &What) -> bool {
    match what {
        What::Started { .. } => true,
        What::Role { role, leader, .. } => {
            role == "pre-candidate" || (role == "follower" && leader.is_none())
        }
        What::Error { .. } | What::Ended { .. } => false,
    }
}

/// That nobody reads it is no reason to stop the cluster.
fn line(line: &str) {
    let _ = print(line);
}

fn nodes(count: u16) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

fn text(cluster: &Cluster, rows: &[Row<'_>], dir: &Path) -> String {
    let cells = rows.iter().map(|row| {
        let node = row.files.node;
        vec![
            node.to_string(),
            row.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            row.role.clone(),
            cluster.client_address(node),
            cluster.peer_address(node),
            dir.join(format!("node-{node}")).display().to_string(),
        ]
    });
    table(&["NODE", "PID", "ROLE", "CLIENTS", "PEERS", "DATA"], &[1], cells)
}

fn row_json(cluster: &Cluster, row: &Row<'_>) -> Value {
    let node = row.files.node;
    json!({
        "node": node, "pid": row.pid, "role": row.role,
        "client_address": cluster.client_address(node),
        "peer_address": cluster.peer_address(node),
        "data_dir": row.files.data.display().to_string(),
        "config": row.files.config.display().to_string(),
    })
}

fn news_json(node: u16, what: &What) -> Value {
    match what {
        What::Started { pid } => json!({ "event": "started", "node": node, "pid": pid }),
        What::Role { role, epoch, leader } => {
            json!({ "event": "role", "node": node, "role": role, "epoch": epoch, "leader": leader })
        }
        What::Error { words } => json!({ "event": "error", "node": node, "message": words }),
        What::Ended { status, words, restart_in } => {
            let pause_ms = restart_in.map(|pause| pause.as_millis().try_into().unwrap_or(u64::MAX));
            json!({
                "event": "ended", "node": node, "status": status, "message": words,
                "restart_in_ms": pause_ms,
            })
        }
    }
}

/// A word of a shell command.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[expect(clippy::disallowed_methods, reason = "a driver: lines bear the time of day")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `12:00:03`, in UTC: the zone of this place is not known without a database of zones.
fn time_of_day(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day() {
        assert_eq!(time_of_day(Duration::from_secs(0)), "00:00:00");
        assert_eq!(time_of_day(Duration::from_secs(86_400 * 3 + 43_203)), "12:00:03");
    }

    #[test]
    fn words_of_a_shell() {
        assert_eq!(quote("./cairn-data/node-2.toml"), "./cairn-data/node-2.toml");
        assert_eq!(quote("my data"), "'my data'");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }

    #[test]
    fn news_for_programs() {
        let role = What::Role { role: "leader".into(), epoch: 4, leader: Some(2) };
        assert_eq!(
            news_json(2, &role).to_string(),
            r#"{"epoch":4,"event":"role","leader":2,"node":2,"role":"leader"}"#
        );
    }
}
