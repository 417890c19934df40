//! The client: operations, and what it remembers between them (who leads, how far the cluster is,
//! which of its own writes are under way).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::{
    AuthAnswer, AuthChange, AuthQuestion, Body, Command, Consistency, Header, Hidden, Item,
    KeyRange, LeaseStatus, MemberChange, Members, NodeId, NodeStatus, Op, OpResult, Outcome, Page,
    Principal, Projection, Query, Refusal, Reply, Request, RequestId, Revision, ScrubStatus, Txn,
    TxnResult,
};

use crate::numbers::Numbers;
use crate::{
    Answer, Attempt, CallError, Error, Kind, Next, PATIENCE, Plan, Scan, Session, Target,
    Transport, Watch,
};

/// The time an operation is given, unless the caller says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where nobody looks for a key: asked for when only the answer's header matters, and so nobody needs a
/// permission for it.
const NO_KEYS: Bytes = Bytes::from_static(b"\0");

/// Whether a command may have been done without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    None,
    Some,
}

/// Who a client is and how patient.
#[derive(Clone, Debug)]
pub struct Config {
    /// Drawn at random by the caller, once for each client: the cluster remembers answers under it.
    /// Never 0.
    pub client_id: u128,
    /// The time an operation is given.
    pub timeout: Duration,
    /// Seed of the jitter in the pauses between tries.
    pub seed: u64,
}

impl Config {
    /// The usual, with this identity.
    pub fn new(client_id: u128, seed: u64) -> Self {
        Self { client_id, timeout: TIMEOUT, seed }
    }
}

/// A value, and the answer's header: at which revision it holds, who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consistent<T> {
    /// The value.
    pub value: T,
    /// The answer's header.
    pub header: Header,
}

impl<T> Consistent<T> {
    /// The same header with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Consistent<U> {
        Consistent { value: change(self.value), header: self.header }
    }
}

/// How a write is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    /// The id to write under, instead of the client's next one: to repeat a write that ended as
    /// [`Error::Unknown`], or one whose id a user chose. The body must be the same each time.
    pub request_id: Option<RequestId>,
    /// The time it is given, instead of the client's.
    pub timeout: Option<Duration>,
}

/// The one door to a cluster. Clones are cheap and are the same client.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    timeout: Duration,
    /// In whose name it asks.
    principal: Option<Arc<Principal>>,
}

struct Shared {
    transport: Arc<dyn Transport>,
    config: Config,
    numbers: Numbers,
    /// Who leads, by its own number; 0 if that is not known.
    leader: AtomicU64,
    /// The highest log index that an answer bore as applied.
    applied: AtomicU64,
    /// A command was refused because `applied` lags too far behind the cluster.
    outdated: AtomicBool,
    /// How many attempts there were: each jitters otherwise.
    attempts: AtomicU64,
}

/// What came of a request, and from whom, as the transport numbers nodes.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) node: NodeId,
    pub(crate) header: Header,
    pub(crate) reply: Reply,
}

impl Answered {
    /// The node answered with something that does not belong to `asked`.
    pub(crate) fn mismatch(&self, asked: &str) -> Error {
        Error::Fatal { why: format!("{} answered {asked} with something else", self.header.node) }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = format_args!("{:032x}", self.shared.config.client_id);
        f.debug_struct("Client").field("id", &id).finish_non_exhaustive()
    }
}

fn halves(number: u128) -> [u64; 2] {
    let (low, high) = (number & u128::from(u64::MAX), number >> 64);
    [low, high].map(|half| u64::try_from(half).expect("a half has 64 bits"))
}

/// The name that a lease gets from a number drawn at random: the same from the same. It has 53 bits, so
/// that a reader of JSON whose numbers are floating-point ones keeps it whole.
pub fn lease_name(drawn: u128) -> u64 {
    /// An odd number without a pattern: numbers that follow one another get names far apart.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let [low, high] = halves(drawn);
    ((low ^ high).wrapping_mul(SPREAD) >> 11).max(1)
}

