//! Members and maintenance.

use gateway_etcd::pb::etcdserverpb::cluster_client::ClusterClient;
use gateway_etcd::pb::etcdserverpb::{
    AlarmRequest, DefragmentRequest, DowngradeRequest, HashKvRequest, HashRequest,
    MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    MemberUpdateRequest, MoveLeaderRequest, StatusRequest,
};
use tonic::Code;

use crate::world::{World, told};

#[tokio::test]
async fn members_have_names_and_addresses() {
    let world = World::new();
    let mut cluster = ClusterClient::new(world.direct());
    let list = cluster.member_list(MemberListRequest::default()).await.unwrap().into_inner();
    let header = list.header.unwrap();
    assert_eq!((list.members.len(), header.revision), (2, 0));
    assert_eq!(list.members[0].id, header.member_id);
    assert_ne!(list.members[1].id, header.member_id);
    assert_eq!(list.members[1].client_ur_ls, ["http://127.0.0.1:8002"]);
    assert_eq!(list.members[1].peer_ur_ls, ["http://127.0.0.1:9002"]);
    assert!(!list.members[0].name.is_empty());
}

#[tokio::test]
async fn members_come_and_go() {
    let world = World::new();
    let mut cluster = ClusterClient::new(world.direct());
    let url = |port: u16| vec![format!("http://10.0.0.4:{port}")];
    let add = |port, is_learner| MemberAddRequest { peer_ur_ls: url(port), is_learner };
    let added = cluster.member_add(add(9000, true)).await.unwrap().into_inner();
    let member = added.member.unwrap();
    assert_eq!((member.name.as_str(), member.is_learner), ("", true), "it was never started");
    assert_eq!((member.peer_ur_ls, member.client_ur_ls), (url(9000), Vec::new()));
    assert_eq!(added.members.len(), 3);
    let id = member.id;
    let (code, text) = told(cluster.member_add(add(9000, false)).await);
    assert_eq!(
        (code, text.as_str()),
        (Code::FailedPrecondition, "etcdserver: Peer URLs already exists")
    );
    let promoted = cluster.member_promote(MemberPromoteRequest { id }).await.unwrap().into_inner();
    assert!(promoted.members.iter().all(|member| !member.is_learner));
    let (_, text) = told(cluster.member_promote(MemberPromoteRequest { id }).await);
    assert_eq!(text, "etcdserver: can only promote a learner member");
    let update = MemberUpdateRequest { id, peer_ur_ls: url(9001) };
    let updated = cluster.member_update(update).await.unwrap().into_inner();
    assert_eq!(updated.members[2].peer_ur_ls, url(9001));
    let removed = cluster.member_remove(MemberRemoveRequest { id }).await.unwrap().into_inner();
    assert_eq!(removed.members.len(), 2);
    let gone = told(cluster.member_remove(MemberRemoveRequest { id }).await);
    assert_eq!(gone, (Code::NotFound, "etcdserver: member not found".to_owned()));
    let newest = MemberListRequest { linearizable: true };
    assert_eq!(cluster.member_list(newest).await.unwrap().into_inner().members.len(), 2);
    let (code, text) = told(cluster.member_add(MemberAddRequest::default()).await);
    let invalid = "etcdserver: given member URLs are invalid";
    assert_eq!((code, text.as_str()), (Code::InvalidArgument, invalid));
}

#[tokio::test]
async fn a_status_says_who_leads_and_how_much_is_stored() {
    let world = World::new();
    world.fill(3).await;
    let status = world.maintenance().status(StatusRequest {}).await.unwrap().into_inner();
    let header = status.header.unwrap();
    assert_eq!((status.version.as_str(), status.leader), ("3.6.0", header.member_id));
    assert_eq!((header.revision, status.raft_term, status.raft_index), (4, 3, 5));
    assert_eq!((status.db_size, status.db_size_in_use), (1000, 600));
    assert!(status.errors.is_empty());
}

#[tokio::test]
async fn a_hash_is_of_the_keys_at_a_revision() {
    let world = World::new();
    world.fill(20).await;
    let hash = async |revision| {
        let answer = world.maintenance().hash_kv(HashKvRequest { revision }).await;
        answer.map(tonic::Response::into_inner)
    };
    let first = hash(0).await.unwrap();
    assert_eq!((first.hash_revision, first.header.unwrap().revision), (21, 21));
    world.put("a00", "other").await;
    let second = hash(0).await.unwrap();
    assert_ne!(second.hash, first.hash);
    assert_eq!(hash(21).await.unwrap().hash, first.hash, "the past has the hash that it had");
    let whole = world.maintenance().hash(HashRequest {}).await.unwrap().into_inner();
    assert_eq!(whole.hash, second.hash);
    assert_eq!(told(hash(23).await).0, Code::OutOfRange);

    // The same data on another node, the same hash.
    let other = World::new();
    other.fill(20).await;
    let answer = other.maintenance().hash_kv(HashKvRequest { revision: 21 }).await.unwrap();
    assert_eq!(answer.into_inner().hash, first.hash);
}

#[tokio::test]
async fn what_operators_may_and_may_not_do() {
    let world = World::new();
    let mut maintenance = world.maintenance();
    maintenance.defragment(DefragmentRequest {}).await.unwrap();
    let alarms = maintenance.alarm(AlarmRequest::default()).await.unwrap().into_inner();
    assert!(alarms.alarms.is_empty());

    let own = maintenance.status(StatusRequest {}).await.unwrap().into_inner().leader;
    maintenance.move_leader(MoveLeaderRequest { target_id: own }).await.unwrap();
    let bad = (Code::FailedPrecondition, "etcdserver: bad leader transferee".to_owned());
    assert_eq!(told(maintenance.move_leader(MoveLeaderRequest { target_id: 7 }).await), bad);

    let downgrade = |action, version: &str| DowngradeRequest { action, version: version.into() };
    for (request, text) in [
        (downgrade(0, "three"), "etcdserver: wrong downgrade target version format"),
        (downgrade(0, "3.5"), "etcdserver: invalid downgrade target version"),
        (downgrade(1, "3.5.0"), "etcdserver: invalid downgrade target version"),
        (downgrade(2, ""), "etcdserver: no inflight downgrade job"),
    ] {
        assert_eq!(told(maintenance.downgrade(request).await).1, text);
    }
}
