//! Holding something while a command runs: `cairn lock` and `cairn elect`.
//!
//! The command is ended when what it runs under is lost: SIGTERM first, SIGKILL after [`GRACE`]. And it
//! ends with us: if this process is killed, the system kills the command too, for nobody would tell it
//! that its time is over. (Not what the command has started in turn.)

use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use layer_lock::{Lost, Sequencer, Session};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::output::{Ended, say};
use super::{Failure, exit};

/// How long a command may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// What shells answer when there is no such program, and when it can't be run.
const NO_SUCH_PROGRAM: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

/// A way for us to start ourselves in the place of a command; see [`become_command`].
pub(crate) const UNDER_PARENT: &str = "--under-parent";

/// The signals that end us.
pub(crate) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

/// Which signal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// SIGTERM.
    Terminate,
    /// SIGINT; from a terminal the whole process group gets it.
    Interrupt,
}

impl Signals {
    /// Takes them over: they end nothing by themselves any more.
    pub(crate) fn take() -> Result<Self, Failure> {
        let take = |kind| {
            signal(kind)
                .map_err(|error| Failure::not_done("system", format!("watch for signals: {error}")))
        };
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Came {
        tokio::select! {
            _ = self.terminate.recv() => Came::Terminate,
            _ = self.interrupt.recv() => Came::Interrupt,
        }
    }
}

/// What is held is no longer ours.
pub(crate) fn lost(what: &str, lost: Lost) -> Failure {
    let message = format!("the {what} is lost: {lost}");
    let help = "what the holder did last may have come too late; writes that bore the token were \
                refused by the store";
    Failure::unknown("lost", message).help(help)
}

/// Runs a command while the session lives; its exit code, or that the session was lost.
pub(crate) async fn run_under(
    session: &Session,
    what: &str,
    sequencer: &Sequencer,
    command: &[OsString],
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let mut child = start(sequencer, command)?;
    let mut told: Option<Failure> = None;
    let mut kill_at: Option<Instant> = None;
    loop {
        let never = Instant::now() + Duration::from_hours(24);
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(|error| {
                    Failure::not_done("system", format!("wait for the command: {error}"))
                })?;
                return told.map_or(Ok(code_of(status)), Err);
            }
            why = session.lost(), if told.is_none() => {
                let failure = lost(what, why);
                say(&format!("cairn: {}; the command is ended", failure.message));
                told = Some(failure);
                tell(&child, Signal::TERM);
                kill_at = Some(Instant::now() + GRACE);
            }
            came = signals.next() => match came {
                Came::Terminate => tell(&child, Signal::TERM),
                // The terminal has told the command too. What it makes of it is its own affair.
                Came::Interrupt => {}
            },
            () = sleep_until(kill_at.unwrap_or(never)), if kill_at.is_some() => {
                kill_at = None;
                tell(&child, Signal::KILL);
            }
        }
    }
}

/// Starts a command by way of ourselves, so that it ends with us.
fn start(sequencer: &Sequencer, command: &[OsString]) -> Result<Child, Failure> {
    let own = std::env::current_exe();
    let own = own.map_err(|error| Failure::file(Path::new("cairn"), "find the program", &error))?;
    Command::new(&own)
        .arg(UNDER_PARENT)
        .arg(std::process::id().to_string())
        .args(command)
        .env("CAIRN_LOCK_KEY", os_string(&sequencer.key))
        .env("CAIRN_LOCK_TOKEN", sequencer.token.to_string())
        .env("CAIRN_LOCK_FENCE", sequencer.to_string())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Failure::file(&own, "run", &error))
}

/// What an environment variable can hold of a key: all but zeros.
fn os_string(bytes: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStringExt as _;
    OsString::from_vec(bytes.iter().copied().filter(|byte| *byte != 0).collect())
}

/// `cairn --under-parent PID COMMAND…`: has the system kill this process when its parent ends, and
/// becomes the command.
pub(crate) fn become_command(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let parent = args.next().and_then(|pid| pid.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let Some(program) = args.next() else { return ExitCode::from(exit::USAGE) };
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        say(&format!("cairn: the command may outlive the lock: {error}"));
    }
    if rustix::process::getppid() != parent {
        // It ended before the system was asked.
        return ExitCode::from(exit::NOT_DONE);
    }
    let error = std::process::Command::new(&program).args(args).exec();
    say(&format!("cairn: run {}: {error}", program.display()));
    ExitCode::from(match error.kind() {
        std::io::ErrorKind::NotFound => NO_SUCH_PROGRAM,
        _ => NOT_RUNNABLE,
    })
}

/// A command's end as an exit code, as shells tell it.
pub(crate) fn code_of(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| signal + 128);
    status.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// It was not waited for yet, so the number is still its own.
fn tell(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended a moment ago.
        let _ = kill_process(pid, signal);
    }
}

/// Gives the lease back, whatever hangs on it. If that fails it ends by itself: not worth an exit code.
pub(crate) async fn close(session: Session) {
    if let Err(error) = session.close().await {
        say(&format!("cairn: the lease could not be revoked and ends by itself: {error}"));
    }
}

/// A command's exit code as the end of ours.
pub(crate) fn ended_with(code: u8) -> Result<(), Ended> {
    if code == 0 { Ok(()) } else { Err(Ended::Command(code)) }
}
