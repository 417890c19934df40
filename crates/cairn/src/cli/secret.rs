//! Passwords: from the environment, from the terminal without being shown, or from stdin.

use std::io::{self, BufRead as _, IsTerminal as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use wire::Hidden;

use super::Failure;
use super::output::ask;

/// Where a password may stand that belongs to `--user`.
const VARIABLE: &str = "CAIRN_PASSWORD";

/// The password of whoever logs in.
pub(crate) fn password(prompt: &str) -> Result<Hidden, Failure> {
    match std::env::var(VARIABLE) {
        Ok(password) => Ok(Hidden(password.into())),
        Err(_) if io::stdin().is_terminal() => read(prompt),
        Err(_) => Err(Failure::usage("--user names no password, and there is no terminal to ask")
            .help("write --user NAME:PASSWORD, or set CAIRN_PASSWORD")),
    }
}

/// A new password: twice from a terminal, or once as a line of stdin.
pub(crate) fn new_password(of: &str) -> Result<Hidden, Failure> {
    let first = read(&format!("Password of {of}: "))?;
    if io::stdin().is_terminal() && read("Once more: ")? != first {
        return Err(Failure::usage("the two passwords differ"));
    }
    Ok(first)
}

fn read(prompt: &str) -> Result<Hidden, Failure> {
    let unreadable =
        |error: io::Error| Failure::file(std::path::Path::new("stdin"), "read", &error);
    let stdin = io::stdin();
    let shown = tcgetattr(&stdin).ok();
    if let Some(shown) = &shown {
        ask(prompt);
        let mut hidden = shown.clone();
        hidden.local_modes -= LocalModes::ECHO;
        tcsetattr(&stdin, OptionalActions::Now, &hidden)
            .map_err(|error| unreadable(error.into()))?;
    }
    let mut line = String::new();
    let result = stdin.lock().read_line(&mut line);
    if let Some(shown) = &shown {
        // The terminal may be gone; then nobody looks at it.
        let _ = tcsetattr(&stdin, OptionalActions::Now, shown);
        ask("\n");
    }
    result.map_err(unreadable)?;
    let line = line.trim_end_matches(['\n', '\r']);
    if line.is_empty() {
        return Err(Failure::usage("the password is empty"));
    }
    Ok(Hidden(line.to_owned().into()))
}
