//! A cluster of one node, driven by hand over a disk in memory: what a client may rely on.

mod auth;
mod leases;
mod scrub;

use std::time::Duration;

use bytes::Bytes;
use consensus::Time;
use disk::mem::MemDisk;
use engine::Worker;
use journal::Journal;
use node::{Answer, Config, Effect, Event, Node, ScrubTask, Ticket, Tuning};
use wire::{
    Body, Command, Consistency, Item, KeyRange, Member, NodeId, Op, Part, Query, Refusal, Reply,
    Request, RequestId, RestoreChunk, Revision, Txn,
};

/// A node with its journal and its storage, everything done at once.
struct Alone {
    node: Node,
    journal: Journal<MemDisk>,
    worker: Box<dyn Worker>,
    disk: MemDisk,
    now: Time,
    answers: Vec<(Ticket, Answer)>,
    /// What was begun, and is run when a test wants it.
    scrubs: Vec<ScrubTask>,
    next: u64,
}

fn config(tuning: Tuning) -> Config {
    let member = Member {
        node: NodeId(1),
        client_address: "localhost:8000".into(),
        peer_address: "localhost:9000".into(),
        part: Part::Voter,
        priority: Member::DEFAULT_PRIORITY,
    };
    Config {
        node: NodeId(1),
        cluster: "test".into(),
        version: "0".into(),
        members: vec![member],
        joins: false,
        witness: false,
        protocol: consensus::Protocol::Raft,
        seed: 7,
        tuning,
        rare: node::Rare::closed(),
        #[cfg(feature = "planted")]
        planted: None,
        #[cfg(feature = "planted")]
        planted_consensus: None,
    }
}

impl Alone {
    fn start(disk: MemDisk, tuning: Tuning) -> Self {
        let mut alone = Self::boot(disk, tuning);
        alone.settle();
        alone
    }

    fn boot(disk: MemDisk, tuning: Tuning) -> Self {
        let (journal, recovered) =
            Journal::open(disk.clone(), "journal", journal::Config::new(1)).expect("journal");
        // Nothing is cached, so that what is read comes from the disk.
        let small = engine::Config { cache_bytes: 0, ..engine::Config::default() };
        let (engine, worker) = engine::open_disk(disk.clone(), "engine", small).expect("engine");
        let now = Time::from_nanos(1);
        let node = Node::new(config(tuning), recovered, engine, now).expect("node");
        let (answers, scrubs) = (Vec::new(), Vec::new());
        let mut alone = Self { node, journal, worker, disk, now, answers, scrubs, next: 0 };
        alone.node.handle(now, Event::Tick);
        alone
    }

    fn restart(self, tuning: Tuning) -> Self {
        self.disk.crash();
        Self::start(self.disk, tuning)
    }

    fn settle(&mut self) {
        while self.turn() {}
    }

