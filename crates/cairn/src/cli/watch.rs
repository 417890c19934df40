//! `cairn watch`: changes as they happen, none skipped and none twice.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

use bytes::Bytes;
use clap::Args;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use wire::{Change, Event, Revision};

use super::connect::Door;
use super::holding::code_of;
use super::keys::{KeyForm, RangeArgs};
use super::lines::LineForm;
use super::output::{Ended, Stdout, say};
use super::{Failure, exit};

const EXAMPLE: &str = "\
Prints a line for each change until Ctrl-C: revision, put or delete, key, value, with tabs between.
Changes of one revision happened together.

With --exec, which comes last: runs a command for each change instead, one after the other. It gets the
value on stdin, and in its environment
  CAIRN_WATCH_REVISION    the revision
  CAIRN_WATCH_EVENT_TYPE  PUT or DELETE
  CAIRN_WATCH_KEY         the key
  CAIRN_WATCH_VALUE       the value, if it has no zero bytes and is no longer than 64 KiB
If a command fails, the watch ends with its exit code and says from which revision to carry on.

Examples:
  cairn watch                       everything from now on
  cairn watch user/ --revision 1    all that ever happened there and is not compacted away
  cairn watch user/ --output json
  cairn watch config/ --exec sh -c 'echo \"$CAIRN_WATCH_KEY is now $CAIRN_WATCH_VALUE\"'";

/// The longest value that goes into an environment variable: the system has its own limit above.
const LONGEST_IN_ENVIRONMENT: usize = 64 << 10;

/// `cairn watch`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// Begin with this revision; 0 is from now on
    #[arg(long, default_value_t = 0)]
    revision: u64,
    /// Leave the values out
    #[arg(long)]
    keys_only: bool,
    /// Run this command, with all arguments that follow, for each change
    #[arg(long, num_args = 1.., allow_hyphen_values = true, value_name = "COMMAND")]
    exec: Vec<OsString>,
    #[command(flatten)]
    form: KeyForm,
}

/// Carries out `cairn watch`.
pub(crate) async fn watch(door: Door, args: WatchArgs) -> Result<(), Ended> {
    let form = LineForm { output: door.output, keys: args.form, keys_only: args.keys_only };
    let mut watch = door.client.watch(args.range.range(args.form)?, Revision(args.revision));
    let mut out = Stdout::new();
    loop {
        let batch = tokio::select! {
            batch = watch.next() => batch?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        for event in &batch.events {
            if args.exec.is_empty() {
                out.line(&form.event(event))?;
            } else {
                tokio::select! {
                    ran = run(&args.exec, event) => ran?,
                    _ = tokio::signal::ctrl_c() => return Ok(()),
                }
            }
        }
        out.flush()?;
    }
}

/// Runs the command for one change.
async fn run(command: &[OsString], event: &Event) -> Result<(), Ended> {
    let (kind, value) = match &event.change {
        Change::Put(item) => ("PUT", item.value.clone()),
        Change::Delete { .. } => ("DELETE", Bytes::new()),
    };
    let [program, arguments @ ..] = command else { return Ok(()) };
    let mut run = Command::new(program);
    run.args(arguments)
        .env("CAIRN_WATCH_REVISION", event.revision.to_string())
        .env("CAIRN_WATCH_EVENT_TYPE", kind)
        .env_remove("CAIRN_WATCH_KEY")
        .env_remove("CAIRN_WATCH_VALUE")
        .stdin(Stdio::piped())
        .kill_on_drop(true);
    for (name, bytes) in [("CAIRN_WATCH_KEY", event.key()), ("CAIRN_WATCH_VALUE", &value)] {
        if bytes.len() <= LONGEST_IN_ENVIRONMENT && !bytes.contains(&0) {
            run.env(name, OsStr::from_bytes(bytes));
        }
    }
    let failed = |error| Failure::file(std::path::Path::new(program), "run", &error);
    let mut child = run.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read it.
        let _ = stdin.write_all(&value).await;
    }
    let code = code_of(child.wait().await.map_err(failed)?);
    if code == 0 {
        return Ok(());
    }
    let revision = event.revision;
    say(&format!(
        "cairn: {} ended with exit code {code} for the {kind} of {} at revision {revision}\n  help: \
         carry on with --revision {revision}",
        program.display(),
        super::printable(event.key()),
    ));
    // 0 would say that all is well.
    Err(Ended::Command(code.max(exit::NO)))
}
