//! Web tokens on a cluster whose nodes sign them, each with the same key: what one issues all believe, as
//! long as it holds; and what becomes of streams that outlive their token, or their user's rights.

use std::time::Duration;

use gateway_etcd::pb::authpb::{Permission, UserAddOptions, permission};
use gateway_etcd::pb::etcdserverpb::auth_client::AuthClient;
use gateway_etcd::pb::etcdserverpb::kv_client::KvClient;
use gateway_etcd::pb::etcdserverpb::lease_client::LeaseClient;
use gateway_etcd::pb::etcdserverpb::watch_client::WatchClient;
use gateway_etcd::pb::etcdserverpb::watch_request::RequestUnion;
use gateway_etcd::pb::etcdserverpb::{
    AuthEnableRequest, AuthRoleAddRequest, AuthRoleGrantPermissionRequest,
    AuthRoleRevokePermissionRequest, AuthUserAddRequest, AuthUserChangePasswordRequest,
    AuthUserGrantRoleRequest, AuthenticateRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, PutRequest, RangeRequest, WatchCreateRequest, WatchRequest,
    WatchResponse,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Streaming};

use crate::support::alone;
use crate::support::cluster::Cluster;
use crate::support::grpc::{Channel, by, run, sent_one_by_one, soon, told};

/// How long a token holds here. Whole seconds are written into it, so it may be one less.
const LIFETIME: Duration = Duration::from_secs(5);

const INVALID: (Code, &str) = (Code::Unauthenticated, "etcdserver: invalid auth token");
const FORBIDDEN: (Code, &str) = (Code::PermissionDenied, "etcdserver: permission denied");

/// A cluster where `root` may everything and `alice` may read and write below `a/`.
struct World {
    cluster: Cluster,
}

impl World {
    async fn start() -> Self {
        let mut cluster = Cluster::prepare(3);
        let key = cluster.dir().path().join("jwt.key");
        std::fs::write(&key, [7; 32]).unwrap();
        let (key, ttl) = (key.display(), LIFETIME.as_secs());
        let tokens = format!("jwt,sign-method=HS256,priv-key={key},ttl={ttl}s");
        for node in cluster.numbers() {
            cluster.set_flags(node, vec!["--auth-token".to_owned(), tokens.clone()]);
            cluster.launch(node);
        }
        cluster.wait_for_leader();
        let world = Self { cluster };
        let mut auth = world.auth(1).await;
        for name in ["root", "alice"] {
            let (name, password) = (name.to_owned(), name.to_owned());
            let options = Some(UserAddOptions::default());
            let user = AuthUserAddRequest { name, password, options, ..Default::default() };
            soon(auth.user_add(user)).await.unwrap();
        }
        let role = || "below-a".to_owned();
        soon(auth.role_add(AuthRoleAddRequest { name: role() })).await.unwrap();
        let perm_type = permission::Type::Readwrite.into();
        let perm = Some(Permission { perm_type, key: "a/".into(), range_end: "a0".into() });
        let grant = AuthRoleGrantPermissionRequest { name: role(), perm };
        soon(auth.role_grant_permission(grant)).await.unwrap();
        for (user, role) in [("root", "root".to_owned()), ("alice", role())] {
            let grant = AuthUserGrantRoleRequest { user: user.to_owned(), role };
            soon(auth.user_grant_role(grant)).await.unwrap();
        }
        soon(auth.auth_enable(AuthEnableRequest {})).await.unwrap();
        world
    }

    async fn to(&self, node: u16) -> Channel {
        Channel::to(self.cluster.client_port(node)).await
    }

    async fn auth(&self, node: u16) -> AuthClient<Channel> {
        let channel = self.to(node).await;
        let origin = channel.origin();
        AuthClient::with_origin(channel, origin)
    }

    async fn keys(&self, node: u16) -> KvClient<Channel> {
        let channel = self.to(node).await;
        let origin = channel.origin();
        KvClient::with_origin(channel, origin)
    }

    /// A token, and when it holds no more.
    async fn token(&self, node: u16, user: &str) -> (String, Instant) {
        let (name, password) = (user.to_owned(), user.to_owned());
        let request = AuthenticateRequest { name, password };
        let answer = soon(self.auth(node).await.authenticate(request)).await.unwrap();
        (answer.into_inner().token, Instant::now() + LIFETIME)
    }

    async fn put(&self, key: &str) {
        let root = self.token(1, "root").await.0;
        let request = PutRequest { key: key.to_owned().into(), ..Default::default() };
        soon(self.keys(1).await.put(by(&root, request))).await.unwrap();
    }

    async fn watch(&self, node: u16, token: &str) -> Watch {
        let channel = self.to(node).await;
        let origin = channel.origin();
        let (asks, requests) = sent_one_by_one();
        let mut client = WatchClient::with_origin(channel, origin);
        let opened = soon(client.watch(by(token, requests))).await.unwrap();
        Watch { asks, heard: opened.into_inner() }
    }

    async fn keep_alive(&self, node: u16, token: &str) -> KeepAlive {
        let channel = self.to(node).await;
        let origin = channel.origin();
        let (asks, requests) = sent_one_by_one();
        let mut client = LeaseClient::with_origin(channel, origin);
        let grant = LeaseGrantRequest { ttl: 60, ..Default::default() };
        let lease = soon(client.lease_grant(by(token, grant))).await.unwrap().into_inner().id;
        let opened = soon(client.lease_keep_alive(by(token, requests))).await.unwrap();
        KeepAlive { lease, asks, heard: opened.into_inner() }
    }
}

