//! Runs the examples of `docs/http.md`: what the document shows is what happens.
//!
//! An example is a block marked `console`: lines that begin with `$ curl` are sent, in order, to one
//! store; the lines below are the answer. With `-i` the lines shown must stand in the answer in this
//! order, and `...` skips what is not shown. With `-N` the answer begins with what is shown.

use crate::world::{Told, World, next_piece};

const BOOK: &str = include_str!("../../../../../docs/http.md");

struct Example {
    command: String,
    output: String,
}

fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    let mut lines = BOOK.lines();
    while let Some(line) = lines.next() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) if line.starts_with("$ ") => {
                let mut command = line[2..].to_owned();
                while let Some(before) = command.strip_suffix('\\') {
                    command = format!("{before}{}", lines.next().unwrap().trim_start());
                }
                examples.push(Example { command, output: String::new() });
            }
            (true, line) => {
                let output = &mut examples.last_mut().expect("a command comes first").output;
                output.push_str(line);
                output.push('\n');
            }
            (false, _) => {}
        }
    }
    examples
}

/// Splits a command at spaces, but for what stands in single quotes.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    assert!(!quoted, "unbalanced quotes in {command}");
    words.retain(|word| !word.is_empty());
    words
}

#[derive(Default)]
struct Curl {
    method: Option<String>,
    uri: String,
    headers: Vec<(String, String)>,
    body: String,
    show_headers: bool,
    stream: bool,
}

fn parse(command: &str) -> Curl {
    let mut words = words(command).into_iter();
    assert_eq!(words.next().as_deref(), Some("curl"), "{command}");
    let mut curl = Curl::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap();
        match &word[..] {
            "-i" => curl.show_headers = true,
            "-N" => curl.stream = true,
            "-I" => (curl.method, curl.show_headers) = (Some("HEAD".into()), true),
            "-X" => curl.method = Some(value()),
            "-d" | "--data-binary" => curl.body = value(),
            "-H" => {
                let header = value();
                let (name, value) = header.split_once(':').unwrap();
                curl.headers.push((name.into(), value.trim().into()));
            }
            other => {
                let rest =
                    other.strip_prefix("localhost:8000").unwrap_or_else(|| panic!("{other}"));
                curl.uri = if rest.is_empty() { "/".into() } else { rest.into() };
            }
        }
    }
    curl
}

#[tokio::test(start_paused = true)]
async fn the_examples_in_the_book_hold() {
    let world = World::new();
    let examples = examples();
    assert!(examples.len() > 20, "the book has examples");
    for Example { command, output } in examples {
        let curl = parse(&command);
        let posted = if curl.body.is_empty() { "GET" } else { "POST" };
        let method = curl.method.as_deref().unwrap_or(posted);
        let headers: Vec<_> = curl.headers.iter().map(|(n, v)| (&n[..], &v[..])).collect();
        if curl.stream {
            let mut answer = world.open(method, &curl.uri, &headers, curl.body).await;
            let mut told = String::new();
            while told.len() < output.len() {
                told += &next_piece(&mut answer).await.expect("the stream goes on");
            }
            assert!(told.starts_with(&output), "{command}\n{told}");
            continue;
        }
        let told = world.send(method, &curl.uri, &headers, curl.body).await;
        if curl.show_headers {
            in_order(&command, &with_headers(&told), &output);
        } else {
            assert_eq!(told.text().trim_end(), output.trim_end(), "{command}");
        }
    }
}

fn with_headers(told: &Told) -> Vec<String> {
    let mut lines = vec![format!("HTTP/1.1 {}", told.status)];
    for (name, value) in &told.headers {
        lines.push(format!("{name}: {}", value.to_str().unwrap()));
    }
    lines.push(String::new());
    lines.extend(told.text().lines().map(str::to_owned));
    lines
}

fn in_order(command: &str, told: &[String], shown: &str) {
    let mut rest = told.iter();
    for line in shown.lines().filter(|line| *line != "...") {
        let line = line.trim_end();
        // The words behind a status are for humans: HTTP/2 has none.
        let same = |told: &&String| {
            **told == line || told.starts_with("HTTP/") && line.starts_with(&told[..])
        };
        assert!(rest.any(|told| same(&told)), "{command}\n{line}\nis not in\n{told:#?}");
    }
}