    /// Does what the node asks for now. Tells whether that was anything.
    fn turn(&mut self) -> bool {
        let mut effects = Vec::new();
        self.node.settle(self.now, &mut effects);
        let any = !effects.is_empty();
        for effect in effects {
            self.carry_out(effect);
        }
        any
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Reply { ticket, answer } => self.answers.push((ticket, answer)),
            Effect::Read { ticket, task } => {
                let answer = task.run().expect("the disk is sound");
                self.answers.push((ticket, answer));
            }
            Effect::Verify { ticket, task } => {
                let is_right = task.stored() == Some(task.password());
                self.answers.push((ticket, task.finish(is_right)));
            }
            Effect::Journal { write, records } => {
                self.journal.append(&records).expect("append");
                self.journal.sync().expect("sync");
                self.node.handle(self.now, Event::Journaled(write));
            }
            Effect::Work(job) => {
                let done = self.worker.run(job);
                self.node.handle(self.now, Event::Worked(done));
            }
            Effect::Scrub(task) => self.scrubs.push(task),
            Effect::News(_) | Effect::Members(_) => {}
            other => panic!("a node alone asked for {other:?}"),
        }
    }

    fn ask(&mut self, request: Request) -> Answer {
        self.next += 1;
        let ticket = Ticket(self.next);
        self.node.handle(self.now, Event::Request { ticket, request });
        self.settle();
        let at = self.answers.iter().position(|(answered, _)| *answered == ticket);
        self.answers.remove(at.expect("an answer came")).1
    }

    fn command(&mut self, client: u128, number: u64, body: Body) -> Answer {
        let id = RequestId { client, number };
        let command = Command { id, done_below: 0, since: 0, principal: None, body };
        self.ask(Request::Write(command.encode()))
    }

    fn put(&mut self, number: u64, key: &str, value: &str) -> Result<Revision, Refusal> {
        let op = Op::put(key.to_owned(), value.to_owned());
        let answer = self.command(9, number, Body::Txn(Txn::always(vec![op])))?;
        Ok(answer.0.revision)
    }

    fn get(&mut self, key: &str, revision: Option<Revision>) -> Result<Option<Bytes>, Refusal> {
        let query = Query { revision, ..Query::key(Bytes::copy_from_slice(key.as_bytes())) };
        let request = Request::Read { query, consistency: Consistency::Linearizable };
        match self.ask(request)?.1 {
            Reply::Page(page) => Ok(page.items.into_iter().next().map(|item| item.value)),
            other => panic!("a read was answered with {other:?}"),
        }
    }
}

#[test]
fn what_was_written_is_read_also_after_a_crash() {
    let mut alone = Alone::start(MemDisk::new(1), Tuning::default());
    assert_eq!(alone.put(1, "a", "one"), Ok(Revision(2)));
    assert_eq!(alone.put(2, "a", "two"), Ok(Revision(3)));
    let mut alone = alone.restart(Tuning::default());
    assert_eq!(alone.get("a", None), Ok(Some(Bytes::from_static(b"two"))));
    assert_eq!(alone.get("a", Some(Revision(2))), Ok(Some(Bytes::from_static(b"one"))));
    assert_eq!(alone.get("b", None), Ok(None));
}

#[test]
fn a_retried_write_is_done_once_also_after_a_crash() {
    let mut alone = Alone::start(MemDisk::new(2), Tuning::default());
    assert_eq!(alone.put(1, "a", "one"), Ok(Revision(2)));
    assert_eq!(alone.put(2, "a", "two"), Ok(Revision(3)));
    let mut alone = alone.restart(Tuning::default());
    let again = alone.put(1, "a", "one").expect("the first answer");
    assert_eq!(again, Revision(3), "the header tells where the store is now");
    assert_eq!(alone.get("a", None), Ok(Some(Bytes::from_static(b"two"))));
}

#[test]
fn a_watch_sees_each_revision_once_and_in_order() {
    let mut alone = Alone::start(MemDisk::new(3), Tuning::default());
    for number in 1..=3 {
        alone.put(number, "a", &number.to_string()).expect("a put");
    }
    let range = KeyRange::all();
    let watch =
        Request::Watch { range: range.clone(), from: Revision(3), wait_ms: 1000, previous: false };
    let Ok((_, Reply::Events(batch))) = alone.ask(watch) else { panic!("no events") };
    let revisions: Vec<u64> = batch.events.iter().map(|event| event.revision.0).collect();
    assert_eq!(revisions, [3, 4]);
    assert_eq!(batch.next, Revision(5));

    let ticket = Ticket(1000);
    let request = Request::Watch { range, from: batch.next, wait_ms: 1000, previous: false };
    alone.node.handle(alone.now, Event::Request { ticket, request });
    alone.settle();
    assert!(alone.answers.is_empty(), "there is nothing to see yet");
    alone.put(4, "b", "x").expect("a put");
    let (answered, answer) = alone.answers.remove(0);
    assert_eq!(answered, ticket);
    let Ok((_, Reply::Events(batch))) = answer else { panic!("no events") };
    assert_eq!(batch.events.len(), 1);
    assert_eq!(batch.events[0].key(), "b");
}

