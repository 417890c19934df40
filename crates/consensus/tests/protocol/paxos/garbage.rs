//! Whatever a peer sends, a replica drops it or takes it; it never stops, unless it is shown that the
//! cluster's safety is lost. Here all values agree, so that nothing shows that.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::paxos::{
    Accept, AcceptReply, Acceptance, Base, Cause, Link, MAX_GAP, Message, Outcome, Paxos, Promise,
};
use consensus::{
    Config, Entry, Epoch, Input, LogIndex, Membership, Output, Payload, Position, ProposalId,
    ReadId, Replica, ReplicaId, Restored, Role, Time,
};
use proptest::prelude::*;

const ORIGIN: Epoch = Epoch { round: 1, proposer: 1 };

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0..12u64,
        1 => (0..4u64).prop_map(|n| MAX_GAP + n),
        1 => (0..3u64).prop_map(|n| (1 << 62) + n - 1),
        1 => Just(u64::MAX),
    ]
}

fn index() -> impl Strategy<Value = LogIndex> {
    number().prop_map(LogIndex)
}

fn ballot() -> impl Strategy<Value = Epoch> {
    prop_oneof![
        1 => (number(), number()).prop_map(|(round, proposer)| Epoch { round, proposer }),
        8 => (1..5u64, 1..4u64).prop_map(|(round, proposer)| Epoch { round, proposer }),
    ]
}

fn base() -> impl Strategy<Value = Base> {
    (index(), prop::option::of(ballot())).prop_map(|(index, under)| {
        let position = Position { index, epoch: ORIGIN };
        Base { position, under: under.unwrap_or_default() }
    })
}

fn link() -> impl Strategy<Value = Link> {
    (0..3u64, 0..3u64).prop_map(|(session, nonce)| Link { session, nonce })
}

/// The one value of this slot. Every fifth changes the members, now and then to some that can't be.
fn value(index: LogIndex) -> Entry {
    let payload = if index.0 % 5 == 4 {
        let voters = (1..=index.0 % 11).map(ReplicaId).collect();
        Payload::Membership(Arc::new(Membership::of(voters)))
    } else {
        Payload::Command(Bytes::from(index.to_string()))
    };
    Entry { position: Position { index, epoch: ORIGIN }, payload }
}

fn accept() -> impl Strategy<Value = Message> {
    let numbers = (index(), 0..5u64, index(), 0..4u64, index());
    (ballot(), numbers, link()).prop_map(|(ballot, (first, count, commit, round, last), link)| {
        let indexes = (0..count).filter_map(|n| first.0.checked_add(n)).map(LogIndex);
        let entries = indexes.map(value).collect();
        Message::Accept(Accept { ballot, first, entries, commit, round, last, link })
    })
}

fn promise() -> impl Strategy<Value = Message> {
    let told = prop::collection::vec((ballot(), index()), 0..5);
    let numbers = (number(), index(), base(), index());
    (ballot(), numbers, told, any::<bool>()).prop_map(
        |(ballot, (nonce, from, base, chosen), told, more)| {
            let accepted = told.into_iter().map(|(ballot, index)| {
                let ballot = Epoch { round: ballot.round.max(1), ..ballot };
                Acceptance { ballot, entry: value(index) }
            });
            let accepted = accepted.collect();
            Message::Promise(Promise { ballot, nonce, from, base, chosen, accepted, more })
        },
    )
}

fn accept_reply() -> impl Strategy<Value = Message> {
    let outcome = prop_oneof![
        index().prop_map(|matched| Outcome::Accepted { matched }),
        (index(), index(), index(), index()).prop_map(|(matched, missing, first, last)| {
            Outcome::Gap { matched, missing, first, last }
        }),
        Just(Outcome::Fetching),
        (1..3u64).prop_map(|nonce| Outcome::InDoubt { nonce }),
        Just(Outcome::Stale),
    ];
    let grant = (0..2000u64).prop_map(Duration::from_millis);
    (ballot(), 0..4u64, link(), outcome, grant).prop_map(|(ballot, round, link, outcome, grant)| {
        Message::AcceptReply(AcceptReply { ballot, round, link, outcome, grant })
    })
}

