//! Members and maintenance.

use gateway_etcd::pb::etcdserverpb::cluster_client::ClusterClient;
use gateway_etcd::pb::etcdserverpb::{
    AlarmRequest, DefragmentRequest, DowngradeRequest, HashKvRequest, HashRequest,
    MemberAddRequest, MemberListRequest, MoveLeaderRequest, StatusRequest,
};
use tonic::Code;

use crate::world::{World, told};

#[tokio::test]
async fn members_have_names_and_addresses_and_do_not_change_yet() {
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
    let (code, text) = told(cluster.member_add(MemberAddRequest::default()).await);
    assert_eq!(code, Code::Unimplemented);
    assert!(text.contains("members"), "{text}");
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
