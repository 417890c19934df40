//! `cairn snapshot import-etcd`: what `etcdctl snapshot save` has written, into an empty cluster.
//!
//! etcd keeps every version of a key, sorted by revision; a restore wants the newest of each, sorted by
//! key. So the file is read through once, and of each key that lives its place in the file is kept; then
//! the values are read again, key by key. Nothing is sent before the whole file is known to be sound.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bolt::{Database, Fault, Seeking};
use bytes::Bytes;
use clap::Args;
use client::backup::{self, CHUNK_BYTES};
use gateway_etcd::pb::mvccpb::KeyValue;
use prost::Message;
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use serde_json::json;
use wire::{Item, Revision, check_key};

use super::connect::Door;
use super::output::{Ended, print, say};
use super::snapshot::Meter;
use super::{Failure, Output, units};

/// etcd appends a checksum to a file whose length is a multiple of this.
const SECTOR_BYTES: u64 = 512;

/// What an item takes in a command beyond its key and its value, at most.
const ITEM_BYTES: usize = 6 * 10;

/// The length of a revision: main, `_`, sub.
const REVISION_BYTES: usize = 17;

/// `cairn snapshot import-etcd`.
#[derive(Debug, Args)]
#[command(after_help = "\
The cluster must be empty. Keys keep their create and mod revisions and their versions, and the store
goes on at the snapshot's revision, so that clients which remember revisions go on, too. The file is
read through before anything is sent: its checksum, its pages, every key.

What is left out: versions of keys that were overwritten; leases, so keys that hung on one stay until
they are deleted; users, roles and members. How much of it there was is told.

Example:
  etcdctl snapshot save monday.db
  cairn snapshot import-etcd monday.db")]
pub(crate) struct ImportArgs {
    /// A file that `etcdctl snapshot save` made
    file: PathBuf,
    /// Take a file without a checksum at its end: one that was copied from a member's directory
    #[arg(long)]
    skip_hash_check: bool,
}

/// What a file holds.
#[derive(Debug, Default)]
struct Contents {
    /// Of each key that lives, where its newest version is.
    keys: BTreeMap<Vec<u8>, Place>,
    revision: u64,
    versions: u64,
    leases: u64,
    /// Keys that hang on a lease.
    hanging: u64,
    users: u64,
    roles: u64,
}

/// Where an encoded item stands in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u64,
    len: u32,
    hangs: bool,
}

/// Carries out `cairn snapshot import-etcd`.
pub(crate) async fn run(door: &Door, args: ImportArgs) -> Result<(), Ended> {
    let ImportArgs { file: path, skip_hash_check } = args;
    let mut file = File::open(&path).map_err(|error| Failure::file(&path, "open", &error))?;
    let is_summed = check_sum(&path, &mut file, skip_hash_check)?;
    say(&format!("reading {}", path.display()));
    let mut database = Database::open(Seeking(file)).map_err(|fault| explain(&path, &fault))?;
    let contents = read(&path, &mut database)?;
    let mut meter = Meter::new("importing");
    let total = contents.keys.len() as u64;
    let mut left = contents.keys.iter().peekable();
    let mut bytes = 0;
    let filled = backup::fill(
        &door.client,
        Revision(contents.revision),
        total,
        &mut || next_chunk(&path, &mut database, &mut left),
        &mut |progress| {
            bytes = progress.bytes;
            meter.tell(progress);
        },
    )
    .await;
    meter.end();
    filled?;
    report(door.output, &path, &contents, bytes, is_summed)
}

/// Whether the SHA-256 at the file's end holds; false if there is none and none is asked for.
fn check_sum(path: &Path, file: &mut File, skip: bool) -> Result<bool, Failure> {
    let failed = |error: std::io::Error| Failure::file(path, "read", &error);
    let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    file.rewind().map_err(failed)?;
    if size % SECTOR_BYTES != SHA256_OUTPUT_LEN as u64 {
        if skip {
            return Ok(false);
        }
        return Err(Failure::damaged(format!(
            "{}: there is no checksum at its end",
            path.display()
        ))
        .help(
            "a file that `etcdctl snapshot save` made has one; one that was copied from a \
                 member's directory has none, and is taken with --skip-hash-check",
        ));
    }
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut sum = Context::new(&SHA256);
    let mut left = size - SHA256_OUTPUT_LEN as u64;
    let mut part = vec![0; 1 << 16];
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(part.len());
        reader.read_exact(&mut part[..len]).map_err(failed)?;
        sum.update(&part[..len]);
        left -= len as u64;
    }
    let mut expected = [0; SHA256_OUTPUT_LEN];
    reader.read_exact(&mut expected).map_err(failed)?;
    if sum.finish().as_ref() != expected && !skip {
        return Err(Failure::damaged(format!("{}: its checksum does not hold", path.display()))
            .help("nothing was imported; use another copy"));
    }
    Ok(!skip)
}

