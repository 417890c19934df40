//! The requests under way on one connection of frames, and their answers until they are written.
//!
//! A request costs no task: whoever hands out its answer encodes it behind those that wait for the same
//! socket, and all of them leave in one write. Only what another node leads gets a task, to be passed
//! on.
//!
//! # Bounds
//!
//! * A connection has at most [`IN_FLIGHT`] requests that are not answered or whose answers are not yet
//!   written, and begins nothing while [`UNWRITTEN_BYTES`] of answers wait: the sender's window closes.
//! * Watches, which wait by intention, have a limit of their own; beyond it they are refused, so that
//!   they can't hold up the rest.

use std::collections::BTreeMap;
use std::ops::{AddAssign, SubAssign};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use node::{Answer, Ticket};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use wire::{Command, Denial, Frame, FrameKind, NodeId, Principal, Refusal, Reply, Request};

use super::answers::ReplyTo;
use super::clients::until_true;
use super::clock;
use super::local::{Local, PassOn, patience_with, too_late};
use super::mailbox::Incoming;

/// Requests of one connection under way, watches not counted.
const IN_FLIGHT: usize = 1024;

/// Watches of one connection under way.
const WATCHES: usize = 1024;

/// Answers that wait to be written; more only as a single batch.
const UNWRITTEN_BYTES: usize = 1 << 20;

/// How often requests are looked for that nobody answered.
pub(super) const EXPIRY_PAUSE: Duration = Duration::from_secs(1);

/// One connection's requests and answers.
#[derive(Debug)]
pub(crate) struct Exchange {
    door: Local,
    pass_on: PassOn,
    state: Mutex<State>,
    /// There is something to write, or nothing more will come.
    to_write: Notify,
    /// Something was written.
    room: Notify,
    /// Nobody hears answers any more.
    gone: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// What the own node has been asked.
    asked: BTreeMap<Ticket, Asked>,
    /// All that is under way, answers that are not yet written included.
    places: Places,
    /// Encoded answers.
    answers: Vec<u8>,
    /// How many they are.
    unwritten: Places,
    ending: bool,
    /// Who has been proven to ask.
    proven: Option<Principal>,
}

#[derive(Debug)]
struct Asked {
    stream: u64,
    /// To be passed on, if another node leads.
    request: Request,
    patience: Duration,
    deadline: Instant,
}

/// A number of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    watches: usize,
    others: usize,
}

impl Places {
    fn of(request: &Request) -> Self {
        match request.bare() {
            Request::Watch { .. } => Self { watches: 1, others: 0 },
            _ => Self { watches: 0, others: 1 },
        }
    }
}

impl AddAssign for Places {
    fn add_assign(&mut self, more: Self) {
        self.watches += more.watches;
        self.others += more.others;
    }
}

impl SubAssign for Places {
    fn sub_assign(&mut self, less: Self) {
        self.watches -= less.watches;
        self.others -= less.others;
    }
}

impl State {
    fn put(&mut self, stream: u64, place: Places, answer: &Answer) {
        let body = |out: &mut wire::Writer| Reply::encode_answer(answer, out);
        Frame::append(FrameKind::Answer, stream, body, &mut self.answers);
        self.unwritten += place;
    }
}

/// A request in the name of `proven`, if `names` are wanted at all: as long as nobody has ever enabled
/// authentication, they would only make the log longer. Who claims to be somebody else is refused.
fn in_name_of(
    proven: Option<&Principal>,
    request: Request,
    names: bool,
) -> Result<Request, Refusal> {
    let is_proven = |claimed: &Principal| match proven {
        Some(proven) if proven == claimed => Ok(()),
        _ => Err(Refusal::from(Denial::InvalidToken)),
    };
    match request {
        Request::As { principal, request } => {
            is_proven(&principal)?;
            match *request {
                // It would be asked in the name of whoever stands in the command.
                Request::Write(_) => {
                    let what = "a command bears its principal itself".to_owned();
                    Err(Refusal::Invalid { what })
                }
                request => Ok(request.by(principal)),
            }
        }
        Request::Write(command) => match (Command::principal_of(&command), proven) {
            (Ok(Some(claimed)), _) => is_proven(&claimed).map(|()| Request::Write(command)),
            (Ok(None), Some(proven)) if names => {
                let stamped = Command::stamp(&command, proven);
                // What can't be read the node refuses, in better words.
                Ok(Request::Write(stamped.unwrap_or(command)))
            }
            (Ok(None) | Err(_), _) => Ok(Request::Write(command)),
        },
        // Who proves who he is is nobody yet.
        request @ (Request::Authenticate { .. } | Request::Status) => Ok(request),
        request => Ok(match proven {
            Some(proven) if names => request.by(proven.clone()),
            _ => request,
        }),
    }
}

