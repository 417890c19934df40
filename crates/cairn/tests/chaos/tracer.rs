//! A disk that is slow or fails: `strace` stands between a thread of a node and the kernel, and
//! holds up its syncs or answers them with an error.
//!
//! It is attached to the one thread that syncs the journal, or to the one that works for the engine;
//! the others run as always. A sync that is answered with an error does not happen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What `strace` prints where it meddled with a result, and where with the time.
const MEDDLED: [&str; 2] = ["(INJECTED)", "(DELAYED)"];

/// How long it may take to attach, and to let go.
const PATIENCE: Duration = Duration::from_secs(5);

/// What happens to syncs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meddling {
    /// Each takes so much longer.
    Slow(Duration),
    /// The first one fails, all others work: a node that tries again would be told that all is well.
    FailOnce,
}

/// A thread under the eyes of `strace`, until this is dropped.
#[derive(Debug)]
pub(crate) struct Tracer {
    strace: Child,
    output: PathBuf,
    /// The process whose thread it is.
    pub(crate) process: u32,
}

impl Tracer {
    /// Whether this machine has it.
    pub(crate) fn is_there() -> bool {
        let asked = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    }

    /// Attaches to the thread of this name. `None` if the process, or the thread, is not there.
    pub(crate) fn attach(
        process: u32,
        thread: &str,
        meddling: Meddling,
        output: &Path,
    ) -> Option<Self> {
        let thread = thread_of(process, thread)?;
        // Directories are synced with the other call. It is counted for itself, and would fail, too.
        let (calls, what) = match meddling {
            Meddling::Slow(time) => {
                ("fdatasync,fsync", format!("delay_enter={}", time.as_micros()))
            }
            Meddling::FailOnce => ("fdatasync", "error=EIO:when=1".to_owned()),
        };
        let strace = Command::new("strace")
            .args(["-qq", "-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{what}")])
            .args(["-o".as_ref(), output.as_os_str()])
            .args(["-p", &thread.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut tracer = Self { strace, output: output.to_owned(), process };
        let begun = Instant::now();
        while !is_traced(process, thread) {
            // It may have ended at once, for the process may be gone.
            if tracer.strace.try_wait().unwrap().is_some() || begun.elapsed() > PATIENCE {
                return None;
            }
            sleep(Duration::from_millis(2));
        }
        Some(tracer)
    }

    /// How many syncs were answered with an error, or held up.
    pub(crate) fn meddled(&self) -> u64 {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        MEDDLED.iter().map(|word| text.matches(word).count() as u64).sum()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.strace.id()).unwrap()).unwrap();
        // At this signal it lets the thread go; one that stands still must be let go, too.
        let _ = kill_process(pid, Signal::TERM);
        let begun = Instant::now();
        while self.strace.try_wait().unwrap().is_none() {
            if begun.elapsed() > PATIENCE {
                let _ = self.strace.kill();
            }
            sleep(Duration::from_millis(2));
        }
    }
}

fn thread_of(process: u32, name: &str) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let numbers = threads.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let has_name = |number: &u32| {
        let named = fs::read_to_string(format!("/proc/{process}/task/{number}/comm"));
        named.is_ok_and(|found| found.trim_end() == name)
    };
    numbers.into_iter().find(has_name)
}

fn is_traced(process: u32, thread: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/task/{thread}/status"));
    let line = |text: String| {
        let tracer = text.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_some_and(|number| number.trim() != "0")
    };
    status.is_ok_and(line)
}
