//! What a lease's holder may rely on.

use std::time::Duration;

use bytes::Bytes;
use disk::mem::MemDisk;
use node::{Effect, Event, Ticket, Tuning};
use wire::{
    Body, Expiry, Granted, KeyRange, LeaseStatus, Op, Put, Refusal, Reply, Request, Revision, Txn,
};

use super::Alone;

impl Alone {
    fn grant(&mut self, number: u64, lease: u64, ttl_ms: u64) -> Result<Revision, Refusal> {
        let answer = self.command(9, number, Body::Grant { lease, ttl_ms })?;
        Ok(answer.0.revision)
    }

    fn put_on(&mut self, number: u64, key: &'static str, lease: u64) -> Result<Revision, Refusal> {
        let (key, value) = (Bytes::from(key), Some(Bytes::new()));
        let put = Op::Put(Put { key, value, lease: Some(lease), previous: false });
        let answer = self.command(9, number, Body::Txn(Txn::always(vec![put])))?;
        Ok(answer.0.revision)
    }

    fn look(&mut self, request: Request) -> Result<LeaseStatus, Refusal> {
        match self.ask(request)? {
            (_, Reply::Lease(status)) => Ok(status),
            (_, other) => panic!("a lease was asked for, {other:?} came"),
        }
    }

    fn left(&mut self, lease: u64) -> Result<u64, Refusal> {
        Ok(self.look(Request::Lease { lease, keys: false })?.remaining_ms)
    }

    /// Lets time pass, with a tick whenever the node wants one.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.node.deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.node.handle(self.now, Event::Tick);
            self.settle();
        }
        self.now = end;
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn keys_vanish_with_their_lease_at_one_revision() {
    let mut alone = Alone::start(MemDisk::new(1), Tuning::default());
    alone.grant(1, 7, 4000).expect("a new lease");
    alone.put_on(2, "b", 7).expect("a put");
    alone.put_on(3, "a", 7).expect("a put");
    let before = alone.put_on(4, "c", 0).expect("a put");
    let status = alone.look(Request::Lease { lease: 7, keys: true }).expect("it lives");
    assert_eq!(status.keys, ["a", "b"]);
    alone.pass(Duration::from_millis(3990));
    assert_eq!(alone.get("a", None), Ok(Some(Bytes::new())), "it has not ended early");
    alone.pass(Duration::from_millis(20));
    assert_eq!(alone.get("a", None), Ok(None));
    assert_eq!(alone.get("b", None), Ok(None));
    assert_eq!(alone.get("c", None), Ok(Some(Bytes::new())));
    assert_eq!(alone.node.status().revision, before.next());
    assert_eq!(alone.left(7), Err(Refusal::LeaseNotFound { lease: 7 }));
}

#[test]
fn a_lease_that_is_kept_alive_does_not_end_and_costs_no_log() {
    let mut alone = Alone::start(MemDisk::new(2), Tuning::default());
    alone.grant(1, 7, 3000).expect("a new lease");
    let log = alone.node.status().last;
    for _ in 0..20 {
        alone.pass(seconds(1));
        let status = alone.look(Request::KeepAlive { lease: 7 }).expect("it lives");
        assert_eq!((status.ttl_ms, status.remaining_ms), (3000, 3000));
    }
    assert_eq!(alone.node.status().last, log, "nothing was logged");
    alone.pass(seconds(3));
    assert_eq!(
        alone.look(Request::KeepAlive { lease: 7 }),
        Err(Refusal::LeaseNotFound { lease: 7 })
    );
}

#[test]
fn who_comes_when_a_lease_is_ending_hears_that_it_is_gone_only_when_it_is() {
    let mut alone = Alone::start(MemDisk::new(9), Tuning::default());
    alone.grant(1, 7, 600).expect("a new lease");
    alone.now = alone.now + Duration::from_millis(600);
    alone.node.handle(alone.now, Event::Tick);
    let (ticket, request) = (Ticket(1000), Request::KeepAlive { lease: 7 });
    alone.node.handle(alone.now, Event::Request { ticket, request });
    let mut effects = Vec::new();
    alone.node.settle(alone.now, &mut effects);
    let answered = effects.iter().any(|effect| matches!(effect, Effect::Reply { .. }));
    assert!(!answered, "its end is not on the disk: the node may fall, and the lease live on");
    for effect in effects {
        alone.carry_out(effect);
    }
    alone.settle();
    assert_eq!(alone.answers, [(ticket, Err(Refusal::LeaseNotFound { lease: 7 }))]);
}