#[test]
fn compacted_and_future_revisions_are_named_in_the_refusal() {
    let mut alone = Alone::start(MemDisk::new(4), Tuning::default());
    for number in 1..=5 {
        alone.put(number, "a", &number.to_string()).expect("a put");
    }
    let compact = Body::Compact { before: Revision(4) };
    alone.command(9, 6, compact).expect("a compaction");
    let (asked, compacted) = (Revision(3), Revision(4));
    assert_eq!(alone.get("a", Some(asked)), Err(Refusal::Compacted { asked, compacted }));
    assert_eq!(alone.get("a", Some(compacted)), Ok(Some(Bytes::from_static(b"3"))));
    let (asked, current) = (Revision(7), Revision(6));
    assert_eq!(alone.get("a", Some(asked)), Err(Refusal::Future { asked, current }));
}

#[test]
fn what_can_never_be_done_does_not_enter_the_log() {
    let mut alone = Alone::start(MemDisk::new(5), Tuning::default());
    let limit = Tuning::default().value_limit_bytes;
    let huge = "x".repeat(limit + 1);
    let refused = alone.put(1, "a", &huge);
    assert!(matches!(refused, Err(Refusal::TooLarge { size, .. }) if size == limit as u64 + 1));
    assert!(matches!(alone.put(2, "", "x"), Err(Refusal::Invalid { .. })));
    let garbage = alone.ask(Request::Write(Bytes::from_static(b"garbage")));
    assert!(matches!(garbage, Err(Refusal::Invalid { .. })));
    assert_eq!(alone.put(3, "a", "x"), Ok(Revision(2)));
}

#[test]
fn old_versions_go_by_themselves() {
    let tuning = Tuning { retain_revisions: 16, ..Tuning::default() };
    let mut alone = Alone::start(MemDisk::new(6), tuning);
    for number in 1..=40 {
        alone.put(number, "a", &number.to_string()).expect("a put");
    }
    let compacted = alone.node.status().compacted;
    assert!(compacted >= Revision(21), "compacted only to {compacted}");
    assert_eq!(alone.get("a", Some(Revision(41))), Ok(Some(Bytes::from_static(b"40"))));
}

#[test]
fn overload_is_refused_at_once_and_passes() {
    let tuning = Tuning { inflight_limit_bytes: 200, ..Tuning::default() };
    let mut alone = Alone::start(MemDisk::new(7), tuning);
    for number in 1..=3 {
        let value = Bytes::from(vec![b'x'; 100]);
        let op = Op::put("k", value);
        let id = RequestId { client: 9, number };
        let body = Body::Txn(Txn::always(vec![op]));
        let command = Command { id, done_below: 0, since: 0, principal: None, body };
        let request = Request::Write(command.encode());
        alone.node.handle(alone.now, Event::Request { ticket: Ticket(number), request });
    }
    alone.settle();
    let busy =
        alone.answers.iter().filter(|(_, answer)| matches!(answer, Err(Refusal::Busy { .. })));
    assert_eq!(busy.count(), 2);
    assert!(alone.put(9, "k", "x").is_ok(), "what was refused has left nothing behind");
}

