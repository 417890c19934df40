//! One operation's way to its answer: whom to ask, how long, when to try again, when to stop.
//!
//! Pure: time is told, chance comes from a seed, and whoever drives it does the sending. The
//! asynchronous [`crate::Client`] and the simulation run the same one.
//!
//! ```text
//!        next ──► Ask(node, timeout) ──► answered ──► the final result
//!          ▲ └──► Wait(pause)                │
//!          │ └──► GiveUp(error)              │ refused for now, lost, not sent
//!          └─────────────────────────────────┘
//! ```
//!
//! # Invariants
//!
//! * One question at a time: each `Ask` is followed by one `answered` or `failed`.
//! * Once a write may have left without an answer, nothing but an answer to the write itself takes the
//!   doubt away. A refusal does not: it may come from a node with other limits, or of another
//!   release, than the one that took the write.
//! * No time is allowed beyond the limit, and no single question may use it up: a dead node costs
//!   [`PATIENCE`], not the operation.

use std::collections::BTreeSet;
use std::time::Duration;

use wire::{Consistency, Header, NodeId, Refusal, Reply, Request, RequestId};

use crate::{Answer, CallError, Error};

/// How long one node is waited for before another one is asked. Doubles with each loss, so that a
/// slow cluster is not flooded with repetitions.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Redirections that are followed at once; then there is a pause, for the nodes do not agree yet.
const MAX_HOPS: u32 = 2;

/// The first pause is at most this; each further one at most twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// No pause is longer: a cluster that has no leader will soon have one.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Nor this one, of a node that is busy: what is tried again by very many is what keeps it busy.
const LONGEST_BUSY_PAUSE: Duration = Duration::from_secs(2);

/// Who can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The leader; another node can only say who that is, or pass the question on.
    Leader,
    /// Any node; the first of the list is asked first.
    Any,
    /// This node alone, once.
    Only(NodeId),
}

/// What a question without an answer may have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Read,
    /// The write of this id.
    Write(RequestId),
    /// A change of who leads, or of who belongs to the cluster.
    Cluster,
}

/// What an attempt has to go by.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who can answer.
    pub target: Target,
    /// What a lost question may have done.
    pub kind: Kind,
    /// Who can be asked, the nearest first.
    pub nodes: Vec<NodeId>,
    /// Who is believed to lead; one of `nodes`.
    pub leader: Option<NodeId>,
    /// How long all of it may take.
    pub limit: Duration,
    /// How long one node is waited for: [`PATIENCE`], and more if the node itself shall wait.
    pub patience: Duration,
    /// Seed of the jitter in the pauses.
    pub seed: u64,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask this node and wait at most so long.
    Ask(NodeId, Duration),
    /// Do nothing for so long, then ask again what to do.
    Wait(Duration),
    /// It is over.
    GiveUp(Error),
}

/// One operation under way.
#[derive(Debug)]
pub struct Attempt {
    plan: Plan,
    /// Index of the node to ask, or being asked.
    at: usize,
    state: State,
    tried: BTreeSet<NodeId>,
    hops: u32,
    pauses: u32,
    losses: u32,
    /// The last answer was that the node is busy.
    busy: bool,
    last: Option<String>,
    chance: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    ToAsk,
    ToPause,
    Asked,
    Over(Option<Error>),
}

impl Target {
    /// Who can answer `request`.
    pub fn of(request: &Request) -> Self {
        match request {
            Request::As { request, .. } => Self::of(request),
            Request::Write(_)
            | Request::Transfer { .. }
            | Request::Members
            | Request::ChangeMembers(_)
            | Request::KeepAlive { .. }
            | Request::Lease { .. }
            | Request::Leases
            | Request::Auth(_)
            | Request::Authenticate { .. }
            | Request::Read { consistency: Consistency::Linearizable, .. } => Self::Leader,
            Request::Read {
                consistency: Consistency::Session(_) | Consistency::Eventual, ..
            }
            | Request::Watch { .. }
            | Request::Scrub
            | Request::Status => Self::Any,
        }
    }
}

