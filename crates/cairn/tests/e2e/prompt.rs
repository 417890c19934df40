//! Passwords as people type them: into a terminal, which must not show them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::support::cluster::Cluster;
use crate::support::process::{Process, cairn};
use crate::support::{alone, eventually};

const PATIENCE: Duration = Duration::from_secs(10);

/// A `cairn` with a terminal of its own.
struct Terminal {
    process: Process,
    keyboard: File,
    screen: OwnedFd,
    seen: String,
}

impl Terminal {
    fn start(cluster: &Cluster, args: &[&str]) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let screen: OwnedFd =
            rustix::fs::open(ptsname(&keyboard, Vec::new()).unwrap(), flags, Mode::empty())
                .unwrap();
        // To read what is there, and no more, without waiting for ever.
        rustix::fs::fcntl_setfl(&keyboard, OFlags::RDWR | OFlags::NONBLOCK).unwrap();
        let mut command = in_the_foreground(&cairn());
        command.args(args).env("CAIRN_ENDPOINTS", cluster.endpoints());
        let shared = || Stdio::from(screen.try_clone().unwrap());
        command.stdin(shared()).stdout(shared()).stderr(shared());
        let process = Process::start(&mut command);
        Self { process, keyboard: keyboard.into(), screen, seen: String::new() }
    }

    /// All that was ever on the screen.
    fn rest(&mut self) -> String {
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = self.keyboard.read(&mut bytes) {
            self.seen += std::str::from_utf8(&bytes[..count]).unwrap();
        }
        self.seen.clone()
    }

    /// Waits until it asks this.
    fn shows(&mut self, question: &str) {
        eventually(question, PATIENCE, || self.rest().ends_with(question).then_some(()));
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Its exit code.
    fn ends(&mut self) -> Option<i32> {
        self.process.wait(PATIENCE).code()
    }
}

/// As a shell starts what has the terminal. Whatever runs in the background inherits that SIGINT is
/// ignored, and this test may.
fn in_the_foreground(command: &Command) -> Command {
    let mut env = Command::new("env");
    env.arg("--default-signal=INT").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => env.env(name, value),
            None => env.env_remove(name),
        };
    }
    env
}

impl Terminal {
    /// Whether it shows what is typed.
    fn echoes(&self) -> bool {
        tcgetattr(&self.screen).unwrap().local_modes.contains(LocalModes::ECHO)
    }
}

#[test]
fn a_password_is_asked_for_twice_and_never_shown() {
    let _alone = alone();
    let cluster = Cluster::start(1);
    let add = |name: &str| Terminal::start(&cluster, &["user", "add", name]);

    let mut alice = add("alice");
    alice.shows("Password of alice: ");
    assert!(!alice.echoes());
    // Ctrl-U takes back the line, and the key above Enter a letter.
    alice.types("queen\x15wonderlandß\x7f\n");
    alice.shows("Once more: ");
    alice.types("wonderland\n");
    assert_eq!(alice.ends(), Some(0));
    assert!(alice.echoes());
    let all = alice.rest();
    assert!(!all.contains("land"), "{all:?}");

    let mut carol = add("carol");
    carol.shows("Password of carol: ");
    carol.types("one\n");
    carol.shows("Once more: ");
    carol.types("another\n");
    assert_eq!(carol.ends(), Some(2));
    assert!(carol.rest().contains("the two passwords differ"));

    let mut broken_off = add("dave");
    broken_off.shows("Password of dave: ");
    broken_off.types("one\x03");
    assert_eq!(broken_off.ends(), None, "it ends by a signal");
    assert!(broken_off.echoes(), "the terminal is as it was");

    let mut named = Terminal::start(&cluster, &["--user", "alice", "auth", "status"]);
    named.shows("Password of alice: ");
    named.types("wonderland\n");
    assert_eq!(named.ends(), Some(0), "nobody needs it yet");
    let users = cairn().args(["--endpoints", &cluster.endpoints(), "user", "list"]).output();
    assert_eq!(String::from_utf8(users.unwrap().stdout).unwrap(), "alice\n");
}
