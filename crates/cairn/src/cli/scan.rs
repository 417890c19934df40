//! `cairn scan`: keys in order, page by page, all of one revision.

use clap::Args;
use serde_json::json;
use wire::{KeyRange, Projection, Query, Revision};

use super::Output;
use super::connect::{ConsistencyArg, Door};
use super::keys::{KeyForm, RangeArgs};
use super::lines::LineForm;
use super::output::{Ended, Stdout, print};

const EXAMPLE: &str = "\
Prints a line for each key: the key, a tab, the value; control characters and what is not UTF-8 as
escapes. All of it is one state of the store, however long it takes.

Examples:
  cairn scan                             everything
  cairn scan user/ --keys-only
  cairn scan --from a --to b --limit 10
  cairn scan user/ --revision 7          as it was then
  cairn scan user/ --count-only
  cairn scan --output json | jq .key";

/// `cairn scan`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// The most keys to print; 0 is all
    #[arg(long, default_value_t = 0)]
    limit: u64,
    /// Leave the values out
    #[arg(long)]
    keys_only: bool,
    /// Print only how many keys there are
    #[arg(long, conflicts_with_all = ["limit", "keys_only"])]
    count_only: bool,
    /// Read the state as of this revision
    #[arg(long)]
    revision: Option<u64>,
    #[command(flatten)]
    consistency: ConsistencyArg,
    #[command(flatten)]
    form: KeyForm,
}

/// Carries out `cairn scan`.
pub(crate) async fn scan(door: Door, args: ScanArgs) -> Result<(), Ended> {
    let range = args.range.range(args.form)?;
    if args.count_only {
        return count(&door, range, &args).await;
    }
    let mut scan = door.client.scan(range).consistency(args.consistency.consistency);
    if args.limit > 0 {
        scan = scan.limit(args.limit);
    }
    if args.keys_only {
        scan = scan.keys_only();
    }
    if let Some(revision) = args.revision {
        scan = scan.at(Revision(revision));
    }
    let form = LineForm { output: door.output, keys: args.form, keys_only: args.keys_only };
    let mut out = Stdout::new();
    while let Some(page) = scan.next().await? {
        for item in &page.value.items {
            out.line(&form.item(item))?;
        }
        out.flush()?;
    }
    Ok(())
}

async fn count(door: &Door, range: KeyRange, args: &ScanArgs) -> Result<(), Ended> {
    let mut query = Query::range(range);
    query.revision = args.revision.map(Revision);
    query.projection = Projection::CountOnly;
    let page = door.client.read(query, args.consistency.consistency).await?;
    let (count, revision) = (page.value.count, page.header.revision.0);
    match door.output {
        Output::Text => print(&count.to_string()),
        Output::Json => print(&json!({ "count": count, "revision": revision }).to_string()),
    }
}