impl Client {
    /// A client that reaches its cluster by `transport`.
    pub fn new(transport: Arc<dyn Transport>, config: Config) -> Self {
        assert!(config.client_id != 0, "client 0 is the cluster itself");
        let timeout = config.timeout;
        let shared = Shared {
            transport,
            config,
            numbers: Numbers::default(),
            leader: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            outdated: AtomicBool::new(false),
            attempts: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), timeout, principal: None }
    }

    /// The same client, with another time for its operations.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// The same client, which asks in the name of this user, or of nobody. Only from inside a node: on a
    /// connection from outside, a node finds out itself who calls.
    #[must_use]
    pub fn in_name_of(&self, principal: Option<Principal>) -> Self {
        Self { principal: principal.map(Arc::new), ..self.clone() }
    }

    /// In whose name it asks.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_deref()
    }

    /// The time an operation is given.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The identity under which it writes.
    pub fn id(&self) -> u128 {
        self.shared.config.client_id
    }

    /// A session of this client that has seen nothing yet.
    pub fn session(&self) -> Session {
        Session::new(self.clone(), Revision(0))
    }

    /// One key's item; `None` if it is absent.
    pub async fn get(
        &self,
        key: impl Into<Bytes>,
        consistency: Consistency,
    ) -> Result<Consistent<Option<Item>>, Error> {
        let page = self.read(Query::key(key.into()), consistency).await?;
        Ok(page.map(|mut page| page.items.pop()))
    }

    /// One page of a query.
    pub async fn read(
        &self,
        query: Query,
        consistency: Consistency,
    ) -> Result<Consistent<Page>, Error> {
        let request = Request::Read { query, consistency };
        let plan = self.plan(&request, Kind::Read, self.timeout);
        let answered = self.run(request, plan).await?;
        match answered.reply {
            Reply::Page(value) => Ok(Consistent { value, header: answered.header }),
            _ => Err(answered.mismatch("a read")),
        }
    }

    /// A whole range, page by page, as it was at one revision.
    pub fn scan(&self, range: KeyRange) -> Scan {
        Scan::new(self.clone(), range)
    }

    /// Every change in `range` from revision `from` on; 0 stands for "from now on".
    pub fn watch(&self, range: KeyRange, from: Revision) -> Watch {
        Watch::new(self.clone(), range, from)
    }

    /// Gives a key a value; the revision that did it.
    pub async fn put(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<Revision, Error> {
        let op = Op::put(key, value);
        Ok(self.txn(Txn::always(vec![op])).await?.revision)
    }

    /// Removes every key of a range, for example of [`KeyRange::single`]: the store's revision after
    /// it, and how many there were.
    pub async fn delete(&self, range: KeyRange) -> Result<(Revision, u64), Error> {
        let result = self.txn(Txn::always(vec![Op::delete(range)])).await?;
        match result.results[..] {
            [OpResult::Deleted { count, .. }] => Ok((result.revision, count)),
            _ => Err(Error::Fatal { why: "a deletion was answered with something else".into() }),
        }
    }

    /// A conditional batch.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResult, Error> {
        Ok(self.execute(Body::Txn(txn), WriteOptions::default()).await?.value)
    }

    /// Lets versions go that no read at or above `before` can see.
    pub async fn compact(&self, before: Revision) -> Result<Revision, Error> {
        let done = self.execute(Body::Compact { before }, WriteOptions::default()).await?;
        Ok(done.value.revision)
    }

    /// A new lease of this client's choosing, which lives for `ttl` without being kept alive. It is named
    /// at random.
    pub async fn grant(&self, ttl: Duration) -> Result<u64, Error> {
        let lease = self.draw_lease();
        self.grant_as(lease, ttl).await?;
        Ok(lease)
    }

    /// A new lease with this name, which is not 0.
    pub async fn grant_as(
        &self,
        lease: u64,
        ttl: Duration,
    ) -> Result<Consistent<TxnResult>, Error> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.execute(Body::Grant { lease, ttl_ms }, WriteOptions::default()).await
    }

    /// Ends a lease, and removes the keys that hang on it.
    pub async fn revoke(&self, lease: u64) -> Result<Consistent<TxnResult>, Error> {
        self.execute(Body::Revoke { lease }, WriteOptions::default()).await
    }

    /// Gives a lease all of its time anew. The holder may rely on that time from the moment at which it
    /// called this, not from the answer.
    pub async fn keep_alive(&self, lease: u64) -> Result<Consistent<LeaseStatus>, Error> {
        self.ask_lease(Request::KeepAlive { lease }).await
    }

    /// How long a lease has left, and which keys hang on it if `keys` is wanted.
    pub async fn lease(&self, lease: u64, keys: bool) -> Result<Consistent<LeaseStatus>, Error> {
        self.ask_lease(Request::Lease { lease, keys }).await
    }

    /// Which leases there are.
    pub async fn leases(&self) -> Result<Consistent<Vec<u64>>, Error> {
        let plan = self.plan(&Request::Leases, Kind::Read, self.timeout);
        let answered = self.run(Request::Leases, plan).await?;
        match answered.reply {
            Reply::Leases(value) => Ok(Consistent { value, header: answered.header }),
            _ => Err(answered.mismatch("a question for leases")),
        }
    }

    /// Proves who somebody is, by a password.
    pub async fn authenticate(
        &self,
        user: impl Into<String>,
        password: Hidden,
    ) -> Result<Consistent<Principal>, Error> {
        let request = Request::Authenticate { user: user.into(), password };
        let plan = self.plan(&request, Kind::Read, self.timeout);
        let answered = self.run(request, plan).await?;
        match answered.reply {
            Reply::Authenticated(value) => Ok(Consistent { value, header: answered.header }),
            _ => Err(answered.mismatch("a password")),
        }
    }

    /// Asks about users and roles.
    pub async fn ask_auth(&self, question: AuthQuestion) -> Result<Consistent<AuthAnswer>, Error> {
        let request = Request::Auth(question);
        let plan = self.plan(&request, Kind::Read, self.timeout);
        let answered = self.run(request, plan).await?;
        match answered.reply {
            Reply::Auth(value) => Ok(Consistent { value, header: answered.header }),
            _ => Err(answered.mismatch("a question about users")),
        }
    }

    /// Changes users and roles.
    pub async fn change_auth(&self, change: AuthChange) -> Result<Consistent<TxnResult>, Error> {
        self.execute(Body::Auth(change), WriteOptions::default()).await
    }

    async fn ask_lease(&self, request: Request) -> Result<Consistent<LeaseStatus>, Error> {
        let plan = self.plan(&request, Kind::Read, self.timeout);
        let answered = self.run(request, plan).await?;
        match answered.reply {
            Reply::Lease(value) => Ok(Consistent { value, header: answered.header }),
            _ => Err(answered.mismatch("a question for a lease")),
        }
    }

    /// Has a command done. It is repeated, under its one id, until there is an answer or the time is
    /// over.
    pub async fn execute(
        &self,
        body: Body,
        options: WriteOptions,
    ) -> Result<Consistent<TxnResult>, Error> {
        let (begun, limit) = (Instant::now(), options.timeout.unwrap_or(self.timeout));
        let Some(id) = options.request_id else { return self.execute_anew(body, limit).await };
        let since = self.since(limit).await?;
        let principal = self.principal.as_deref().cloned();
        let command = Command { id, done_below: 0, since, principal, body }.encode();
        let (result, _) = self.write(id, command, limit.saturating_sub(begun.elapsed())).await;
        let outcome = result.as_ref().map_or_else(Error::outcome, |_| Outcome::Done);
        if id.client == self.shared.config.client_id && outcome != Outcome::Unknown {
            self.shared.numbers.resolve(id.number);
        }
        result
    }

    /// Has a command done that nobody has sent before. If it is refused as older than what the cluster
    /// remembers, and no answer to it was lost, then it was not done: it is made anew, once, now that
    /// this client asks the leader where the cluster is.
    async fn execute_anew(
        &self,
        mut body: Body,
        limit: Duration,
    ) -> Result<Consistent<TxnResult>, Error> {
        let begun = Instant::now();
        let left = || limit.saturating_sub(begun.elapsed());
        let mut may_be_made_anew = true;
        loop {
            let since = self.since(left()).await?;
            let number = self.shared.numbers.begin();
            let id = RequestId { client: self.shared.config.client_id, number: number.value };
            let principal = self.principal.as_deref().cloned();
            let done_below = number.done_below;
            let command = Command { id, done_below, since, principal, body }.encode();
            let (result, doubt) = self.write(id, command.clone(), left()).await;
            if doubt == Doubt::Some || !is_expired(&result) {
                number.settle(result.as_ref().map_or_else(Error::outcome, |_| Outcome::Done));
                return result;
            }
            number.settle(Outcome::NotDone);
            if !may_be_made_anew {
                let why = "the nodes do not agree how far the cluster is".to_owned();
                return Err(Error::Unavailable { why });
            }
            may_be_made_anew = false;
            body = Command::decode(command).expect("it was encoded just now").body;
        }
    }

    /// How a node is; without a number, the nearest that answers.
    pub async fn status(&self, node: Option<NodeId>) -> Result<NodeStatus, Error> {
        let mut plan = self.plan(&Request::Status, Kind::Read, self.timeout);
        if let Some(node) = node {
            let place = if plan.nodes.contains(&node) { Some(node) } else { self.locate(node) };
            let unknown = || Error::Unavailable { why: format!("there is no way to {node}") };
            plan.target = Target::Only(place.ok_or_else(unknown)?);
        }
        let answered = self.run(Request::Status, plan).await?;
        match answered.reply {
            Reply::Status(status) => Ok(*status),
            _ => Err(answered.mismatch("a question for its status")),
        }
    }

    /// How each node is that can be asked, by what the transport calls it.
    pub async fn statuses(&self) -> Vec<(String, Result<NodeStatus, Error>)> {
        let nodes = self.shared.transport.nodes();
        let mut asked = JoinSet::new();
        for (place, node) in nodes.into_iter().enumerate() {
            let client = self.clone();
            let name = self.name(node);
            asked.spawn(async move { (place, name, client.status(Some(node)).await) });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(place, ..)| *place);
        answers.into_iter().map(|(_, name, status)| (name, status)).collect()
    }

    /// Has every node read all that it holds, as it is now: see [`Body::Scrub`].
    pub async fn scrub(&self, id: u64) -> Result<Consistent<TxnResult>, Error> {
        self.execute(Body::Scrub { id }, WriteOptions::default()).await
    }

    /// How far the last scrub is on each node that can be asked, by what the transport calls it.
    pub async fn scrub_statuses(
        &self,
    ) -> Vec<(String, Result<Consistent<Option<ScrubStatus>>, Error>)> {
        let mut asked = JoinSet::new();
        for (place, node) in self.shared.transport.nodes().into_iter().enumerate() {
            let client = self.clone();
            let name = self.name(node);
            asked.spawn(async move { (place, name, client.scrub_status(node).await) });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(place, ..)| *place);
        answers.into_iter().map(|(_, name, status)| (name, status)).collect()
    }

    /// How far the last scrub is on a node, by the transport's number.
    async fn scrub_status(&self, node: NodeId) -> Result<Consistent<Option<ScrubStatus>>, Error> {
        let mut plan = self.plan(&Request::Scrub, Kind::Read, self.timeout);
        plan.target = Target::Only(node);
        let answered = self.run(Request::Scrub, plan).await?;
        match answered.reply {
            Reply::Scrub(value) => Ok(Consistent { value, header: answered.header }),
            _ => Err(answered.mismatch("a question for its scrub")),
        }
    }

    /// Begins to hand leadership to `to`, by its own number.
    pub async fn transfer(&self, to: NodeId) -> Result<(), Error> {
        let request = Request::Transfer { to };
        let plan = self.plan(&request, Kind::Cluster, self.timeout);
        let answered = self.run(request, plan).await?;
        match answered.reply {
            Reply::Transferring => Ok(()),
            _ => Err(answered.mismatch("a transfer")),
        }
    }

    /// Who belongs to the cluster.
    pub async fn members(&self) -> Result<Consistent<Members>, Error> {
        let plan = self.plan(&Request::Members, Kind::Read, self.timeout);
        let answered = self.run(Request::Members, plan).await?;
        match answered.reply {
            Reply::Members { members, .. } => {
                Ok(Consistent { value: members, header: answered.header })
            }
            _ => Err(answered.mismatch("a question for the members")),
        }
    }

    /// Changes who belongs to the cluster; tells who does now, and which node was added or changed.
    /// If no answer came it may have been done: ask for [`Client::members`].
    pub async fn change_members(
        &self,
        change: MemberChange,
    ) -> Result<Consistent<(Members, Option<NodeId>)>, Error> {
        let request = Request::ChangeMembers(change);
        let plan = self.plan(&request, Kind::Cluster, self.timeout);
        let answered = self.run(request, plan).await?;
        match answered.reply {
            Reply::Members { members, node } => {
                Ok(Consistent { value: (members, node), header: answered.header })
            }
            _ => Err(answered.mismatch("a change of members")),
        }
    }

    /// A number that this client draws once: its own random id, moved on by one each time.
    pub(crate) fn draw(&self) -> u128 {
        let count = self.shared.attempts.fetch_add(1, Ordering::Relaxed);
        self.shared.config.client_id.wrapping_add(u128::from(count)).max(1)
    }

    /// A name for a new lease, drawn at random.
    pub fn draw_lease(&self) -> u64 {
        lease_name(self.draw())
    }

    /// Sends a command, and tells whether it may have been done without an answer.
    async fn write(
        &self,
        id: RequestId,
        command: Bytes,
        limit: Duration,
    ) -> (Result<Consistent<TxnResult>, Error>, Doubt) {
        let request = Request::Write(command);
        let mut attempt = Attempt::new(self.plan(&request, Kind::Write(id), limit));
        let answered = self.drive(request, &mut attempt).await;
        let doubt = if attempt.in_doubt() { Doubt::Some } else { Doubt::None };
        let result = answered.and_then(|answered| match answered.reply {
            Reply::Written(value) => Ok(Consistent { value, header: answered.header }),
            _ => Err(Error::Unknown {
                request: Some(id),
                why: answered.mismatch("a write").to_string(),
            }),
        });
        if is_expired(&result) {
            self.shared.outdated.store(true, Ordering::Release);
        }
        (result, doubt)
    }

    /// What a command made now bears as its `since`. A client that has not yet met the cluster asks
    /// it first: with 0 the command would be refused by a cluster that has ever forgotten anything. One
    /// whose command was refused as expired has met a node that lags: it asks the leader.
    async fn since(&self, limit: Duration) -> Result<u64, Error> {
        let known = || {
            let applied = self.shared.applied.load(Ordering::Acquire);
            applied.max(self.shared.transport.since())
        };
        if self.shared.outdated.swap(false, Ordering::AcqRel) {
            let range = KeyRange { start: NO_KEYS, end: Some(NO_KEYS) };
            let query = Query { projection: Projection::CountOnly, ..Query::range(range) };
            let request = Request::Read { query, consistency: Consistency::Linearizable };
            let plan = self.plan(&request, Kind::Read, limit);
            self.run(request, plan).await?;
        } else if known() == 0 {
            let plan = self.plan(&Request::Status, Kind::Read, limit);
            self.run(Request::Status, plan).await?;
        }
        Ok(known())
    }

    /// How to go about `request`.
    pub(crate) fn plan(&self, request: &Request, kind: Kind, limit: Duration) -> Plan {
        let attempts = self.shared.attempts.fetch_add(1, Ordering::Relaxed);
        let leader = self.known_leader();
        Plan {
            target: Target::of(request),
            kind,
            nodes: self.shared.transport.nodes(),
            leader,
            limit,
            patience: PATIENCE,
            seed: self.shared.config.seed ^ attempts.rotate_left(32),
        }
    }

    /// Carries out an attempt.
    pub(crate) async fn run(&self, request: Request, plan: Plan) -> Result<Answered, Error> {
        self.drive(request, &mut Attempt::new(plan)).await
    }

    async fn drive(&self, request: Request, attempt: &mut Attempt) -> Result<Answered, Error> {
        let begun = Instant::now();
        let request = match (&self.principal, request) {
            // A command bears its principal itself.
            (None, request) | (Some(_), request @ Request::Write(_)) => request,
            (Some(principal), request) => request.by((**principal).clone()),
        };
        loop {
            let (node, timeout) = match attempt.next(begun.elapsed()) {
                Next::Ask(node, timeout) => (node, timeout),
                Next::Wait(pause) => {
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Next::GiveUp(error) => return Err(error),
            };
            let result = self.shared.transport.call(node, request.clone(), timeout).await;
            self.learn(node, &result);
            match result {
                Ok(answer) => {
                    if let Some(result) = attempt.answered(self.located(answer)) {
                        return result.map(|(header, reply)| Answered { node, header, reply });
                    }
                }
                Err(error) => attempt.failed(error),
            }
        }
    }

    /// Remembers who leads and how far the cluster is.
    fn learn(&self, asked: NodeId, result: &Result<Answer, CallError>) {
        let lead = &self.shared.leader;
        match result {
            Ok(Ok((header, _))) => {
                self.shared.applied.fetch_max(header.applied, Ordering::AcqRel);
                if let Some(leader) = header.leader {
                    lead.store(leader.0, Ordering::Release);
                }
            }
            Ok(Err(Refusal::NotLeader { leader: Some(leader) })) => {
                lead.store(leader.0, Ordering::Release);
            }
            // The next operation must not go the same way in vain.
            Ok(Err(Refusal::NotLeader { leader: None })) | Err(_) => {
                if self.known_leader() == Some(asked) {
                    lead.store(0, Ordering::Release);
                }
            }
            Ok(Err(_)) => {}
        }
    }

    /// Who is believed to lead, by the transport's number.
    fn known_leader(&self) -> Option<NodeId> {
        match self.shared.leader.load(Ordering::Acquire) {
            0 => None,
            leader => self.locate(NodeId(leader)),
        }
    }

    /// The same answer, with the leader by the transport's number.
    fn located(&self, answer: Answer) -> Answer {
        match answer {
            Err(Refusal::NotLeader { leader: Some(leader) }) => {
                Err(Refusal::NotLeader { leader: self.locate(leader) })
            }
            other => other,
        }
    }

    fn locate(&self, node: NodeId) -> Option<NodeId> {
        self.shared.transport.locate(node)
    }

    /// What to call a node before people.
    pub(crate) fn name(&self, node: NodeId) -> String {
        self.shared.transport.name(node)
    }
}

fn is_expired<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Refused(Refusal::Expired { .. })))
}
