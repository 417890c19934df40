//! `cairn get`: one key's value, byte for byte.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};
use wire::{Item, Query, Revision};

use super::connect::{ConsistencyArg, Door};
use super::keys::{KeyForm, insert_bytes};
use super::output::{Ended, Stdout, print, stdout_is_terminal};
use super::{Failure, Output};

const EXAMPLE: &str = "\
The value is printed byte for byte; only a terminal gets a newline after it.

Examples:
  cairn get hello
  cairn get photo --file photo.jpg
  cairn get hello --revision 7            the value that it had then
  cairn get hello --output json           with its revisions
  cairn get hello --consistency eventual  the nearest node's answer, maybe old";

/// `cairn get`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct GetArgs {
    /// The key
    key: String,
    /// Write the value to this file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Read the state as of this revision
    #[arg(long)]
    revision: Option<u64>,
    #[command(flatten)]
    consistency: ConsistencyArg,
    #[command(flatten)]
    form: KeyForm,
}

/// Carries out `cairn get`.
pub(crate) async fn get(door: Door, args: GetArgs) -> Result<(), Ended> {
    let mut query = Query::key(args.form.parse(&args.key)?);
    query.revision = args.revision.map(Revision);
    let page = door.client.read(query, args.consistency.consistency).await?;
    let Some(item) = page.value.items.into_iter().next() else {
        return Err(Failure::no("absent", format!("key {:?} is absent", args.key)).into());
    };
    if let Some(path) = &args.file {
        return Ok(write_file(path, &item.value)?);
    }
    match door.output {
        Output::Json => print(&Value::Object(item_json(&item, args.form)).to_string()),
        Output::Text => {
            let mut bytes = item.value.to_vec();
            if stdout_is_terminal() {
                bytes.push(b'\n');
            }
            Ok(Stdout::new().bytes(&bytes)?)
        }
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::file(path, "write", &error))
}

/// An item for programs.
pub(crate) fn item_json(item: &Item, form: KeyForm) -> Map<String, Value> {
    let mut object = Map::new();
    form.insert(&mut object, &item.key);
    insert_bytes(&mut object, "value", &item.value);
    object.insert("created".into(), item.created.0.into());
    object.insert("modified".into(), item.modified.0.into());
    object.insert("version".into(), item.version.into());
    if item.lease != 0 {
        object.insert("lease".into(), item.lease.into());
    }
    object
}