struct Watch {
    asks: mpsc::UnboundedSender<WatchRequest>,
    heard: Streaming<WatchResponse>,
}

impl Watch {
    async fn create(&mut self, key: &str) -> WatchResponse {
        let create = WatchCreateRequest { key: key.to_owned().into(), ..Default::default() };
        let request_union = Some(RequestUnion::CreateRequest(create));
        self.asks.send(WatchRequest { request_union }).unwrap();
        self.hear().await
    }

    async fn hear(&mut self) -> WatchResponse {
        soon(self.heard.message()).await.unwrap().expect("the stream goes on")
    }

    /// The key that changed.
    async fn change(&mut self) -> Vec<u8> {
        let heard = self.hear().await;
        assert_eq!(heard.events.len(), 1, "{heard:?}");
        heard.events[0].kv.as_ref().unwrap().key.to_vec()
    }
}

struct KeepAlive {
    lease: i64,
    asks: mpsc::UnboundedSender<LeaseKeepAliveRequest>,
    heard: Streaming<LeaseKeepAliveResponse>,
}

impl KeepAlive {
    async fn again(&mut self) -> Result<i64, tonic::Status> {
        self.asks.send(LeaseKeepAliveRequest { id: self.lease }).unwrap();
        let heard = soon(self.heard.message()).await?;
        Ok(heard.expect("the stream goes on").ttl)
    }
}

async fn read(keys: &mut KvClient<Channel>, token: &str, key: &str) -> Result<i64, tonic::Status> {
    let request = RangeRequest { key: key.to_owned().into(), ..Default::default() };
    Ok(soon(keys.range(by(token, request))).await?.into_inner().count)
}

#[test]
fn a_token_of_one_node_is_believed_by_all_for_its_time() {
    let _alone = alone();
    run(async {
        let world = World::start().await;
        world.put("a/1").await;
        let (token, end) = world.token(1, "alice").await;
        let mut watch = world.watch(2, &token).await;
        assert!(!watch.create("a/1").await.canceled);
        let mut lease = world.keep_alive(3, &token).await;
        let mut nodes = Vec::new();
        for node in world.cluster.numbers() {
            nodes.push(world.keys(node).await);
        }
        for keys in &mut nodes {
            assert_eq!(read(keys, &token, "a/1").await.unwrap(), 1);
            assert_eq!(told(&read(keys, &token, "b/1").await.unwrap_err()), FORBIDDEN);
        }
        sleep_until(end).await;
        for keys in &mut nodes {
            assert_eq!(told(&read(keys, &token, "a/1").await.unwrap_err()), INVALID);
        }
        let (token, _) = world.token(3, "alice").await;
        assert_eq!(read(&mut nodes[1], &token, "a/1").await.unwrap(), 1);
        a_watch_goes_on(&world, &mut watch).await;
        a_lease_is_kept_alive(&world, &mut lease).await;
    });
}

/// As with etcd: what was begun with a token that held goes on, and nothing new begins.
async fn a_watch_goes_on(world: &World, watch: &mut Watch) {
    world.put("a/1").await;
    assert_eq!(watch.change().await, b"a/1");
    let refused = watch.create("a/2").await;
    let words = "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
    assert!(refused.created && refused.canceled, "{refused:?}");
    assert_eq!(refused.cancel_reason, words);
    world.put("a/1").await;
    assert_eq!(watch.change().await, b"a/1");
}

/// Nor is a token looked at for each message here; its user is.
async fn a_lease_is_kept_alive(world: &World, lease: &mut KeepAlive) {
    assert_eq!(lease.again().await.unwrap(), 60);
    let (name, password) = ("alice".to_owned(), "another".to_owned());
    let change = AuthUserChangePasswordRequest { name, password, ..Default::default() };
    let root = world.token(1, "root").await.0;
    soon(world.auth(1).await.user_change_password(by(&root, change))).await.unwrap();
    assert_eq!(told(&lease.again().await.unwrap_err()), INVALID);
}

/// Here etcd differs, and goes on telling.
#[test]
fn a_watch_ends_with_its_users_right_to_read() {
    let _alone = alone();
    run(async {
        let world = World::start().await;
        let node = world.cluster.numbers().into_iter().find(|n| Some(*n) != world.cluster.leader());
        let token = world.token(1, "alice").await.0;
        let mut watch = world.watch(node.unwrap(), &token).await;
        let first = watch.create("a/1").await;
        assert!(!first.canceled);
        world.put("a/1").await;
        assert_eq!(watch.change().await, b"a/1");
        let revoke = AuthRoleRevokePermissionRequest {
            role: "below-a".to_owned(),
            key: "a/".into(),
            range_end: "a0".into(),
        };
        let root = world.token(1, "root").await.0;
        soon(world.auth(1).await.role_revoke_permission(by(&root, revoke))).await.unwrap();
        world.put("a/1").await;
        let ended = watch.hear().await;
        let words = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
        assert!(ended.canceled && ended.events.is_empty(), "{ended:?}");
        assert_eq!((ended.watch_id, ended.cancel_reason.as_str()), (first.watch_id, words));
        let refused = watch.create("a/1").await;
        assert!(refused.created && refused.canceled, "the stream itself goes on: {refused:?}");
    });
}