/// What would be answered only when its client has given up is refused instead: an overloaded node
/// works for those that still wait.
#[test]
fn a_queue_that_has_grown_old_takes_nothing_in_until_it_is_shorter() {
    let mut alone = Alone::start(MemDisk::new(10), Tuning::default());
    let write = |number| {
        let op = Op::put("k", "");
        let id = RequestId { client: 9, number };
        let body = Body::Txn(Txn::always(vec![op]));
        Request::Write(Command { id, done_below: 0, since: 0, principal: None, body }.encode())
    };
    let request = write(1);
    alone.node.handle(alone.now, Event::Request { ticket: Ticket(1001), request });
    let mut slow = Vec::new();
    // Its write is on its way to the disk, and stays there.
    alone.node.settle(alone.now, &mut slow);
    alone.now = alone.now + Duration::from_millis(400);
    let request = write(2);
    alone.node.handle(alone.now, Event::Request { ticket: Ticket(1003), request });
    alone.now = alone.now + Duration::from_millis(200);
    for (ticket, number) in [(Ticket(1003), 3), (Ticket(1004), 1)] {
        let request = write(number);
        alone.node.handle(alone.now, Event::Request { ticket, request });
    }
    let mut effects = Vec::new();
    alone.node.settle(alone.now, &mut effects);
    let refused = |effect: &Effect| match effect {
        Effect::Reply { ticket, answer: Err(Refusal::Busy { .. }) } => Some(*ticket),
        _ => None,
    };
    let refused: Vec<Ticket> = effects.iter().filter_map(refused).collect();
    assert_eq!(refused, [Ticket(1003)], "who asks again for what is on its way may wait, too");
    for effect in slow.into_iter().chain(effects) {
        if !matches!(effect, Effect::Reply { .. }) {
            alone.carry_out(effect);
        }
    }
    alone.settle();
    let mut answered: Vec<Ticket> = alone.answers.drain(..).map(|(ticket, _)| ticket).collect();
    answered.sort_unstable();
    assert_eq!(answered, [Ticket(1001), Ticket(1003), Ticket(1004)]);
    assert_eq!(alone.put(3, "k", "x"), Ok(Revision(4)));
}

fn batch_of(answer: Answer) -> wire::WatchBatch {
    match answer {
        Ok((_, Reply::Events(batch))) => batch,
        other => panic!("a watch was answered with {other:?}"),
    }
}

fn item(key: &str, modified: u64) -> Item {
    Item {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::from(format!("{key}@{modified}")),
        created: Revision(2),
        modified: Revision(modified),
        version: 1,
        lease: 0,
    }
}

fn chunk(sequence: u64, items: Vec<Item>, revision: u64, last: bool) -> Body {
    Body::Restore(RestoreChunk { restore: 7, sequence, items, revision: Revision(revision), last })
}

#[test]
fn a_watch_whose_time_is_over_does_not_pass_over_what_was_just_applied() {
    let mut alone = Alone::start(MemDisk::new(8), Tuning::default());
    let ticket = Ticket(1000);
    let range = KeyRange::all();
    let request = Request::Watch { range, from: Revision(2), wait_ms: 1000, previous: false };
    alone.node.handle(alone.now, Event::Request { ticket, request });
    alone.settle();
    let op = Op::put("a", "");
    let id = RequestId { client: 9, number: 1 };
    let command = Command {
        id,
        done_below: 0,
        since: 0,
        principal: None,
        body: Body::Txn(Txn::always(vec![op])),
    };
    let request = Request::Write(command.encode());
    alone.node.handle(alone.now, Event::Request { ticket: Ticket(1001), request });
    let mut effects = Vec::new();
    alone.node.settle(alone.now, &mut effects);
    alone.now = alone.now + Duration::from_secs(2);
    for effect in effects {
        alone.carry_out(effect);
    }
    // Applied, and in the same batch of events the watch's time is over.
    alone.node.handle(alone.now, Event::Tick);
    alone.settle();
    let at = alone.answers.iter().position(|(answered, _)| *answered == ticket);
    let batch = batch_of(alone.answers.remove(at.expect("an answer came")).1);
    assert_eq!((batch.events.len(), batch.next), (1, Revision(3)));
}