impl Exchange {
    /// A connection on which nothing was asked yet. What is asked of a client's is asked in the name of
    /// `proven`, until a password proves somebody else; another node's has looked at that itself.
    pub(super) fn new(door: Local, pass_on: PassOn, proven: Option<Principal>) -> Self {
        let (gone, _) = watch::channel(false);
        let (to_write, room) = (Notify::new(), Notify::new());
        let state = Mutex::new(State { proven, ..State::default() });
        Self { door, pass_on, state, to_write, room, gone }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more request may be begun.
    pub(super) async fn room(&self) {
        loop {
            {
                let state = self.state();
                if state.places.others < IN_FLIGHT && state.answers.len() < UNWRITTEN_BYTES {
                    return;
                }
            }
            // Either may have made room.
            let _ = timeout(EXPIRY_PAUSE, self.room.notified()).await;
            self.expire();
        }
    }

    /// Begins a request, with `stream` as its name on this connection.
    pub(super) fn ask(self: &Arc<Self>, stream: u64, request: Request) {
        let place = Places::of(&request);
        let mut request = match self.in_name(request) {
            Ok(request) => request,
            Err(refusal) => {
                let mut state = self.state();
                state.places += place;
                return self.put(state, stream, place, &Err(refusal));
            }
        };
        let patience = patience_with(&mut request);
        let ticket = self.door.ticket();
        let reply_to = ReplyTo::Connection(Arc::clone(self), ticket);
        {
            let mut state = self.state();
            state.places += place;
            if state.places.watches > WATCHES {
                let what = format!("{WATCHES} watches wait on this connection");
                state.put(stream, place, &Err(Refusal::Busy { what }));
                return self.to_write.notify_one();
            }
            let deadline = clock::instant() + patience;
            let request = request.clone();
            state.asked.insert(ticket, Asked { stream, request, patience, deadline });
        }
        if let Err(refusal) = self.door.submit(Incoming { ticket, request, reply_to }) {
            self.answer(ticket, &Err(refusal));
        }
    }

    /// A client's request in the name of whoever has been proven to ask.
    fn in_name(&self, request: Request) -> Result<Request, Refusal> {
        match self.pass_on {
            PassOn::Yes => {
                in_name_of(self.state().proven.as_ref(), request, self.door.names_users())
            }
            PassOn::No => Ok(request),
        }
    }

    /// The own node has answered.
    pub(crate) fn answer(self: &Arc<Self>, ticket: Ticket, answer: &Answer) {
        let mut state = self.state();
        // Who has gone away, or waited too long, waits no more.
        let Some(asked) = state.asked.remove(&ticket) else { return };
        if let (Err(Refusal::NotLeader { leader: Some(leader) }), PassOn::Yes) =
            (answer, self.pass_on)
        {
            drop(state);
            return self.pass_on(*leader, asked);
        }
        self.put(state, asked.stream, Places::of(&asked.request), answer);
    }

    fn put(&self, mut state: MutexGuard<'_, State>, stream: u64, place: Places, answer: &Answer) {
        if let Ok((_, Reply::Authenticated(principal))) = answer {
            state.proven = Some(principal.clone());
        }
        let wakes = state.answers.is_empty();
        state.put(stream, place, answer);
        drop(state);
        if wakes {
            self.to_write.notify_one();
        }
    }

    fn pass_on(self: &Arc<Self>, leader: NodeId, asked: Asked) {
        let exchange = Arc::clone(self);
        tokio::spawn(async move {
            let Asked { stream, request, patience, .. } = asked;
            let place = Places::of(&request);
            let mut gone = exchange.gone.subscribe();
            tokio::select! {
                answer = exchange.door.pass_on(leader, request, patience) => {
                    exchange.put(exchange.state(), stream, place, &answer);
                }
                // The nodes shall not work for nobody.
                () = until_true(&mut gone) => {}
            }
        });
    }

    /// Gives up what nobody answered in time.
    pub(super) fn expire(&self) {
        let now = clock::instant();
        let mut state = self.state();
        let late = state.asked.iter().filter(|(_, asked)| asked.deadline <= now);
        let late: Vec<Ticket> = late.map(|(ticket, _)| *ticket).collect();
        for ticket in late {
            let Some(asked) = state.asked.remove(&ticket) else { continue };
            let refusal = too_late(&self.door.own().to_string(), &asked.request);
            state.put(asked.stream, Places::of(&asked.request), &Err(refusal));
            self.door.cancel(ticket);
            self.to_write.notify_one();
        }
    }

    /// Waits for answers, and takes them all. `None` when there will be none.
    pub(super) async fn answers(&self, into: &mut Vec<u8>) -> Option<Places> {
        loop {
            {
                let mut state = self.state();
                if !state.answers.is_empty() {
                    std::mem::swap(&mut state.answers, into);
                    return Some(std::mem::take(&mut state.unwritten));
                }
                if state.ending && state.places == Places::default() {
                    return None;
                }
            }
            self.to_write.notified().await;
        }
    }

    /// Answers to so many requests are written.
    pub(super) fn wrote(&self, places: Places) {
        self.state().places -= places;
        self.room.notify_one();
    }

    /// Nothing will be asked any more.
    pub(super) fn end(&self) {
        self.state().ending = true;
        self.to_write.notify_one();
    }

    /// Nobody is there to hear answers: what is under way is cancelled.
    pub(super) fn close(&self) {
        self.gone.send_replace(true);
        let asked = std::mem::take(&mut self.state().asked);
        for ticket in asked.into_keys() {
            self.door.cancel(ticket);
        }
    }
}
