//! The network: carries bytes between nodes and clients, and does to them what networks do.
//!
//! A link keeps the order of what it carries, as a connection does, unless reordering is switched
//! on. Every fault here is a setting; the fault that switches it on switches it off.

use std::time::Duration;

use consensus::Time;

use crate::rng::Rng;

/// A node or a client: nodes come first.
pub(crate) type Endpoint = usize;

/// What the network does to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It never arrives.
    Lost,
    /// It arrives when the link that it is on is let go.
    Held,
    /// It arrives then.
    Arrives(Time),
    /// It arrives twice.
    Twice(Time, Time),
}

/// The network's settings, and what is on its links.
#[derive(Debug)]
pub(crate) struct Net {
    rng: Rng,
    endpoints: usize,
    /// Time on the way, when all is well.
    pub(crate) latency: (Duration, Duration),
    /// Chances in a thousand, and how bad it is.
    pub(crate) loss: u64,
    pub(crate) doubling: u64,
    pub(crate) reordering: bool,
    pub(crate) delay: (u64, Duration),
    /// Chance in a thousand that a client sends a request to two nodes.
    pub(crate) asking_twice: u64,
    /// Who is to be cut off next, and who was cut off last.
    coup: Option<Coup>,
    fallen: Option<Coup>,
    /// By sender and receiver.
    links: Vec<Link>,
    /// By endpoint.
    cards: Vec<Card>,
}

/// What an endpoint's traffic goes through.
#[derive(Clone, Copy, Debug, Default)]
struct Card {
    /// What it carries in a second, if that is little.
    bytes_per_second: Option<u64>,
    /// It is at what was sent before until then.
    busy_until: Time,
}

/// What a message costs beyond its bytes.
const FRAMING_BYTES: u64 = 60;

/// What waits longer than this at a slow card is dropped: its buffer is full.
const LONGEST_QUEUE: Duration = Duration::from_secs(1);

/// A node that is cut off from the other nodes once it has sent them so many messages.
#[derive(Clone, Copy, Debug)]
struct Coup {
    node: Endpoint,
    messages: u64,
    nodes: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    cut: bool,
    /// It delivers nothing, and loses nothing, until it is let go.
    stopped: bool,
    clogged_until: Time,
    last_arrival: Time,
}

impl Net {
    pub(crate) fn new(endpoints: usize, latency: (Duration, Duration), rng: Rng) -> Self {
        Self {
            rng,
            endpoints,
            latency,
            loss: 0,
            doubling: 0,
            reordering: false,
            delay: (0, Duration::ZERO),
            asking_twice: 0,
            coup: None,
            fallen: None,
            links: vec![Link::default(); endpoints * endpoints],
            cards: vec![Card::default(); endpoints],
        }
    }

    /// Whether messages pass from one to the other.
    pub(crate) fn passes(&self, from: Endpoint, to: Endpoint) -> bool {
        !self.links[from * self.endpoints + to].cut
    }

    /// Cuts or mends one direction.
    pub(crate) fn set_cut(&mut self, from: Endpoint, to: Endpoint, cut: bool) {
        self.link(from, to).cut = cut;
    }

    /// Holds back what goes in one direction.
    pub(crate) fn clog(&mut self, from: Endpoint, to: Endpoint, until: Time) {
        let link = self.link(from, to);
        link.clogged_until = link.clogged_until.max(until);
    }

    /// Mends everything that is cut.
    pub(crate) fn mend_cuts(&mut self) {
        for link in &mut self.links {
            link.cut = false;
        }
    }

    /// Stops a link in one direction, or lets it go.
    pub(crate) fn set_stopped(&mut self, from: Endpoint, to: Endpoint, stopped: bool) {
        self.link(from, to).stopped = stopped;
    }

    /// Limits what an endpoint can send and receive.
    pub(crate) fn limit(&mut self, endpoint: Endpoint, bytes_per_second: Option<u64>) {
        self.cards[endpoint] = Card { bytes_per_second, busy_until: Time::default() };
    }