/// What does not bring values from another leader.
fn harmless() -> impl Strategy<Value = Message> {
    let cause = prop_oneof![Just(Cause::Silence), ballot().prop_map(|of| Cause::Transfer { of })];
    prop_oneof![
        4 => accept_reply(),
        2 => promise(),
        1 => ballot().prop_map(|ballot| Message::PrePrepare { ballot }),
        1 => (ballot(), ballot(), any::<bool>(), base()).prop_map(
            |(ballot, asked, granted, base)| Message::PrePromise { ballot, asked, granted, base }
        ),
        1 => (ballot(), index(), cause, number()).prop_map(
            |(ballot, from, cause, nonce)| Message::Prepare { ballot, from, cause, nonce }
        ),
        1 => (ballot(), ballot()).prop_map(|(ballot, asked)| Message::Nack { ballot, asked }),
        1 => ballot().prop_map(|ballot| Message::TakeOver { ballot }),
        1 => (ballot(), number()).prop_map(
            |(ballot, nonce)| Message::BallotQuery { ballot, nonce }
        ),
        1 => (ballot(), number(), any::<bool>()).prop_map(
            |(ballot, nonce, in_doubt)| {
                let membership = Arc::default();
                Message::BallotReply { ballot, nonce, in_doubt, membership }
            }
        ),
    ]
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        4 => accept(),
        1 => (ballot(), index()).prop_map(|(ballot, index)| Message::Commit { ballot, index }),
        1 => (ballot(), base(), 0..4u64, index(), link()).prop_map(
            |(ballot, base, round, last, link)| {
                Message::Snapshot { ballot, base, round, last, link, skip: None }
            }
        ),
        4 => harmless(),
    ]
}

struct Host {
    replica: Paxos,
    now: Time,
}

impl Host {
    fn new(in_doubt: bool) -> Self {
        let voters = (1..=3).map(ReplicaId).collect();
        let config = Config::new(ReplicaId(3), voters, 7);
        let restored = Restored { in_doubt, ..Restored::default() };
        Self { replica: Paxos::new(config, restored, Time::default()), now: Time::default() }
    }

    fn step(&mut self, input: Input) -> Vec<Message> {
        let mut out = Vec::new();
        self.replica.step(self.now, input, &mut out);
        let (mut durable, mut sent) = (None, Vec::new());
        for output in out {
            match output {
                Output::Persist(write) => durable = Some(write.id),
                Output::Send { message: consensus::Message::Paxos(message), .. } => {
                    sent.push(message);
                }
                _ => {}
            }
        }
        if let Some(id) = durable {
            sent.extend(self.step(Input::Persisted(id)));
        }
        sent
    }

    fn receive(&mut self, from: u64, message: Message) -> Vec<Message> {
        let message = consensus::Message::Paxos(message);
        self.step(Input::Receive { from: ReplicaId(from), message })
    }

    /// Lets time pass, and whoever is asked say yes.
    fn lead(&mut self) {
        self.step(Input::Tick);
        self.now = self.replica.deadline().expect("it waits");
        self.step(Input::Tick);
        let ballot = self.replica.status().epoch;
        let base = Base::default();
        let yes = Message::PrePromise { ballot, asked: ballot, granted: true, base };
        let asked = self.receive(1, yes);
        let Some(Message::Prepare { ballot, from, nonce, .. }) = asked.into_iter().next() else {
            panic!("it asks for promises");
        };
        let (chosen, accepted) = (LogIndex(0), Vec::new());
        let promise = Promise { ballot, nonce, from, base, chosen, accepted, more: false };
        self.receive(1, Message::Promise(promise));
        assert_eq!(self.replica.status().role, Role::Leader);
    }
}

proptest! {
    #[test]
    fn does_not_stop_a_follower(
        in_doubt in any::<bool>(),
        messages in prop::collection::vec((1..5u64, any_message()), 1..60),
    ) {
        let mut host = Host::new(in_doubt);
        for (from, message) in messages {
            host.receive(from, message);
        }
    }

    #[test]
    fn does_not_stop_a_leader(
        messages in prop::collection::vec((1..5u64, harmless()), 1..60),
    ) {
        let mut host = Host::new(false);
        host.lead();
        for (from, message) in messages {
            host.step(Input::Propose(vec![(ProposalId(1), Bytes::from_static(b"a"))]));
            host.step(Input::Read(vec![ReadId(1)]));
            host.receive(from, message);
        }
    }
}
