//! `cairn config check` and `cairn config show`.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use super::args::ConfigCommand;
use super::{Config, ConfigError};
use crate::errors::Fault;

/// Runs one of the commands on a configuration.
pub(crate) fn run(command: ConfigCommand, json: bool) -> ExitCode {
    let (args, show) = match command {
        ConfigCommand::Check(args) => (args, false),
        ConfigCommand::Show(args) => (args, true),
    };
    match Config::load(&args.settings) {
        Err(error) => report(error, json),
        Ok(config) => {
            let text = match (show, json) {
                (true, false) => table(&config),
                (true, true) => document(&config),
                (false, false) => summary(&config),
                (false, true) => format!("{}\n", json!({ "valid": true })),
            };
            // A reader that went away has seen enough.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
    }
}

fn report(error: ConfigError, json: bool) -> ExitCode {
    let fault = Fault::from(error);
    if json {
        let error =
            json!({ "code": fault.code(), "message": fault.to_string(), "help": fault.help() });
        let line = format!("{}\n", json!({ "error": error }));
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    } else {
        fault.print();
    }
    ExitCode::from(fault.exit())
}

/// One line per setting: name, value, origin.
pub(super) fn table(config: &Config) -> String {
    let mut lines = String::new();
    for (name, raw) in &config.effective {
        let line = format!("{name:<17} {:<28} # {}", quoted(&raw.text), raw.origin);
        lines += line.trim_end();
        lines.push('\n');
    }
    lines
}

fn quoted(text: &str) -> String {
    if text.is_empty() { "(not set)".to_owned() } else { text.to_owned() }
}

fn document(config: &Config) -> String {
    let settings: serde_json::Map<String, serde_json::Value> = config
        .effective
        .iter()
        .map(|(name, raw)| {
            let value = if raw.text.is_empty() { json!(null) } else { json!(raw.text) };
            ((*name).to_owned(), json!({ "value": value, "origin": raw.origin.to_string() }))
        })
        .collect();
    format!("{}\n", serde_json::Value::Object(settings))
}

fn summary(config: &Config) -> String {
    let nodes = config.members.len();
    let survives = (nodes - 1) / 2;
    format!(
        "the configuration holds: node {} of {nodes}, which goes on while {survives} of them {} down; \
         clients at {}, data in {}\n",
        config.node.0,
        if survives == 1 { "is" } else { "are" },
        config.own_client_address(),
        config.data_dir.display()
    )
}
