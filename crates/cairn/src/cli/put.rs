//! `cairn put` and `cairn del`: one change, on a condition if wanted.

use std::io::Read;
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use layer_lock::Sequencer;
use serde_json::json;
use wire::{Compare, Fence, KeyRange, Op, OpResult, Operand, Operator, Put, Revision, Txn};

use super::connect::Door;
use super::get::item_json;
use super::keys::KeyForm;
use super::output::{Ended, print};
use super::{Failure, Output};

const PUT_EXAMPLE: &str = "\
Examples:
  cairn put hello world
  cairn put photo --file photo.jpg
  date | cairn put now -
  cairn put lock mine --if-absent       exit code 1 if somebody has it
  cairn put hello moon --if-revision 7  exit code 1 if it has changed since
  cairn put worker/7 alive --lease $(cairn lease grant 30s)   vanishes with the lease
  cairn put state done --fence lock/694d@17                   refused if the lock is lost";

/// `cairn put`.
#[derive(Debug, Args)]
#[command(after_help = PUT_EXAMPLE)]
pub(crate) struct PutArgs {
    /// The key
    key: String,
    /// The value; `-` reads it from stdin
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    value: Option<String>,
    /// Read the value from this file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only if the key is absent
    #[arg(long, conflicts_with = "if_revision")]
    if_absent: bool,
    /// Only if this revision made the key's present value; 0: only if it is absent
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    /// The lease to hang the key on: its number, or 0x and hexadecimal digits
    #[arg(long, value_parser = super::lease::number)]
    lease: Option<u64>,
    /// Print what the key was before
    #[arg(long)]
    prev: bool,
    #[command(flatten)]
    fences: FenceArgs,
    #[command(flatten)]
    form: KeyForm,
}

/// Locks that must still be held.
#[derive(Clone, Debug, Args)]
pub(crate) struct FenceArgs {
    /// Only if this lock is still held: what `cairn lock` printed, or gave its command. May be repeated
    #[arg(long, value_name = "KEY@TOKEN")]
    fence: Vec<Sequencer>,
}

impl FenceArgs {
    fn fences(&self) -> Vec<Fence> {
        self.fence.iter().map(Sequencer::fence).collect()
    }
}

const DEL_EXAMPLE: &str = "\
Examples:
  cairn del hello                  exit code 1 if it was absent
  cairn del --prefix user/
  cairn del --from a --to b        all keys from a on, before b
  cairn del hello --if-revision 7
  cairn del hello --fence lock/694d@17   refused if the lock is lost";

/// `cairn del`.
#[derive(Debug, Args)]
#[command(after_help = DEL_EXAMPLE)]
pub(crate) struct DelArgs {
    /// The key
    #[arg(required_unless_present_any = ["prefix", "from", "to"])]
    #[arg(conflicts_with_all = ["prefix", "from", "to"])]
    key: Option<String>,
    /// All keys that begin with this
    #[arg(long, conflicts_with_all = ["from", "to"])]
    prefix: Option<String>,
    /// All keys from this one on
    #[arg(long)]
    from: Option<String>,
    /// All keys before this one
    #[arg(long)]
    to: Option<String>,
    /// Only if this revision made the key's present value
    #[arg(long, value_name = "REVISION", requires = "key")]
    if_revision: Option<u64>,
    #[command(flatten)]
    fences: FenceArgs,
    #[command(flatten)]
    form: KeyForm,
}

/// Carries out `cairn put`.
pub(crate) async fn put(door: Door, args: PutArgs) -> Result<(), Ended> {
    let key = args.form.parse(&args.key)?;
    let value = read_value(&args)?;
    let condition = if args.if_absent { Some(0) } else { args.if_revision };
    let lease = Some(args.lease.unwrap_or(0));
    let put = Put { key: key.clone(), value: Some(value), lease, previous: args.prev };
    let fences = args.fences.fences();
    let result = change(&door, &key, condition, fences, vec![Op::Put(put)]).await?;
    if !result.succeeded {
        return Err(not_as_expected(&args.key, &result.results).into());
    }
    let previous = match result.results.first() {
        Some(OpResult::Put { previous }) => previous.as_ref(),
        _ => None,
    };
    match (door.output, previous) {
        (Output::Text, None) if args.prev => {
            print(&format!("revision {}\nit was absent", result.revision))
        }
        (Output::Text, None) => print(&format!("revision {}", result.revision)),
        (Output::Text, Some(previous)) => {
            let value = super::printable(&previous.value);
            print(&format!("revision {}\nit was {value}", result.revision))
        }
        (Output::Json, previous) => {
            let mut told = json!({ "revision": result.revision.0 });
            if args.prev {
                told["previous"] = previous.map(|item| item_json(item, args.form)).into();
            }
            print(&told.to_string())
        }
    }
}

