//! Where a command's results go: data to stdout, words to stderr.
//!
//! A closed stdout (`cairn scan | head`) is not an error: the reader has had enough, and the command
//! ends with 0, in silence.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use clap::ValueEnum;

use super::Failure;

/// The form of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people: tables and lines.
    #[default]
    #[value(alias = "table")]
    Text,
    /// For programs: one JSON document, or one per line where there are many.
    Json,
}

/// Stdout, buffered.
pub(crate) struct Stdout {
    inner: BufWriter<io::StdoutLock<'static>>,
}

impl Stdout {
    /// Takes stdout.
    pub(crate) fn new() -> Self {
        Self { inner: BufWriter::with_capacity(64 << 10, io::stdout().lock()) }
    }

    /// Writes bytes as they are, and flushes.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)?;
        self.inner.flush()
    }

    /// Writes one line; it is seen after [`Stdout::flush`].
    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        self.inner.write_all(line.as_bytes())?;
        self.inner.write_all(b"\n")
    }

    /// Lets all that was written be seen.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Whether a person sees stdout.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether a person sees stderr.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Prints one line to stdout.
pub(crate) fn print(line: &str) -> Result<(), Ended> {
    let mut out = Stdout::new();
    out.line(line)?;
    out.flush()?;
    Ok(())
}

/// Asks the person at the terminal: as it stands, without a new line.
pub(crate) fn ask(words: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(words.as_bytes()).and_then(|()| out.flush());
}

/// Says something to the person at the terminal.
pub(crate) fn say(words: &str) {
    // A closed stderr must not end the command.
    let _ = writeln!(io::stderr().lock(), "{words}");
}

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It failed.
    Failed(Failure),
    /// Whoever read its output has had enough.
    ReaderGone,
    /// A command that it ran for the user ended with this exit code. There is nothing to add.
    Command(u8),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<client::Error> for Ended {
    fn from(error: client::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Of stdout: files have [`Failure::file`].
impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderGone;
        }
        Self::Failed(Failure::file(std::path::Path::new("stdout"), "write to", &error))
    }
}

/// Turns a command's end into an exit code, and says what there is to say.
pub(crate) fn finish(output: Output, result: Result<(), Ended>) -> ExitCode {
    match result {
        Ok(()) | Err(Ended::ReaderGone) => ExitCode::SUCCESS,
        Err(Ended::Command(code)) => ExitCode::from(code),
        Err(Ended::Failed(failure)) => {
            let _ = io::stderr().lock().write_all(failure.text(output).as_bytes());
            ExitCode::from(failure.exit)
        }
    }
}
