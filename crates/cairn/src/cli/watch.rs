//! `cairn watch`: changes as they happen, none skipped and none twice.

use clap::Args;
use wire::Revision;

use super::connect::Door;
use super::keys::{KeyForm, RangeArgs};
use super::lines::LineForm;
use super::output::{Ended, Stdout};

const EXAMPLE: &str = "\
Prints a line for each change until Ctrl-C: revision, put or delete, key, value, with tabs between.
Changes of one revision happened together.

Examples:
  cairn watch                       everything from now on
  cairn watch user/ --revision 1    all that ever happened there and is not compacted away
  cairn watch user/ --output json";

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
            out.line(&form.event(event))?;
        }
        out.flush()?;
    }
}
