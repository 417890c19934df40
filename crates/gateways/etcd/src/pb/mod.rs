//! The messages and services of the protocol, written by `ci/protos/run` from `proto/`.

#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    missing_docs,
    unreachable_pub,
    reason = "generated"
)]

/// Keys and events.
pub mod mvccpb {
    include!("mvccpb.rs");
    include!("mvccpb.serde.rs");
}

/// Users, roles and permissions.
pub mod authpb {
    include!("authpb.rs");
    include!("authpb.serde.rs");
}

/// The services of etcd itself.
pub mod etcdserverpb {
    include!("etcdserverpb.rs");
    include!("etcdserverpb.serde.rs");
}

/// The lock service.
pub mod v3lockpb {
    include!("v3lockpb.rs");
    include!("v3lockpb.serde.rs");
}

/// The election service.
pub mod v3electionpb {
    include!("v3electionpb.rs");
    include!("v3electionpb.serde.rs");
}
