//! Reads that wait while the members change, by each protocol.

use std::time::Duration;

use consensus::{Membership, Protocol, ReplicaId, Role};

use crate::cluster::{Cluster, DiskMode};

/// The one that was asked whether its leader still leads belongs to the group no more, and nobody is left to ask.
#[test]
fn a_read_does_not_wait_for_the_word_of_one_who_has_left() {
    for protocol in Protocol::ALL {
        let mut cluster = Cluster::of(protocol, 2, |_| {});
        cluster.pass(Duration::from_secs(5), &[]);
        let both = [ReplicaId(1), ReplicaId(2)];
        let [leader, other] = match cluster.status(both[0]).role {
            Role::Leader => both,
            _ => [both[1], both[0]],
        };
        cluster.set_disk(leader, DiskMode::Manual);
        cluster.change(leader, Membership::of([leader].into()));
        cluster.deliver(|mail| mail.to == other);
        // The other has acknowledged the joint membership. That a read waits for its word it hears no more:
        // the leader's own disk lets the change go on.
        cluster.deliver(|mail| mail.to == leader);
        cluster.read(leader, 7);
        cluster.set_disk(leader, DiskMode::Auto);
        assert!(cluster.status(leader).membership.is_alone(leader), "{protocol}");
        let served = cluster.trace.iter().any(|line| line.contains("serve reads=[7]"));
        assert!(served, "{protocol}: {:#?}", cluster.trace);
    }
}
