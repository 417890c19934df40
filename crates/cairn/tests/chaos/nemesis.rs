//! Who makes the faults.
//!
//! One episode after another: one fault, sometimes a second one at the same time, for a few seconds;
//! then all is mended. After most episodes the cluster must become whole before the next one; after
//! the others the next fault meets nodes that still catch up.
//!
//! # What is never done
//!
//! At most one journal is damaged at a time, and only while the others are whole and stay so until
//! it is repaired: what two nodes of three have lost nobody can give back.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::chance::Chance;
use crate::checks::progress;
use crate::cluster::{Cluster, NODES};
use crate::rot;
use crate::workload::Workload;

/// How long a node may take to end of a disk that was full.
const FULL_GRACE: Duration = Duration::from_secs(1);

/// What may be done to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// A host's plug is pulled.
    Unplugged,
    /// A host does not hear one other host.
    Deaf,
    /// A host does not hear what one other node has to say, while it is heard there.
    OneWay,
    /// A host hears neither of the others.
    DeafToAll,
    /// A host loses many of the packets that it gets.
    Lossy,
    /// `kill -9`.
    Killed,
    /// `kill -9` for all at once.
    AllKilled,
    /// A node stands still, and goes on in what it believes to be the next moment.
    Stopped,
    /// A host's disk is full.
    Full,
    /// A bit flips in the journal of a node that is down.
    Rotten,
}

impl Fault {
    const ALL: [Self; 10] = [
        Self::Unplugged,
        Self::Deaf,
        Self::OneWay,
        Self::DeafToAll,
        Self::Lossy,
        Self::Killed,
        Self::AllKilled,
        Self::Stopped,
        Self::Full,
        Self::Rotten,
    ];

    /// Those that may come on top of another.
    const SECOND: [Self; 5] =
        [Self::Unplugged, Self::OneWay, Self::Lossy, Self::Killed, Self::Stopped];

    fn name(self) -> &'static str {
        match self {
            Self::Unplugged => "unplugged",
            Self::Deaf => "deaf to one",
            Self::OneWay => "cut one-way",
            Self::DeafToAll => "deaf to all",
            Self::Lossy => "loses packets",
            Self::Killed => "killed",
            Self::AllKilled => "all killed",
            Self::Stopped => "stopped",
            Self::Full => "disk full",
            Self::Rotten => "bit flipped",
        }
    }
}

/// Who makes the faults.
pub(crate) struct Nemesis {
    chance: Chance,
    begun: Instant,
    injected: BTreeMap<Fault, u32>,
    /// Those that are still to come before all have been.
    due: Vec<Fault>,
    /// The longest that writes were waited for after all was mended.
    longest_wait: Duration,
}

impl Nemesis {
    /// A nemesis whose choices follow from a seed.
    pub(crate) fn new(seed: u64, begun: Instant) -> Self {
        let (chance, longest_wait) = (Chance::new(seed), Duration::ZERO);
        Self { chance, begun, injected: BTreeMap::new(), due: Vec::new(), longest_wait }
    }

    /// Makes faults until the time is over, and mends them.
    pub(crate) fn rage(
        &mut self,
        cluster: &mut Cluster,
        workload: &Workload,
        long: Duration,
    ) -> Result<(), String> {
        let begun = Instant::now();
        sleep(self.chance.time_ms(500, 1000));
        let mut whole = true;
        while begun.elapsed() < long {
            let fault = self.next_fault();
            if fault == Fault::Rotten {
                if !whole {
                    cluster.wait_until_whole()?;
                }
                self.rot(cluster)?;
                whole = true;
            } else {
                self.episode(fault, cluster)?;
                self.await_progress(cluster, workload)?;
                whole = !self.chance.one_in(3);
                if whole {
                    cluster.wait_until_whole()?;
                }
            }
            sleep(self.chance.time_ms(100, 1000));
        }
        Ok(())
    }

    /// How often each fault was there.
    pub(crate) fn summary(&self) -> String {
        let counts = self.injected.iter().map(|(fault, count)| format!("{} {count}", fault.name()));
        format!(
            "faults: {} ({}); after mending the longest wait for a write was {} ms",
            self.injected.values().sum::<u32>(),
            counts.collect::<Vec<_>>().join(", "),
            self.longest_wait.as_millis(),
        )
    }

    /// Each fault once in a random order, then again: short runs see all of them.
    fn next_fault(&mut self) -> Fault {
        if self.due.is_empty() {
            self.due = Fault::ALL.to_vec();
        }
        let place = usize::try_from(self.chance.below(self.due.len() as u64)).expect("a few");
        self.due.swap_remove(place)
    }