#[test]
fn a_watch_learns_of_a_restore_that_touched_its_keys_before_the_last_chunk() {
    let mut alone = Alone::start(MemDisk::new(9), Tuning::default());
    alone.command(9, 1, chunk(0, vec![item("a", 3)], 5, false)).expect("a chunk");
    let ticket = Ticket(1000);
    let range = KeyRange::single(Bytes::from_static(b"a"));
    let request = Request::Watch { range, from: Revision(2), wait_ms: 1000, previous: false };
    alone.node.handle(alone.now, Event::Request { ticket, request });
    alone.settle();
    alone.command(9, 2, chunk(1, vec![item("b", 5)], 5, true)).expect("the last chunk");
    alone.now = alone.now + Duration::from_secs(2);
    alone.node.handle(alone.now, Event::Tick);
    alone.settle();
    let (asked, compacted) = (Revision(2), Revision(5));
    assert_eq!(alone.answers, [(ticket, Err(Refusal::Compacted { asked, compacted }))]);
}

#[test]
fn a_restore_leaves_room_to_count_on() {
    let mut alone = Alone::start(MemDisk::new(10), Tuning::default());
    let refused = alone.command(9, 1, chunk(0, vec![], u64::MAX, true));
    assert!(matches!(refused, Err(Refusal::Invalid { .. })), "{refused:?}");
    let worn = Item { version: u64::MAX, ..item("a", 1) };
    let refused = alone.command(9, 2, chunk(0, vec![worn], 5, true));
    assert!(matches!(refused, Err(Refusal::Invalid { .. })), "{refused:?}");
    assert_eq!(alone.put(3, "a", "x"), Ok(Revision(2)));
}

#[test]
fn a_restore_whose_chunks_do_not_fit_together_is_refused() {
    for (second, what) in [
        (chunk(1, vec![item("c", 9)], 9, true), "another revision"),
        (chunk(1, vec![item("b", 2)], 5, true), "a key that was there before"),
        (chunk(1, vec![item("a", 2)], 5, true), "a key out of order"),
        (chunk(1, vec![item("d", 2), item("c", 2)], 5, true), "keys out of order"),
    ] {
        let mut alone = Alone::start(MemDisk::new(11), Tuning::default());
        alone.command(9, 1, chunk(0, vec![item("b", 3)], 5, false)).expect("a chunk");
        let mut alone = alone.restart(Tuning::default());
        let refused = alone.command(9, 2, second);
        assert!(matches!(refused, Err(Refusal::Invalid { .. })), "{what}: {refused:?}");
        alone.command(9, 3, chunk(1, vec![item("c", 5)], 5, true)).expect("the right one");
        assert_eq!(alone.get("b", None), Ok(Some(Bytes::from_static(b"b@3"))));
    }
}

#[test]
fn little_more_is_retained_than_was_asked_for() {
    let tuning = Tuning { retain_revisions: 16, ..Tuning::default() };
    let mut alone = Alone::start(MemDisk::new(12), tuning);
    for number in 1..=100 {
        alone.put(number, "a", &number.to_string()).expect("a put");
        let kept = number - alone.node.status().compacted.0;
        assert!(kept <= 16 + 16 / 8 + 1, "{kept} revisions are kept at {number}");
    }
}

#[test]
fn any_number_of_revisions_may_be_retained() {
    let tuning = Tuning { retain_revisions: u64::MAX, ..Tuning::default() };
    let mut alone = Alone::start(MemDisk::new(13), tuning);
    assert_eq!(alone.put(1, "a", "x"), Ok(Revision(2)));
}

#[test]
fn odd_keys_inside_a_transaction_do_no_harm() {
    let mut alone = Alone::start(MemDisk::new(14), Tuning::default());
    let mut number = 0;
    for key in [Bytes::new(), Bytes::from(vec![0; 1 << 20]), Bytes::from(vec![0xff; 1 << 20])] {
        for range in [
            KeyRange::single(key.clone()),
            KeyRange::prefix(key.clone()),
            KeyRange { start: key.clone(), end: Some(Bytes::new()) },
            KeyRange { start: Bytes::new(), end: Some(key) },
        ] {
            let read = Op::Read(Query::range(range.clone()));
            let ops = vec![Op::delete(range.clone()), read];
            number += 1;
            alone.command(9, number, Body::Txn(Txn::always(ops))).expect("nothing to do");
            let watch = Request::Watch { range, from: Revision(2), wait_ms: 0, previous: false };
            alone.node.handle(
                alone.now,
                Event::Request { ticket: Ticket(9000 + number), request: watch },
            );
            alone.node.handle(alone.now, Event::Tick);
            alone.settle();
        }
    }
}