#[test]
fn what_is_left_survives_leaders_that_follow_one_another() {
    let mut alone = Alone::start(MemDisk::new(3), Tuning::default());
    alone.grant(1, 7, 60_000).expect("a new lease");
    alone.pass(seconds(31));
    for _ in 0..5 {
        alone = alone.restart(Tuning::default());
        let left = alone.left(7).expect("it lives");
        assert!((20_000..=30_000).contains(&left), "{left} ms are left");
    }
    // Who keeps it alive late gets all of it, whoever leads next.
    alone.look(Request::KeepAlive { lease: 7 }).expect("it lives");
    alone = alone.restart(Tuning::default());
    assert_eq!(alone.left(7), Ok(60_000));
}

#[test]
fn a_key_hangs_on_the_lease_that_it_was_put_with_last() {
    let mut alone = Alone::start(MemDisk::new(4), Tuning::default());
    alone.grant(1, 7, 60_000).expect("a new lease");
    alone.grant(2, 8, 60_000).expect("a new lease");
    for (number, key, lease) in [(3, "moved", 7), (4, "freed", 7), (5, "gone", 7)] {
        alone.put_on(number, key, lease).expect("a put");
    }
    alone.put_on(6, "moved", 8).expect("a put");
    alone.put_on(7, "freed", 0).expect("a put");
    let delete = Op::delete(KeyRange::single(Bytes::from("gone")));
    alone.command(9, 8, Body::Txn(Txn::always(vec![delete]))).expect("a deletion");
    alone = alone.restart(Tuning::default());
    let revision = alone.node.status().revision;
    alone.command(9, 9, Body::Revoke { lease: 7 }).expect("it ends");
    assert_eq!(alone.node.status().revision, revision, "nothing hung on it");
    assert_eq!(alone.get("moved", None), Ok(Some(Bytes::new())));
    alone.command(9, 10, Body::Revoke { lease: 8 }).expect("it ends");
    assert_eq!(alone.get("moved", None), Ok(None));
    assert_eq!(alone.get("freed", None), Ok(Some(Bytes::new())));
}

#[test]
fn what_makes_no_sense_of_leases_is_refused() {
    let mut alone = Alone::start(MemDisk::new(5), Tuning::default());
    alone.grant(1, 7, 60_000).expect("a new lease");
    assert_eq!(alone.grant(2, 7, 1000), Err(Refusal::LeaseExists { lease: 7 }));
    assert_eq!(alone.put_on(3, "a", 8), Err(Refusal::LeaseNotFound { lease: 8 }));
    assert_eq!(alone.get("a", None), Ok(None));
    assert!(matches!(alone.grant(4, 0, 1000), Err(Refusal::Invalid { .. })));
    assert!(matches!(alone.grant(5, 9, 0), Err(Refusal::Invalid { .. })));
    let revoke = alone.command(9, 6, Body::Revoke { lease: 8 });
    assert_eq!(revoke.map(|_| ()), Err(Refusal::LeaseNotFound { lease: 8 }));
    let leases = vec![Granted { lease: 7, index: 2 }];
    let forged = Body::Expire(Expiry { epoch: 1, leases });
    assert!(matches!(alone.command(9, 7, forged), Err(Refusal::Invalid { .. })));
    assert!(alone.left(7).is_ok());
    assert!(matches!(alone.ask(Request::Leases), Ok((_, Reply::Leases(all))) if all == [7]));
}

#[test]
fn very_many_leases_end_in_some_commands() {
    let mut alone = Alone::start(MemDisk::new(6), Tuning::default());
    for lease in 1..=2500 {
        alone.grant(lease, lease, 1000).expect("a new lease");
    }
    alone.pass(seconds(2));
    assert!(matches!(alone.ask(Request::Leases), Ok((_, Reply::Leases(all))) if all.is_empty()));
}