    /// One fault, sometimes two, and the mending.
    fn episode(&mut self, fault: Fault, cluster: &mut Cluster) -> Result<(), String> {
        let victim = self.victim(cluster);
        self.inflict(fault, victim, cluster);
        let full = (fault == Fault::Full).then_some(victim);
        if self.chance.one_in(3) {
            sleep(self.chance.time_ms(10, 800));
            let second = self.chance.pick(&Fault::SECOND);
            let victim = self.victim(cluster);
            self.inflict(second, victim, cluster);
        }
        let until = Instant::now() + self.time_of(fault);
        while Instant::now() < until {
            sleep(Duration::from_millis(50));
            cluster.bury(full)?;
        }
        for host in cluster.hosts() {
            host.clear_disk();
            host.mend();
        }
        cluster.resume_all();
        if full.is_some() {
            // What failed at the last moment takes a while to end.
            sleep(FULL_GRACE);
            cluster.bury(full)?;
        }
        cluster.launch_missing();
        self.say("mended");
        Ok(())
    }

    /// A disk needs time to be missed.
    fn time_of(&mut self, fault: Fault) -> Duration {
        match fault {
            Fault::Full => self.chance.time_ms(5000, 10_000),
            Fault::AllKilled => self.chance.time_ms(1, 1000),
            Fault::Unplugged
            | Fault::Deaf
            | Fault::OneWay
            | Fault::DeafToAll
            | Fault::Lossy
            | Fault::Killed
            | Fault::Stopped
            | Fault::Rotten => self.chance.time_ms(500, 4000),
        }
    }

    fn inflict(&mut self, fault: Fault, victim: u16, cluster: &mut Cluster) {
        let other = self.other_than(victim);
        match fault {
            Fault::Unplugged => cluster.host(victim).unplug(),
            Fault::Deaf => cluster.host(victim).ignore(cluster.host(other)),
            Fault::OneWay => cluster.host(victim).ignore_messages(cluster.host(other)),
            Fault::DeafToAll => {
                for number in (1..=NODES).filter(|&number| number != victim) {
                    cluster.host(victim).ignore(cluster.host(number));
                }
            }
            Fault::Lossy => cluster.host(victim).lose_packets(),
            Fault::Killed => cluster.node(victim).kill(),
            Fault::AllKilled => {
                // The signals first: none must notice that another is gone.
                for number in 1..=NODES {
                    cluster.node(number).signal(Signal::KILL);
                }
                for number in 1..=NODES {
                    cluster.node(number).kill();
                }
            }
            Fault::Stopped => cluster.node(victim).signal(Signal::STOP),
            Fault::Full => cluster.host(victim).fill_disk(),
            Fault::Rotten => unreachable!("rot is an episode of its own"),
        }
        *self.injected.entry(fault).or_default() += 1;
        match fault {
            Fault::Deaf | Fault::OneWay => {
                self.say(&format!("node {victim}: {} (node {other})", fault.name()));
            }
            Fault::AllKilled => self.say(fault.name()),
            Fault::Unplugged
            | Fault::DeafToAll
            | Fault::Lossy
            | Fault::Killed
            | Fault::Stopped
            | Fault::Full
            | Fault::Rotten => self.say(&format!("node {victim}: {}", fault.name())),
        }
    }

    /// Kills a node, flips a bit in its journal, starts it, and waits for its repair by the others.
    /// The journal must notice: what it took for whole would be told to others as truth.
    fn rot(&mut self, cluster: &mut Cluster) -> Result<(), String> {
        let victim = self.victim(cluster);
        cluster.node(victim).kill();
        let journal = cluster.node(victim).journal();
        rot::noticed(&journal);
        let Some(place) = rot::flip(&journal, &mut self.chance) else {
            cluster.launch_missing();
            return cluster.wait_until_whole();
        };
        *self.injected.entry(Fault::Rotten).or_default() += 1;
        self.say(&format!("node {victim}: killed, {} in {place}", Fault::Rotten.name()));
        sleep(self.chance.time_ms(10, 2000));
        cluster.launch_missing();
        cluster.wait_until_whole()?;
        if !rot::noticed(&journal) {
            return Err(format!("node {victim} did not notice the flipped bit in {place}"));
        }
        self.say(&format!("node {victim} noticed, and is repaired"));
        Ok(())
    }

    /// Half of the time the leader.
    fn victim(&mut self, cluster: &Cluster) -> u16 {
        let anyone = u16::try_from(self.chance.below(u64::from(NODES))).expect("a few") + 1;
        if self.chance.one_in(2) { cluster.leader().unwrap_or(anyone) } else { anyone }
    }

    fn other_than(&mut self, node: u16) -> u16 {
        let others: Vec<u16> = (1..=NODES).filter(|&number| number != node).collect();
        self.chance.pick(&others)
    }

    fn await_progress(&mut self, cluster: &mut Cluster, workload: &Workload) -> Result<(), String> {
        let waited = progress(cluster, workload)?;
        self.longest_wait = self.longest_wait.max(waited);
        Ok(())
    }

    fn say(&self, what: &str) {
        println!("{:8.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }
}
