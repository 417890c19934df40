//! Leases, as all replicas know them: how long each lives, how much of that is surely left, and
//! which keys hang on it.
//!
//! A part of the replicated state, so it holds no time of any clock. What is counted down, and by
//! whom, is the leader's own business ([`crate::lessor`]): it writes down here, through the log, what a
//! next leader must know.
//!
//! # Invariants
//!
//! * A key is in `keys` of a lease if and only if its newest version bears that lease.
//! * `remaining_ms <= ttl_ms`.
//! * `granted` is the log index of the grant: no two lives of a lease share it.
//!
//! # Reference
//!
//! Gray and Cheriton, *Leases* (1989); etcd's leases, whose remaining time is checkpointed likewise.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wire::{DecodeError, Granted, Reader, Writer};

const META_LEASE: u8 = b'l';
const META_KEY: u8 = b'k';

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Log index of its grant.
    pub(crate) granted: u64,
    /// How long it lives without being kept alive.
    pub(crate) ttl_ms: u64,
    /// How much of that a new leader gives it.
    pub(crate) remaining_ms: u64,
    /// What hangs on it.
    pub(crate) keys: BTreeSet<Bytes>,
}

/// All leases of a group.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    all: BTreeMap<u64, Lease>,
    dirty: BTreeSet<u64>,
    dirty_keys: BTreeSet<(u64, Bytes)>,
}

impl Leases {
    /// Whether it is alive.
    pub(crate) fn has(&self, lease: u64) -> bool {
        self.all.contains_key(&lease)
    }

    /// One of them.
    pub(crate) fn find(&self, lease: u64) -> Option<&Lease> {
        self.all.get(&lease)
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Lease)> {
        self.all.iter().map(|(id, lease)| (*id, lease))
    }

    /// This very life of the lease, if it has not ended.
    pub(crate) fn life(&self, granted: Granted) -> Option<&Lease> {
        self.all.get(&granted.lease).filter(|lease| lease.granted == granted.index)
    }

    /// A new one. Its name must be free.
    pub(crate) fn grant(&mut self, lease: u64, ttl_ms: u64, index: u64) {
        let new = Lease { granted: index, ttl_ms, remaining_ms: ttl_ms, keys: BTreeSet::new() };
        let old = self.all.insert(lease, new);
        assert!(old.is_none(), "lease {lease} was granted twice");
        self.dirty.insert(lease);
    }

    /// It has ended; what hung on it.
    pub(crate) fn end(&mut self, lease: u64) -> BTreeSet<Bytes> {
        let Some(ended) = self.all.remove(&lease) else { return BTreeSet::new() };
        self.dirty.insert(lease);
        self.dirty_keys.extend(ended.keys.iter().map(|key| (lease, key.clone())));
        ended.keys
    }

    /// How much a new leader shall give it.
    pub(crate) fn set_remaining(&mut self, granted: Granted, remaining_ms: u64) {
        let life = self.all.get_mut(&granted.lease).filter(|life| life.granted == granted.index);
        if let Some(life) = life {
            life.remaining_ms = remaining_ms.min(life.ttl_ms);
            self.dirty.insert(granted.lease);
        }
    }

    /// A key hangs on another lease than before; 0 is none. One that ends takes its keys along by
    /// itself.
    pub(crate) fn move_key(&mut self, key: &Bytes, from: u64, to: u64) {
        if let Some(lease) = self.all.get_mut(&from)
            && lease.keys.remove(key)
        {
            self.note(from, key);
        }
        if let Some(lease) = self.all.get_mut(&to) {
            // Copied, so that a small key does not keep a large command alive.
            lease.keys.insert(Bytes::copy_from_slice(key));
            self.note(to, key);
        }
    }

    fn note(&mut self, lease: u64, key: &Bytes) {
        self.dirty_keys.insert((lease, Bytes::copy_from_slice(key)));
    }

    /// What changed since the last call, as meta entries.
    pub(crate) fn take_changes(&mut self) -> Vec<(Bytes, Option<Bytes>)> {
        let mut changes = Vec::with_capacity(self.dirty.len() + self.dirty_keys.len());
        for lease in std::mem::take(&mut self.dirty) {
            changes.push((meta_of_lease(lease), self.all.get(&lease).map(encode)));
        }
        for (lease, key) in std::mem::take(&mut self.dirty_keys) {
            let hangs = self.all.get(&lease).is_some_and(|lease| lease.keys.contains(&key));
            changes.push((meta_of_key(lease, &key), hangs.then(Bytes::new)));
        }
        changes
    }

    /// Whether a meta entry is one of ours.
    pub(crate) fn owns(key: &[u8]) -> bool {
        matches!(key.first(), Some(&(META_LEASE | META_KEY)))
    }

