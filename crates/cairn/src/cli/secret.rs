//! Passwords: from the environment, from the terminal without being shown, or from stdin.

use std::io::{self, BufRead, IsTerminal as _};

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
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
    let stdin = io::stdin();
    let line = if let Ok(shown) = tcgetattr(&stdin) {
        typed(prompt, &shown)
    } else {
        let mut line = Vec::new();
        stdin.lock().read_until(b'\n', &mut line).map(|_| line)
    };
    let line =
        line.map_err(|error| Failure::file(std::path::Path::new("stdin"), "read", &error))?;
    let line = String::from_utf8(line).map_err(|_| Failure::usage("the password is no text"))?;
    let line = line.trim_end_matches(['\n', '\r']);
    if line.is_empty() {
        return Err(Failure::usage("the password is empty"));
    }
    Ok(Hidden(line.to_owned().into()))
}

/// Reads a line from the terminal without its being shown.
///
/// The keys that edit a line or end a program are looked at here, as long as that lasts: a Ctrl-C that
/// ended this process at once would leave a terminal that shows nothing.
fn typed(prompt: &str, shown: &Termios) -> io::Result<Vec<u8>> {
    let mut hidden = shown.clone();
    hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
    hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
    hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
    // Before the question: who sees it may type at once.
    tcsetattr(io::stdin(), OptionalActions::Now, &hidden)?;
    ask(prompt);
    let line = edited(io::stdin().lock(), shown);
    // The terminal may be gone; then nobody looks at it.
    let _ = tcsetattr(io::stdin(), OptionalActions::Now, shown);
    ask("\n");
    let line = line?;
    if line.is_none() {
        // As the key would have done it.
        kill_process(getpid(), Signal::INT)?;
    }
    Ok(line.unwrap_or_default())
}

/// What the keys make, until the line ends; `None` if they end the program.
fn edited(keys: impl BufRead, terminal: &Termios) -> io::Result<Option<Vec<u8>>> {
    let key = |of: SpecialCodeIndex| terminal.special_codes[of];
    let mut line = Vec::new();
    for byte in keys.bytes() {
        match byte? {
            b'\n' | b'\r' => break,
            byte if byte == key(SpecialCodeIndex::VINTR) => return Ok(None),
            byte if byte == key(SpecialCodeIndex::VEOF) => break,
            byte if byte == key(SpecialCodeIndex::VKILL) => line.clear(),
            // A letter of several bytes goes as a whole.
            byte if byte == key(SpecialCodeIndex::VERASE) => {
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            byte => line.push(byte),
        }
    }
    Ok(Some(line))
}
