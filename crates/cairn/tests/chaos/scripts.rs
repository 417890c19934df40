//! Faults that are a sequence of steps.

use std::thread::sleep;

use rustix::process::Signal;

use crate::chance::Chance;
use crate::cluster::{Cluster, NODES};

/// A node stands still while the others go on without it. Then one of those is killed, and the sleeper,
/// which knows nothing of it all, is part of the only majority. Then the third one is killed and the
/// second comes back: what the first majority acknowledged is now known to a single node of the two.
///
/// The nodes' journals are all whole, so nothing may be lost however the majorities follow one
/// another. (nats-server#7567 is a store that lost here.)
pub(crate) fn pause_then_kill(victim: u16, cluster: &mut Cluster, chance: &mut Chance) {
    let mut others: Vec<u16> = (1..=NODES).filter(|&number| number != victim).collect();
    if chance.one_in(2) {
        others.reverse();
    }
    cluster.node(victim).signal(Signal::STOP);
    sleep(chance.time_ms(200, 2500));
    cluster.node(others[0]).kill();
    // Half of the time there is a moment without any majority.
    if chance.one_in(2) {
        sleep(chance.time_ms(1, 1000));
    }
    cluster.node(victim).signal(Signal::CONT);
    sleep(chance.time_ms(1, 2000));
    cluster.node(others[1]).kill();
    cluster.launch(&[others[0]]);
    sleep(chance.time_ms(1, 2000));
    cluster.launch(&[others[1]]);
}

/// A node is killed again and again while it starts: each start meets what the one before it left.
pub(crate) fn kill_at_start(victim: u16, cluster: &mut Cluster, chance: &mut Chance) {
    for _ in 0..chance.time_ms(3, 10).as_millis() {
        cluster.node(victim).kill();
        cluster.launch(&[victim]);
        // Most starts take some tens of milliseconds.
        let most = chance.pick(&[10, 50, 400]);
        sleep(chance.time_ms(0, most));
    }
    cluster.node(victim).kill();
    cluster.launch(&[victim]);
}
