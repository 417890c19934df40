//! A snapshot in etcd's own form: the file that etcd would have, with the keys of one revision.
//!
//! etcd sorts by revision, the store by key; [`bolt::Layout`] tells how a file is written front to back
//! all the same, without a value being kept or a byte put on a disk. It reads the store twice at the
//! pinned revision, page by page, and keeps 16 bytes for each key meanwhile: how many keys there may be
//! is a setting, and one snapshot is made at a time.
//!
//! What is in the file: the newest version of each key with its revisions, and the leases. What is not:
//! older versions, so the file says that it was compacted at its revision; members, which a restore
//! replaces; users and roles. The last message bears the file's SHA-256, as clients expect.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bolt::{Form, Layout, Small};
use bytes::BytesMut;
use client::{Error, Scan};
use prost::Message;
use ring::digest::{Context, SHA256};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tonic::Status;
use wire::{Consistency, Item, KeyRange, Projection, Query, Refusal, Revision};

use crate::errors;
use crate::gateway::{ETCD_VERSION, Service};
use crate::header::signed;
use crate::pb::etcdserverpb::SnapshotResponse;
use crate::range::key_value;
use crate::stream::{Answers, unfold};

/// The bytes of the file in one message, at most.
const BLOB_BYTES: usize = 64 << 10;

/// The most leases that a file has.
const LEASES: usize = 1 << 20;

/// Leases asked for at once.
const LEASES_AT_ONCE: usize = 32;

/// Those of etcd's buckets that are empty here. It makes others by itself.
const EMPTY: [&[u8]; 7] =
    [b"alarm", b"auth", b"authRoles", b"authUsers", b"cluster", b"members", b"members_removed"];

/// A lease as etcd keeps it, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Lease {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    ttl: i64,
}

/// A file on its way.
struct Sending {
    service: Service,
    revision: Revision,
    form: Form,
    scan: Scan,
    /// Items read and not yet made into pages.
    items: VecDeque<Item>,
    /// Bytes made and not yet sent.
    made: BytesMut,
    /// All of the file, its sum included, that is not yet sent.
    left: u64,
    sum: Context,
    is_summed: bool,
    _turn: OwnedSemaphorePermit,
}

impl Service {
    /// The whole store as it is now.
    pub(crate) async fn snapshot_file(&self) -> Result<Answers<SnapshotResponse>, Status> {
        let turn = std::sync::Arc::clone(&self.snapshotting).try_acquire_owned();
        let turn = turn.map_err(|_| errors::too_many_requests())?;
        let most = self.config.snapshot_keys;
        let count = Query { projection: Projection::CountOnly, ..Query::range(KeyRange::all()) };
        let counted = self.client.read(count, Consistency::Linearizable).await.map_err(refused)?;
        let (revision, count) = (counted.header.revision, counted.value.count);
        let expected = usize::try_from(count).ok().filter(|count| *count <= most);
        let expected = expected.ok_or_else(|| too_many(count, most))?;

        let mut layout = Layout::new(most, expected);
        let mut hanging = BTreeSet::new();
        let mut scan = self.scan(revision);
        while let Some(page) = scan.next().await.map_err(refused)? {
            for item in page.value.items {
                let (modified, lease) = (item.modified.0, item.lease);
                if lease != 0 && hanging.len() < LEASES {
                    hanging.insert(lease);
                }
                let added = layout.add(modified, key_value(item).encoded_len());
                added.map_err(|_| too_many(count, most))?;
            }
        }
        let leases = self.lives(hanging).await?;
        let form = layout.form(b"key", others(revision, leases));
        let sending = Sending {
            service: self.clone(),
            revision,
            left: form.bytes() + SHA256.output_len() as u64,
            form,
            scan: self.scan(revision),
            items: VecDeque::new(),
            made: BytesMut::new(),
            sum: Context::new(&SHA256),
            is_summed: false,
            _turn: turn,
        };
        Ok(unfold(sending, |mut sending| async move {
            let part = sending.part().await.transpose();
            (part, sending)
        }))
    }

    /// All keys at a revision that this or another node has for certain.
    fn scan(&self, revision: Revision) -> Scan {
        let scan = self.client.scan(KeyRange::all()).at(revision);
        scan.consistency(Consistency::Session(revision))
    }