    /// All links carry, at full speed.
    pub(crate) fn heal(&mut self) {
        self.mend_cuts();
        for link in &mut self.links {
            link.clogged_until = Time::default();
            link.stopped = false;
            // What a slow card still has to send comes when it comes; nobody waits behind it.
            link.last_arrival = Time::default();
        }
        self.cards.fill(Card::default());
    }

    /// Cuts one of the first `nodes` endpoints off from the others when it has sent them this many
    /// messages. Who was cut off before comes back at that moment.
    pub(crate) fn cut_off_after(&mut self, node: Endpoint, messages: u64, nodes: usize) {
        self.coup = Some(Coup { node, messages, nodes });
    }

    /// Nobody is to be cut off, and who was comes back.
    pub(crate) fn end_coups(&mut self) {
        self.coup = None;
        self.set_apart(None);
    }

    fn count_towards_coup(&mut self, from: Endpoint, to: Endpoint) {
        let Some(coup) = &mut self.coup else { return };
        if from != coup.node || to >= coup.nodes {
            return;
        }
        if coup.messages > 0 {
            coup.messages -= 1;
            return;
        }
        let coup = self.coup.take();
        self.set_apart(coup);
    }

    /// One node is cut off; who was before comes back.
    fn set_apart(&mut self, falls: Option<Coup>) {
        let rises = std::mem::replace(&mut self.fallen, falls);
        self.part(rises, false);
        self.part(falls, true);
    }

    fn part(&mut self, coup: Option<Coup>, cut: bool) {
        let Some(Coup { node, nodes, .. }) = coup else { return };
        for other in (0..nodes).filter(|other| *other != node) {
            self.set_cut(node, other, cut);
            self.set_cut(other, node, cut);
        }
    }

    /// Whether a client sends its next request to two of so many nodes.
    pub(crate) fn asks_twice(&mut self, nodes: usize) -> bool {
        nodes > 1 && self.asking_twice > 0 && self.rng.chance(self.asking_twice)
    }

    /// Decides what becomes of a message that is sent now.
    pub(crate) fn send(&mut self, from: Endpoint, to: Endpoint, bytes: usize, now: Time) -> Fate {
        self.count_towards_coup(from, to);
        if !self.passes(from, to) || (self.loss > 0 && self.rng.chance(self.loss)) {
            return Fate::Lost;
        }
        if self.link(from, to).stopped {
            return Fate::Held;
        }
        let Some(now) = self.through_card(from, bytes, now) else { return Fate::Lost };
        let Some(now) = self.through_card(to, bytes, now) else { return Fate::Lost };
        let first = self.arrival(from, to, now);
        if self.doubling > 0 && self.rng.chance(self.doubling) {
            return Fate::Twice(first, self.arrival(from, to, now));
        }
        Fate::Arrives(first)
    }

    /// When a message is through an endpoint's card; never, if too much waits there.
    fn through_card(&mut self, endpoint: Endpoint, bytes: usize, now: Time) -> Option<Time> {
        let card = &mut self.cards[endpoint];
        let Some(rate) = card.bytes_per_second else { return Some(now) };
        let begins = card.busy_until.max(now);
        if begins.since(now) > LONGEST_QUEUE {
            return None;
        }
        let nanos = (bytes as u64 + FRAMING_BYTES).saturating_mul(1_000_000_000) / rate;
        card.busy_until = begins + Duration::from_nanos(nanos);
        Some(card.busy_until)
    }

    fn arrival(&mut self, from: Endpoint, to: Endpoint, now: Time) -> Time {
        let (low, high) = self.latency;
        let mut way = self.rng.duration(low, high);
        let (chance, most) = self.delay;
        if chance > 0 && self.rng.chance(chance) {
            way += self.rng.skewed(Duration::from_millis(1), most);
        }
        let ordered = !self.reordering;
        let link = self.link(from, to);
        let mut at = (now + way).max(link.clogged_until);
        if ordered {
            at = at.max(link.last_arrival);
            link.last_arrival = at;
        }
        at
    }

    fn link(&mut self, from: Endpoint, to: Endpoint) -> &mut Link {
        &mut self.links[from * self.endpoints + to]
    }
}
