//! openraft, on a runtime with one thread.
//!
//! It is a set of tasks, which take together what has come by themselves: both manners are the same
//! to it. A client keeps its batches under way by `client_write_many`. Replicas call one another
//! directly, by the pipelined stream that its documentation recommends; its log lies in memory, and
//! flushes at once. Nobody stands for election after the first.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::base::{BoxFuture, BoxStream};
use openraft::entry::RaftEntry;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest,
    VoteResponse,
};
use openraft::storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{
    Config, EntryPayload, LogState, Raft, RaftLogReader, RaftNetworkFactory, RaftNetworkV2,
    RaftSnapshotBuilder, SnapshotPolicy,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::work::{Applied, CHECKPOINT_ENTRIES, Cluster, Commands, Load, REPLICAS};

/// A cluster of three, led by the first.
pub fn cluster(load: Load) -> Box<dyn Cluster> {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (tasks, router) = (LocalSet::new(), Router::default());
    let machines: [Machine; REPLICAS] = std::array::from_fn(|_| Machine::default());
    let config = Config {
        // The clock plays no part: a cluster is put aside while others have their turns. Its leader
        // would refuse writes after an election timeout without an answer.
        election_timeout_min: 3_600_000,
        election_timeout_max: 3_600_001,
        enable_tick: false,
        enable_heartbeat: false,
        enable_elect: false,
        // Up to a MiB in a message, as the others have it.
        max_payload_entries: 8192,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(CHECKPOINT_ENTRIES as u64),
        ..Config::default()
    };
    let config = Arc::new(config.validate().expect("a valid configuration"));
    tasks.block_on(&runtime, async {
        for (at, machine) in machines.iter().enumerate() {
            let (id, log) = (at as u64 + 1, Log::default());
            let raft = Raft::new(id, config.clone(), router.clone(), log, machine.clone()).await;
            router.0.borrow_mut().insert(id, raft.expect("a new replica"));
        }
        let members: BTreeSet<u64> = (1..=REPLICAS as u64).collect();
        let first = router.to(1);
        first.initialize(members).await.expect("a new cluster");
        while first.current_leader().await != Some(1) {
            tokio::task::yield_now().await;
        }
    });
    Box::new(Open { runtime, tasks, router, machines, load, commands: Commands::new(load.bytes) })
}

openraft::declare_raft_types!(Types: D = Command, R = (), Node = ());

type Node = Raft<Types, Machine>;

#[derive(Clone, Debug)]
struct Command(Bytes);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

struct Open {
    runtime: Runtime,
    tasks: LocalSet,
    router: Router,
    machines: [Machine; REPLICAS],
    load: Load,
    commands: Commands,
}

impl Cluster for Open {
    fn run(&mut self, entries: usize) {
        let Load { batch, under_way, .. } = self.load;
        let (commands, machines) = (&mut self.commands, &self.machines);
        let leader = self.router.to(1);
        self.tasks.block_on(&self.runtime, async {
            let mut window = VecDeque::with_capacity(under_way);
            for _ in 0..entries / batch {
                if window.len() == under_way {
                    answered(window.pop_front().expect("it is full"), batch).await;
                }
                let batch: Vec<_> = (0..batch).map(|_| Command(commands.take())).collect();
                window.push_back(leader.client_write_many(batch).await.expect("a leader"));
            }
            for answers in window {
                answered(answers, batch).await;
            }
            let count = machines[0].applied().count;
            while machines.iter().any(|machine| machine.applied().count < count) {
                tokio::task::yield_now().await;
            }
        });
    }

    fn applied(&self) -> [Applied; REPLICAS] {
        std::array::from_fn(|at| self.machines[at].applied())
    }
}

/// All of a batch are applied on the leader.
async fn answered<T, E: fmt::Debug, F: fmt::Debug>(
    answers: impl Stream<Item = Result<Result<T, E>, F>>,
    batch: usize,
) {
    let mut answers = std::pin::pin!(answers);
    for _ in 0..batch {
        let answer = answers.next().await.expect("an answer for each");
        answer.expect("it runs").expect("the leader takes all that is proposed");
    }
}

/// A log in memory. Its clones are views of the same one.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Kept>>);

#[derive(Default)]
struct Kept {
    vote: Option<VoteOf<Types>>,
    purged: Option<LogIdOf<Types>>,
    /// Those after `purged`, without gaps.
    entries: VecDeque<EntryOf<Types>>,
}

impl Kept {
    /// The index of the first entry.
    fn first(&self) -> u64 {
        self.entries.front().map_or(0, |entry| entry.log_id().index)
    }

    /// How many entries lie before this index.
    fn before(&self, index: u64) -> usize {
        usize::try_from(index.saturating_sub(self.first())).expect("small").min(self.entries.len())
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + fmt::Debug>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<EntryOf<Types>>> {
        let kept = self.0.borrow();
        let from = match range.start_bound() {
            Bound::Included(index) => kept.before(*index),
            Bound::Excluded(index) => kept.before(*index + 1),
            Bound::Unbounded => 0,
        };
        let until = match range.end_bound() {
            Bound::Included(index) => kept.before(*index + 1),
            Bound::Excluded(index) => kept.before(*index),
            Bound::Unbounded => kept.entries.len(),
        };
        Ok(kept.entries.range(from..until.max(from)).cloned().collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(self.0.borrow().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let kept = self.0.borrow();
        let last = kept.entries.back().map(RaftEntry::log_id);
        Ok(LogState { last_purged_log_id: kept.purged, last_log_id: last.or(kept.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        self.0.borrow_mut().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Types>>,
    {
        self.0.borrow_mut().entries.extend(entries);
        flushed.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> io::Result<()> {
        let mut kept = self.0.borrow_mut();
        let keep = last.map_or(0, |last| kept.before(last.index + 1));
        kept.entries.truncate(keep);
        Ok(())
    }

    async fn purge(&mut self, through: LogIdOf<Types>) -> io::Result<()> {
        let mut kept = self.0.borrow_mut();
        let gone = kept.before(through.index + 1);
        kept.entries.drain(..gone);
        kept.purged = Some(through);
        Ok(())
    }
}

/// A state machine. Its clones are views of the same one.
#[derive(Clone, Default)]
struct Machine(Rc<RefCell<State>>);

#[derive(Clone, Default)]
struct State {
    applied: Applied,
    last: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
}

impl Machine {
    fn applied(&self) -> Applied {
        self.0.borrow().applied
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, ()>> {
        let State { last, membership, .. } = self.0.borrow().clone();
        let meta = SnapshotMetaOf::<Types> { last_log_id: last, last_membership: membership };
        Ok(SnapshotOf::<Types, ()> { meta, snapshot: () })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        let state = self.0.borrow();
        Ok((state.last, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut state = self.0.borrow_mut();
            state.last = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(command) => state.applied.apply(&command.0),
                EntryPayload::Membership(membership) => {
                    state.membership =
                        StoredMembershipOf::<Types>::new(Some(entry.log_id), membership);
                }
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, _: &SnapshotMetaOf<Types>, (): ()) -> io::Result<()> {
        panic!("nobody lags so far");
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, ()>>> {
        self.build_snapshot().await.map(Some)
    }
}

/// Replicas by their names: a network that calls.
#[derive(Clone, Default)]
struct Router(Rc<RefCell<BTreeMap<u64, Node>>>);

impl Router {
    fn to(&self, id: u64) -> Node {
        self.0.borrow()[&id].clone()
    }
}

struct Link {
    router: Router,
    to: u64,
}

impl RaftNetworkFactory<Types> for Router {
    type Network = Link;

    async fn new_client(&mut self, to: u64, (): &()) -> Link {
        Link { router: self.clone(), to }
    }
}

fn unreachable(error: impl fmt::Display) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::from_string(error))
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.router.to(self.to).append_entries(request).await.map_err(unreachable)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        _: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Unpin + 'static,
    {
        let answers = self.router.to(self.to).stream_append(requests);
        let answers: BoxStream<'s, _> = Box::pin(answers.map_err(unreachable));
        Box::pin(std::future::ready(Ok(answers)))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.router.to(self.to).vote(request).await.map_err(unreachable)
    }

    async fn full_snapshot(
        &mut self,
        _: VoteOf<Types>,
        _: SnapshotOf<Types, ()>,
        _: impl Future<Output = ReplicationClosed> + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        panic!("nobody lags so far");
    }
}