/// Reads the whole file.
fn read(path: &Path, database: &mut Database<Seeking<File>>) -> Result<Contents, Failure> {
    let mut contents = Contents::default();
    let fault = |fault: Fault| explain(path, &fault);
    let bucket = database.bucket(b"key").map_err(fault)?;
    let bucket = bucket.ok_or_else(|| {
        Failure::damaged(format!("{}: it is a bbolt file, but not etcd's", path.display()))
    })?;
    let mut walk = database.walk(&bucket);
    while let Some(entry) = walk.next().map_err(fault)? {
        let read = version(entry.key, entry.value, entry.value_at);
        let (revision, key, place) = read.map_err(|what| {
            let at = entry.value_at;
            Failure::damaged(format!("{}: the entry at byte {at}: {what}", path.display()))
                .help("nothing was imported; use another copy")
        })?;
        contents.versions += 1;
        contents.revision = contents.revision.max(revision);
        match place {
            Some(place) => drop(contents.keys.insert(key, place)),
            None => drop(contents.keys.remove(&key)),
        }
    }
    contents.hanging = contents.keys.values().filter(|place| place.hangs).count() as u64;
    contents.leases = count(path, database, b"lease")?;
    contents.users = count(path, database, b"authUsers")?;
    contents.roles = count(path, database, b"authRoles")?;
    // The newest revision may have been a deletion that is compacted by now.
    if let Some(bucket) = database.bucket(b"meta").map_err(fault)? {
        let names = BTreeSet::from([&b"finishedCompactRev"[..], b"scheduledCompactRev"]);
        let mut walk = database.walk(&bucket);
        while let Some(entry) = walk.next().map_err(fault)? {
            if let Some(main) = entry.value.first_chunk().filter(|_| names.contains(entry.key)) {
                contents.revision = contents.revision.max(u64::from_be_bytes(*main));
            }
        }
    }
    // An empty etcd is at revision 1, and so are we.
    contents.revision = contents.revision.max(1);
    Ok(contents)
}

/// One version of a key: its revision, the key, and where it stands unless it says that the key is gone.
fn version(
    revision: &[u8],
    value: &[u8],
    at: u64,
) -> Result<(u64, Vec<u8>, Option<Place>), &'static str> {
    let (revision, mark) = revision.split_at_checked(REVISION_BYTES).ok_or("it has no revision")?;
    let main = u64::from_be_bytes(*revision.first_chunk().ok_or("it has no revision")?);
    let item = KeyValue::decode(value).map_err(|_| "it is no key with a value")?;
    if check_key(&item.key).is_err() {
        return Err("its key is empty, or longer than a key may be");
    }
    let key = item.key.to_vec();
    match mark {
        b"t" => Ok((main, key, None)),
        b"" => {
            item_of(item, main).ok_or("its revisions are no revisions")?;
            let len = u32::try_from(value.len()).map_err(|_| "it is longer than any value")?;
            let hangs = KeyValue::decode(value).is_ok_and(|item| item.lease != 0);
            Ok((main, key, Some(Place { at, len, hangs })))
        }
        _ => Err("its revision bears a mark that is not known"),
    }
}

/// As the store has it; `None` if its numbers make no sense.
fn item_of(item: KeyValue, main: u64) -> Option<Item> {
    let number = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    let (created, modified) = (number(item.create_revision)?, number(item.mod_revision)?);
    (created <= modified && modified == main).then_some(Item {
        key: item.key,
        value: item.value,
        created: Revision(created),
        modified: Revision(modified),
        version: number(item.version)?,
        lease: 0,
    })
}

