//! What operators ask and have done.

use std::hash::Hasher as _;
use std::time::Duration;

use siphasher::sip::SipHasher13;
use tokio::time::{Instant, sleep};
use tonic::{Request, Response, Status};
use wire::{Consistency, Item, KeyRange, Query, Revision};

use crate::errors;
use crate::gateway::{ETCD_VERSION, Service};
use crate::header::signed;
use crate::pb::etcdserverpb::alarm_request::AlarmAction;
use crate::pb::etcdserverpb::downgrade_request::DowngradeAction;
use crate::pb::etcdserverpb::maintenance_server::Maintenance;
use crate::pb::etcdserverpb::{
    AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, DowngradeInfo,
    DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse,
    MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest, SnapshotResponse, StatusRequest,
    StatusResponse,
};
use crate::range::behind;
use crate::stream::Answers;

/// How often to look whether leadership has moved.
const LEADER_PAUSE: Duration = Duration::from_millis(10);

#[tonic::async_trait]
impl Maintenance for Service {
    /// There are no alarms: what is wrong with a node stands in its status, and a full disk refuses
    /// growth by name without any switch to be turned back.
    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        match AlarmAction::try_from(request.get_ref().action) {
            Ok(AlarmAction::Get | AlarmAction::Deactivate) => {
                let header = Some(self.header_without_revision());
                Ok(Response::new(AlarmResponse { header, alarms: Vec::new() }))
            }
            Ok(AlarmAction::Activate) => Err(errors::not_yet("an alarm raised by hand")),
            Err(_) => Err(Status::invalid_argument("etcdserver: unknown alarm action")),
        }
    }

    async fn status(
        &self,
        _request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let status = self.introspect.status();
        let storage = self.introspect.storage();
        let mut errors = Vec::from_iter(status.trouble);
        if status.leader.is_none() {
            errors.push(errors::no_leader().message().to_owned());
        }
        Ok(Response::new(StatusResponse {
            header: Some(self.header(status.revision)),
            version: ETCD_VERSION.to_owned(),
            db_size: signed(storage.allocated),
            leader: status.leader.map_or(0, |leader| self.ids.member(leader)),
            raft_index: status.commit,
            raft_term: status.epoch,
            raft_applied_index: status.applied,
            errors,
            db_size_in_use: signed(storage.in_use),
            is_learner: false,
            storage_version: ETCD_VERSION.to_owned(),
            db_size_quota: 0,
            downgrade_info: Some(DowngradeInfo::default()),
        }))
    }

    /// Space comes back by itself: there is nothing to do.
    async fn defragment(
        &self,
        _request: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        self.must_be_root().await?;
        let header = Some(self.header_without_revision());
        Ok(Response::new(DefragmentResponse { header }))
    }

    async fn hash(&self, _request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        self.must_be_root().await?;
        let (revision, hash) = self.hash_keys(None).await?;
        Ok(Response::new(HashResponse { header: Some(self.header(revision)), hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        self.must_be_root().await?;
        let asked = u64::try_from(request.get_ref().revision).ok().filter(|asked| *asked > 0);
        let (revision, hash) = self.hash_keys(asked.map(Revision)).await?;
        let status = self.introspect.status();
        Ok(Response::new(HashKvResponse {
            header: Some(self.header(status.revision.max(revision))),
            hash,
            compact_revision: signed(status.compacted.0),
            hash_revision: signed(revision.0),
        }))
    }

    type SnapshotStream = Answers<SnapshotResponse>;

    async fn snapshot(
        &self,
        _request: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.must_be_root().await?;
        Ok(Response::new(self.snapshot_file().await?))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        let wanted = request.get_ref().target_id;
        let members = self.introspect.status().members;
        let target = members.iter().find(|member| self.ids.member(member.node) == wanted);
        let target = target.ok_or_else(errors::bad_transferee)?.node;
        let deadline = Instant::now() + self.config.timeout;
        let begun = self.client.transfer(target).await;
        begun.map_err(|error| errors::of_client(&error))?;
        while self.introspect.status().leader != Some(target) {
            if Instant::now() >= deadline {
                return Err(errors::timed_out());
            }
            sleep(LEADER_PAUSE).await;
        }
        let header = Some(self.header_without_revision());
        Ok(Response::new(MoveLeaderResponse { header }))
    }

    /// There is no older etcd to go back to, so no version is a target.
    async fn downgrade(
        &self,
        request: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        self.must_be_root().await?;
        let DowngradeRequest { action, version } = request.into_inner();
        match DowngradeAction::try_from(action) {
            Ok(DowngradeAction::Validate | DowngradeAction::Enable) if !is_version(&version) => {
                Err(errors::wrong_downgrade_version())
            }
            Ok(DowngradeAction::Validate | DowngradeAction::Enable) => {
                Err(errors::invalid_downgrade_version())
            }
            Ok(DowngradeAction::Cancel) => Err(errors::no_downgrade()),
            Err(_) => Err(Status::invalid_argument("etcdserver: unknown downgrade action")),
        }
    }
}

impl Service {
    /// A hash of all keys with their values, revisions, versions and leases, as this node has them at
    /// a revision: equal on all nodes, for it says nothing of how a node stores them, and it isn't
    /// etcd's number for the same data. Values that are superseded are not in it. One at a time.
    async fn hash_keys(&self, revision: Option<Revision>) -> Result<(Revision, u32), Status> {
        let _turn = self.hashing.try_acquire().map_err(|_| errors::too_many_requests())?;
        let mut hasher = SipHasher13::new();
        let mut query = Query { revision, ..Query::range(KeyRange::all()) };
        loop {
            let read = self.client.read(query.clone(), Consistency::Eventual).await;
            let page = read.map_err(|error| errors::of_client(&error))?;
            let revision = *query.revision.get_or_insert(page.header.revision);
            page.value.items.iter().for_each(|item| hash_item(&mut hasher, item));
            match page.value.items.last() {
                Some(last) if page.value.more => query.range.start = behind(&last.key),
                _ => return Ok((revision, fold(hasher.finish()))),
            }
        }
    }
}

fn hash_item(hasher: &mut SipHasher13, item: &Item) {
    let Item { key, value, created, modified, version, lease } = item;
    for bytes in [key, value] {
        hasher.write_u64((bytes.len() as u64).to_le());
        hasher.write(bytes);
    }
    for number in [created.0, modified.0, *version, *lease] {
        hasher.write_u64(number.to_le());
    }
}

/// The protocol has 32 bits for it.
#[expect(clippy::cast_possible_truncation, reason = "both halves are in what is kept")]
fn fold(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

/// Whether it has the form `3.5` or `3.5.1`.
fn is_version(text: &str) -> bool {
    let numbers = text.split('.').collect::<Vec<_>>();
    (2..=3).contains(&numbers.len()) && numbers.iter().all(|n| n.parse::<u32>().is_ok())
}