    /// How long each lease lives, in seconds. One on which a key hangs and that is gone by now lives for
    /// a second more, so that its keys go, too.
    async fn lives(&self, hanging: BTreeSet<u64>) -> Result<BTreeMap<u64, i64>, Status> {
        let mut leases = hanging.clone();
        leases.extend(self.client.leases().await.map_err(refused)?.value);
        if leases.len() > LEASES {
            return Err(Status::resource_exhausted(format!(
                "etcdserver: a snapshot in etcd's form has {LEASES} leases at most"
            )));
        }
        let mut lives = BTreeMap::new();
        let mut asked = JoinSet::new();
        for lease in leases {
            if asked.len() == LEASES_AT_ONCE {
                take_life(asked.join_next().await, &hanging, &mut lives)?;
            }
            let client = self.client.clone();
            asked.spawn(async move { (lease, client.lease(lease, false).await) });
        }
        while let Some(answered) = asked.join_next().await {
            take_life(Some(answered), &hanging, &mut lives)?;
        }
        Ok(lives)
    }
}

type Life = (u64, Result<client::Consistent<wire::LeaseStatus>, Error>);

fn take_life(
    answered: Option<Result<Life, tokio::task::JoinError>>,
    hanging: &BTreeSet<u64>,
    lives: &mut BTreeMap<u64, i64>,
) -> Result<(), Status> {
    let Some(answered) = answered else { return Ok(()) };
    let (lease, status) = answered.map_err(|_| Status::cancelled("etcdserver: server stopped"))?;
    let ttl = match status {
        Ok(status) => signed(status.value.ttl_ms.div_ceil(1000)),
        Err(Error::Refused(Refusal::LeaseNotFound { .. })) if hanging.contains(&lease) => 1,
        Err(Error::Refused(Refusal::LeaseNotFound { .. })) => return Ok(()),
        Err(error) => return Err(refused(error)),
    };
    lives.insert(lease, ttl);
    Ok(())
}

impl Sending {
    /// The next message; `None` behind the last one.
    async fn part(&mut self) -> Result<Option<SnapshotResponse>, Status> {
        while self.made.len() < BLOB_BYTES && !self.is_summed {
            self.make().await?;
        }
        let len = self.made.len().min(BLOB_BYTES);
        if len == 0 {
            return Ok(None);
        }
        let blob = self.made.split_to(len).freeze();
        self.left -= len as u64;
        Ok(Some(SnapshotResponse {
            header: Some(self.service.header(self.revision)),
            remaining_bytes: self.left,
            blob,
            version: ETCD_VERSION.to_owned(),
        }))
    }

    /// Makes some more of the file.
    async fn make(&mut self) -> Result<(), Status> {
        if let Some(head) = self.form.head() {
            self.add(&head);
            return Ok(());
        }
        if self.items.is_empty()
            && let Some(page) = self.scan.next().await.map_err(refused)?
        {
            self.items = page.value.items.into();
        }
        if let Some(item) = self.items.pop_front() {
            let modified = item.modified.0;
            let value = key_value(item).encode_to_vec();
            let leaf = self.form.leaf(modified, &value).map_err(|_| changed())?;
            self.add(&leaf);
        } else if self.form.is_complete() {
            let sum = self.sum.clone().finish();
            self.made.extend_from_slice(sum.as_ref());
            self.is_summed = true;
        } else {
            return Err(changed());
        }
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        self.made.extend_from_slice(bytes);
    }
}

/// The buckets beside that of the keys.
fn others(revision: Revision, leases: BTreeMap<u64, i64>) -> Vec<Small> {
    let mut main = [b'_'; bolt::KEY_BYTES];
    main[..8].copy_from_slice(&revision.0.to_be_bytes());
    main[9..].copy_from_slice(&0_u64.to_be_bytes());
    let compacted = |name: &[u8]| (name.to_vec(), main.to_vec());
    let lease = |(id, ttl): (u64, i64)| {
        let lease = Lease { id: id.cast_signed(), ttl };
        (id.to_be_bytes().to_vec(), lease.encode_to_vec())
    };
    let mut buckets = vec![
        Small { name: b"lease", entries: leases.into_iter().map(lease).collect() },
        Small {
            name: b"meta",
            entries: vec![compacted(b"finishedCompactRev"), compacted(b"scheduledCompactRev")],
        },
    ];
    buckets.extend(EMPTY.map(|name| Small { name, entries: Vec::new() }));
    buckets
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err calls")]
fn refused(error: Error) -> Status {
    errors::of_client(&error)
}

fn too_many(count: u64, most: usize) -> Status {
    Status::resource_exhausted(format!(
        "etcdserver: a snapshot in etcd's form has {most} keys at most, here are {count}; `cairn \
         snapshot save` has no limit"
    ))
}

/// A past state does not change.
fn changed() -> Status {
    Status::internal("etcdserver: the keys of one revision were read differently the second time")
}