#[test]
fn what_a_transaction_reads_is_bounded() {
    let mut alone = Alone::start(MemDisk::new(15), Tuning::default());
    alone.put(1, "a", &"x".repeat(1 << 20)).expect("a put");
    let reads = (0..64).map(|_| Op::Read(Query::key(Bytes::from_static(b"a")))).collect();
    let refused = alone.command(9, 2, Body::Txn(Txn::always(reads)));
    let size = |answer: &Answer| match answer {
        Ok((_, Reply::Written(result))) => {
            let mut out = wire::Writer::new();
            result.encode(&mut out);
            out.len()
        }
        _ => 0,
    };
    assert!(size(&refused) < 16 << 20, "{} bytes", size(&refused));
    assert!(matches!(refused, Err(Refusal::TooLarge { .. })));
}

#[test]
fn a_node_that_stops_takes_nothing_in_any_more() {
    let mut alone = Alone::start(MemDisk::new(16), Tuning::default());
    for number in 1..=50 {
        alone.put(number, &format!("a{number}"), &"x".repeat(20_000)).expect("a put");
    }
    alone.node.handle(alone.now, Event::Retire);
    alone.settle();
    let mut alone = alone.restart(Tuning::default());
    let mut effects = Vec::new();
    for number in 51..=53 {
        let key = Bytes::from(format!("a{}", number - 30));
        let op = Op::put(key, "");
        let id = RequestId { client: 9, number };
        let body = Body::Txn(Txn::always(vec![op]));
        let request =
            Request::Write(Command { id, done_below: 0, since: 0, principal: None, body }.encode());
        alone.node.handle(alone.now, Event::Request { ticket: Ticket(number), request });
        alone.node.settle(alone.now, &mut effects);
    }
    alone.disk.fail_reads("engine");
    let writes = effects.iter().filter_map(|effect| match effect {
        Effect::Journal { write, .. } => Some(*write),
        _ => None,
    });
    for write in writes.collect::<Vec<_>>() {
        alone.node.handle(alone.now, Event::Journaled(write));
    }
    let mut effects = Vec::new();
    alone.node.settle(alone.now, &mut effects);
    assert!(matches!(effects[..], [Effect::Stop { .. }]), "{effects:?}");
}

#[test]
fn a_session_read_waits_for_its_revision_or_its_time() {
    let mut alone = Alone::start(MemDisk::new(17), Tuning::default());
    for revision in 2..=4 {
        let query = Query::key(Bytes::from_static(b"a"));
        let consistency = Consistency::Session(Revision(revision));
        let request = Request::Read { query, consistency };
        alone.node.handle(alone.now, Event::Request { ticket: Ticket(1000 + revision), request });
    }
    alone.node.handle(alone.now, Event::Cancel(Ticket(1003)));
    alone.node.handle(alone.now, Event::Cancel(Ticket(1003)));
    alone.put(1, "a", "one").expect("a put");
    let (answered, answer) = alone.answers.remove(0);
    assert_eq!(answered, Ticket(1002));
    assert!(matches!(answer, Ok((header, _)) if header.revision == Revision(2)));
    let deadline = alone.node.deadline().expect("one still waits");
    alone.now = deadline;
    alone.node.handle(alone.now, Event::Tick);
    alone.settle();
    let (answered, answer) = alone.answers.remove(0);
    assert_eq!(answered, Ticket(1004));
    assert!(matches!(answer, Err(Refusal::Unavailable { .. })));
    assert!(alone.answers.is_empty());
    assert_eq!(alone.node.deadline(), None);
    assert_eq!(alone.node.metrics().waiting_requests.get(), 0);
}