    /// Takes back what [`Leases::take_changes`] once gave, when the log was applied up to `applied`.
    pub(crate) fn restore(applied: u64, entries: &[(Bytes, Bytes)]) -> Result<Self, DecodeError> {
        let mut leases = Self::default();
        let of = |kind| entries.iter().filter(move |(key, _)| key.first() == Some(&kind));
        for (key, value) in of(META_LEASE) {
            let (lease, rest) = split(key)?;
            let decoded = decode(value.clone())?;
            if !rest.is_empty() || decoded.granted > applied {
                return Err(DecodeError { what: "lease, which is ahead of the log", at: 0 });
            }
            leases.all.insert(lease, decoded);
        }
        for (key, _) in of(META_KEY) {
            let (lease, rest) = split(key)?;
            let Some(lease) = leases.all.get_mut(&lease) else {
                return Err(DecodeError { what: "key of a lease that there is not", at: 0 });
            };
            lease.keys.insert(Bytes::copy_from_slice(rest));
        }
        Ok(leases)
    }

    /// Everything, in a canonical form: equal on replicas that have applied the same.
    pub(crate) fn digest(&self, out: &mut Writer) {
        for (id, lease) in &self.all {
            out.varint(*id).bytes(&encode(lease)).varint(lease.keys.len() as u64);
            for key in &lease.keys {
                out.bytes(key);
            }
        }
    }
}

fn meta_of_lease(lease: u64) -> Bytes {
    meta_of_key_kind(META_LEASE, lease, &[])
}

fn meta_of_key(lease: u64, key: &[u8]) -> Bytes {
    meta_of_key_kind(META_KEY, lease, key)
}

fn meta_of_key_kind(kind: u8, lease: u64, key: &[u8]) -> Bytes {
    let mut meta = Vec::with_capacity(9 + key.len());
    meta.push(kind);
    meta.extend_from_slice(&lease.to_be_bytes());
    meta.extend_from_slice(key);
    Bytes::from(meta)
}

/// The lease and the key that a meta entry's key names.
fn split(key: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let short = DecodeError { what: "lease entry", at: key.len() };
    let (id, rest) = key.get(1..).and_then(<[u8]>::split_first_chunk).ok_or(short)?;
    Ok((u64::from_be_bytes(*id), rest))
}

fn encode(lease: &Lease) -> Bytes {
    let mut out = Writer::new();
    out.varint(lease.granted).varint(lease.ttl_ms).varint(lease.remaining_ms);
    out.finish()
}

fn decode(bytes: Bytes) -> Result<Lease, DecodeError> {
    let mut input = Reader::new(bytes);
    let granted = input.varint("grant index")?;
    let ttl_ms = input.varint("lease ttl")?;
    let remaining_ms = input.varint("lease remaining time")?;
    input.end("lease")?;
    if remaining_ms > ttl_ms {
        return Err(DecodeError { what: "lease, which has more left than it lives", at: 0 });
    }
    Ok(Lease { granted, ttl_ms, remaining_ms, keys: BTreeSet::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Bytes = Bytes::from_static(b"key");

    fn again(leases: &mut Leases) -> Leases {
        let entries: Vec<_> = leases
            .take_changes()
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        Leases::restore(9, &entries).expect("what we wrote")
    }

    #[test]
    fn they_survive_being_written_down() {
        let mut leases = Leases::default();
        leases.grant(7, 1000, 3);
        leases.grant(8, 500, 4);
        leases.move_key(&KEY, 0, 7);
        leases.set_remaining(Granted { lease: 7, index: 3 }, 400);
        let restored = again(&mut leases);
        assert_eq!(restored.all, leases.all);
        assert_eq!(restored.find(7).expect("it lives").remaining_ms, 400);
    }

    #[test]
    fn a_later_life_is_not_touched_by_what_was_meant_for_an_earlier_one() {
        let mut leases = Leases::default();
        leases.grant(7, 1000, 3);
        leases.end(7);
        leases.grant(7, 1000, 5);
        leases.set_remaining(Granted { lease: 7, index: 3 }, 1);
        assert_eq!(leases.find(7).expect("it lives").remaining_ms, 1000);
        assert!(leases.life(Granted { lease: 7, index: 3 }).is_none());
    }

    #[test]
    fn what_ended_is_removed_with_its_keys() {
        let mut leases = Leases::default();
        leases.grant(7, 1000, 3);
        leases.move_key(&KEY, 0, 7);
        leases.take_changes();
        assert_eq!(leases.end(7).into_iter().collect::<Vec<_>>(), [KEY]);
        let changes = leases.take_changes();
        assert_eq!(changes.len(), 2);
        assert!(changes.iter().all(|(_, value)| value.is_none()), "{changes:?}");
    }

    #[test]
    fn entries_that_make_no_sense_are_refused() {
        let restore = |key: Bytes, value: &'static [u8]| {
            Leases::restore(9, &[(key, Bytes::from_static(value))])
        };
        assert!(restore(meta_of_lease(7), &[3, 9, 9]).is_ok());
        assert!(restore(meta_of_lease(7), &[10, 9, 9]).is_err(), "granted in the future");
        assert!(restore(meta_of_lease(7), &[3, 9, 10]).is_err(), "more left than it lives");
        assert!(restore(meta_of_key(7, b"k"), &[]).is_err(), "no such lease");
        assert!(restore(Bytes::from_static(b"l123"), &[3, 9, 9]).is_err(), "too short");
    }
}