/// How many entries a bucket has.
fn count(path: &Path, database: &mut Database<Seeking<File>>, name: &[u8]) -> Result<u64, Failure> {
    let fault = |fault: Fault| explain(path, &fault);
    let Some(bucket) = database.bucket(name).map_err(fault)? else { return Ok(0) };
    let mut walk = database.walk(&bucket);
    let mut count = 0;
    while walk.next().map_err(fault)?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// The next items, as many as one command carries.
fn next_chunk<'a>(
    path: &Path,
    database: &mut Database<Seeking<File>>,
    left: &mut std::iter::Peekable<impl Iterator<Item = (&'a Vec<u8>, &'a Place)>>,
) -> Result<Option<Vec<Item>>, Failure> {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    while let Some((_, place)) = left.peek() {
        let len = place.len as usize;
        if !chunk.is_empty() && bytes + len + ITEM_BYTES > CHUNK_BYTES {
            break;
        }
        let mut value = vec![0; len];
        database.read_again(place.at, &mut value).map_err(|fault| explain(path, &fault))?;
        let item = KeyValue::decode(Bytes::from(value)).ok().and_then(|item| {
            let main = u64::try_from(item.mod_revision).ok()?;
            item_of(item, main)
        });
        let changed =
            || Failure::damaged(format!("{}: it was changed while it was read", path.display()));
        chunk.push(item.ok_or_else(changed)?);
        bytes += len + ITEM_BYTES;
        left.next();
    }
    Ok((!chunk.is_empty()).then_some(chunk))
}

fn explain(path: &Path, fault: &Fault) -> Failure {
    let path = path.display();
    match fault {
        Fault::NotBolt => Failure::damaged(format!("{path}: {fault}"))
            .help("`etcdctl snapshot save` makes what can be imported"),
        Fault::Damaged { .. } | Fault::TooLarge { .. } | Fault::Io(_) => {
            Failure::damaged(format!("{path}: {fault}"))
                .help("nothing was imported; use another copy")
        }
    }
}

fn report(
    output: Output,
    path: &Path,
    contents: &Contents,
    bytes: u64,
    is_summed: bool,
) -> Result<(), Ended> {
    let Contents { keys, revision, versions, leases, hanging, users, roles } = contents;
    let (name, keys) = (path.display(), keys.len());
    if output == Output::Json {
        let json = json!({
            "result": "imported", "file": name.to_string(), "revision": revision, "keys": keys,
            "bytes": bytes, "checksum": if is_summed { "holds" } else { "not checked" },
            "left_out": {
                "versions": versions - keys as u64, "leases": leases,
                "keys_that_hung_on_leases": hanging, "users": users, "roles": roles,
            },
        });
        return print(&json.to_string());
    }
    let mut text =
        format!("{name}: imported; {keys} keys, {} at revision {revision}", units::bytes(bytes));
    if leases + hanging > 0 {
        text.extend([format!(
            "\nleases left out: {leases}; keys that hung on one, and stay until they are deleted: {hanging}"
        )]);
    }
    if users + roles > 0 {
        text.extend([format!("\nusers left out: {users}; roles: {roles}")]);
    }
    print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(created: i64, modified: i64, version: i64) -> Vec<u8> {
        KeyValue {
            key: Bytes::from_static(b"k"),
            create_revision: created,
            mod_revision: modified,
            version,
            value: Bytes::from_static(b"v"),
            lease: 7,
        }
        .encode_to_vec()
    }

    fn revision(main: u64, mark: &[u8]) -> Vec<u8> {
        [&main.to_be_bytes()[..], b"_", &0_u64.to_be_bytes(), mark].concat()
    }

    #[test]
    fn versions_and_deletions_are_told_apart() {
        let (main, key, place) = version(&revision(5, b""), &encoded(3, 5, 2), 100).unwrap();
        assert_eq!((main, &key[..]), (5, &b"k"[..]));
        assert!(place.is_some_and(|place| place.at == 100 && place.hangs));
        let gone = KeyValue { key: Bytes::from_static(b"k"), ..KeyValue::default() };
        let (main, _, place) = version(&revision(6, b"t"), &gone.encode_to_vec(), 0).unwrap();
        assert!(main == 6 && place.is_none());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let wrong = [
            (revision(5, b"")[..9].to_vec(), encoded(3, 5, 2)),
            (revision(5, b"x"), encoded(3, 5, 2)),
            (revision(5, b""), vec![0xff; 3]),
            (revision(5, b""), Vec::new()),
            (revision(5, b""), encoded(6, 5, 2)),
            (revision(5, b""), encoded(3, 4, 2)),
            (revision(5, b""), encoded(3, 5, 0)),
            (revision(5, b""), encoded(-1, 5, 1)),
        ];
        for (revision, value) in wrong {
            assert!(version(&revision, &value, 0).is_err(), "{revision:?} {value:?}");
        }
    }
}