impl Attempt {
    /// An operation that has not yet asked anybody.
    pub fn new(mut plan: Plan) -> Self {
        if let Target::Only(node) = plan.target {
            plan.nodes = vec![node];
        }
        let at = match plan.target {
            Target::Leader => place(&plan.nodes, plan.leader).unwrap_or(0),
            Target::Any | Target::Only(_) => 0,
        };
        let state = if plan.nodes.is_empty() {
            State::Over(Some(Error::Unavailable { why: "no node is known to ask".into() }))
        } else {
            State::ToAsk
        };
        let chance = plan.seed;
        Self {
            plan,
            at,
            state,
            tried: BTreeSet::new(),
            hops: 0,
            pauses: 0,
            losses: 0,
            busy: false,
            last: None,
            chance,
        }
    }

    /// What to do now, so long after the beginning.
    pub fn next(&mut self, elapsed: Duration) -> Next {
        let left = self.plan.limit.saturating_sub(elapsed);
        match &self.state {
            State::Asked => panic!("what came of the last question was not reported"),
            State::Over(error) => {
                let error = error.clone().expect("nobody goes on after the final result");
                return Next::GiveUp(error);
            }
            State::ToAsk | State::ToPause if left.is_zero() => return self.give_up(),
            State::ToPause => {
                self.state = State::ToAsk;
                let pause = self.pause();
                // There would be no time left to ask: say so now.
                return if pause < left { Next::Wait(pause) } else { self.give_up() };
            }
            State::ToAsk => {}
        }
        let node = self.plan.nodes[self.at];
        self.tried.insert(node);
        self.state = State::Asked;
        let patience = self.plan.patience.saturating_mul(1 << self.losses.min(8));
        Next::Ask(node, patience.min(left))
    }

    /// The node that was asked has answered. Gives the final result, if this is it.
    pub fn answered(&mut self, answer: Answer) -> Option<Result<(Header, Reply), Error>> {
        assert!(self.state == State::Asked, "an answer that was not asked for");
        let refusal = match answer {
            Ok(done) => {
                self.state = State::Over(None);
                return Some(Ok(done));
            }
            Err(refusal) => refusal,
        };
        self.last = Some(refusal.to_string());
        self.busy = matches!(refusal, Refusal::Busy { .. });
        match &refusal {
            Refusal::NotLeader { leader } => self.redirect(*leader),
            // Others could only say that it leads.
            Refusal::Busy { .. } if self.plan.target == Target::Leader => {
                self.state = State::ToPause;
            }
            Refusal::Busy { .. } | Refusal::Unavailable { .. } | Refusal::Broken { .. } => {
                self.move_on();
            }
            Refusal::Unanswered { .. } => {
                self.losses += 1;
                self.move_on();
            }
            // What is remembered of the write itself.
            Refusal::Expired { .. } | Refusal::AnswerForgotten { .. } => {
                self.state = State::Over(None);
                return Some(Err(Error::Refused(refusal)));
            }
            Refusal::Compacted { .. }
            | Refusal::Future { .. }
            | Refusal::TooLarge { .. }
            | Refusal::Invalid { .. }
            | Refusal::NotEmpty { .. }
            | Refusal::LeaseNotFound { .. }
            | Refusal::LeaseExists { .. }
            | Refusal::KeyNotFound { .. }
            | Refusal::Fenced { .. }
            | Refusal::Denied { .. }
            | Refusal::Member { .. } => {
                self.state = State::Over(None);
                let doubt = self.in_doubt().then(|| self.without_answer(String::new()));
                return Some(Err(doubt.unwrap_or(Error::Refused(refusal))));
            }
        }
        None
    }