/// Carries out `cairn del`.
pub(crate) async fn del(door: Door, args: DelArgs) -> Result<(), Ended> {
    let (key, range) = match &args.key {
        Some(key) => {
            let key = args.form.parse(key)?;
            (key.clone(), KeyRange::single(key))
        }
        None => (Bytes::new(), del_range(&args)?),
    };
    let fences = args.fences.fences();
    let result = change(&door, &key, args.if_revision, fences, vec![Op::delete(range)]).await?;
    if !result.succeeded {
        return Err(
            not_as_expected(args.key.as_deref().unwrap_or_default(), &result.results).into()
        );
    }
    let count = match result.results.first() {
        Some(OpResult::Deleted { count, .. }) => *count,
        _ => 0,
    };
    if let (Some(key), 0) = (&args.key, count) {
        return Err(Failure::no("absent", format!("key {key:?} is absent")).into());
    }
    let revision = result.revision;
    match door.output {
        Output::Text => print(&format!("deleted {count} at revision {revision}")),
        Output::Json => print(&json!({ "revision": revision.0, "deleted": count }).to_string()),
    }
}

fn del_range(args: &DelArgs) -> Result<KeyRange, Failure> {
    let (prefix, from, to) = (args.prefix.clone(), args.from.clone(), args.to.clone());
    super::keys::RangeArgs { prefix, from, to }.range(args.form)
}

/// Does `then`, if `key` was last changed by the revision `condition`. If it was not, the answer
/// holds what the key is.
async fn change(
    door: &Door,
    key: &Bytes,
    condition: Option<u64>,
    fences: Vec<Fence>,
    then: Vec<Op>,
) -> Result<wire::TxnResult, Ended> {
    let compare = |revision| {
        Compare::key(key.clone(), Operator::Equal, Operand::Modified(Revision(revision)))
    };
    let mut query = wire::Query::key(key.clone());
    query.projection = wire::Projection::KeysOnly;
    let txn = Txn {
        compares: condition.map(compare).into_iter().collect(),
        then,
        otherwise: if condition.is_some() { vec![Op::Read(query)] } else { Vec::new() },
        fences,
    };
    Ok(door.client.txn(txn).await?)
}

fn not_as_expected(key: &str, results: &[OpResult]) -> Failure {
    let item = match results.first() {
        Some(OpResult::Read(page)) => page.items.first(),
        _ => None,
    };
    let (message, help) = match item {
        None => (format!("key {key:?} is absent"), "use --if-absent to bring it into being"),
        Some(item) => (
            format!("key {key:?} was last changed by revision {}", item.modified),
            "read it again, then decide afresh with --if-revision",
        ),
    };
    let failure = Failure::no("comparison_failed", message).help(help);
    Failure { outcome: Some(wire::Outcome::NotDone), ..failure }
}

fn read_value(args: &PutArgs) -> Result<Bytes, Failure> {
    let path = match (&args.file, args.value.as_deref()) {
        (None, Some("-")) => PathBuf::from("-"),
        (None, value) => return Ok(Bytes::copy_from_slice(value.unwrap_or_default().as_bytes())),
        (Some(path), _) => path.clone(),
    };
    read_input(&path).map(Bytes::from)
}

/// Reads a file, or stdin if it is called `-`.
pub(crate) fn read_input(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    /// No value or transaction may be larger, whatever the nodes' limits are.
    const LIMIT_BYTES: u64 = wire::MAX_FRAME_BYTES as u64;
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(LIMIT_BYTES + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes))
    };
    let read = read.map_err(|error| Failure::file(path, "read", &error))?;
    if read as u64 > LIMIT_BYTES {
        let why = format!("{} holds more than {LIMIT_BYTES} bytes", path.display());
        return Err(Failure::not_done("too_large", why));
    }
    Ok(bytes)
}