    /// No answer came from the node that was asked.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the failure is dealt with here, like an answer"
    )]
    pub fn failed(&mut self, error: CallError) {
        assert!(self.state == State::Asked, "a failure that was not asked for");
        self.last = Some(error.to_string());
        self.busy = false;
        match error {
            CallError::NotSent { .. } if self.any_untried() => {
                // A node that is down says nothing about the others: no pause.
                self.move_on();
                if self.state == State::ToPause {
                    self.state = State::ToAsk;
                }
            }
            CallError::NotSent { .. } => self.move_on(),
            CallError::Lost { .. } => {
                self.losses += 1;
                self.move_on();
            }
            CallError::Fatal { .. } => self.strike_out(),
        }
    }

    /// Whether a write or transfer may have been done without our knowing.
    pub fn in_doubt(&self) -> bool {
        self.losses > 0 && self.plan.kind != Kind::Read
    }

    fn redirect(&mut self, leader: Option<NodeId>) {
        let Some(place) = place(&self.plan.nodes, leader) else { return self.move_on() };
        if matches!(self.plan.target, Target::Only(_)) {
            return self.move_on();
        }
        self.hops += 1;
        let settled = place != self.at && self.hops <= MAX_HOPS;
        self.at = place;
        self.state = if settled { State::ToAsk } else { State::ToPause };
        if !settled {
            self.hops = 0;
        }
    }

    /// To the next node, after a pause.
    fn move_on(&mut self) {
        self.at = self.following();
        self.state = match self.plan.target {
            Target::Leader | Target::Any => State::ToPause,
            Target::Only(_) => State::Over(Some(self.without_answer(String::new()))),
        };
    }

    /// This node is never asked again.
    fn strike_out(&mut self) {
        self.plan.nodes.remove(self.at);
        if !self.plan.nodes.is_empty() {
            self.at %= self.plan.nodes.len();
            self.state = State::ToAsk;
            return;
        }
        let error = if self.in_doubt() {
            self.without_answer(String::new())
        } else {
            Error::Fatal { why: self.last.clone().unwrap_or_default() }
        };
        self.state = State::Over(Some(error));
    }

    /// The next one in turn, but first those that were never asked.
    fn following(&self) -> usize {
        let count = self.plan.nodes.len();
        let mut turn = (1..=count).map(|step| (self.at + step) % count);
        let untried = turn.find(|&at| !self.tried.contains(&self.plan.nodes[at]));
        untried.unwrap_or((self.at + 1) % count)
    }

    fn any_untried(&self) -> bool {
        self.plan.nodes.iter().any(|node| !self.tried.contains(node))
    }

    fn give_up(&mut self) -> Next {
        let error = self.without_answer(format!("time is up after {:?}: ", self.plan.limit));
        self.state = State::Over(Some(error.clone()));
        Next::GiveUp(error)
    }

    fn without_answer(&self, prefix: String) -> Error {
        let why = prefix + self.last.as_deref().unwrap_or("nobody was asked");
        match self.plan.kind {
            Kind::Write(id) if self.in_doubt() => Error::Unknown { request: Some(id), why },
            Kind::Cluster if self.in_doubt() => Error::Unknown { request: None, why },
            Kind::Read | Kind::Write(_) | Kind::Cluster => Error::Unavailable { why },
        }
    }

    /// Between half and all of a span that doubles each time.
    fn pause(&mut self) -> Duration {
        let longest = if self.busy { LONGEST_BUSY_PAUSE } else { LONGEST_PAUSE };
        let span = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(8)).min(longest);
        self.pauses += 1;
        let half = span / 2;
        let half_us = u64::try_from(half.as_micros()).expect("a pause is some seconds at most");
        half + Duration::from_micros(self.draw() % (half_us + 1))
    }

    /// `SplitMix64` (Steele et al., 2014): enough for jitter.
    fn draw(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn place(nodes: &[NodeId], node: Option<NodeId>) -> Option<usize> {
    nodes.iter().position(|&candidate| Some(candidate) == node)
}
