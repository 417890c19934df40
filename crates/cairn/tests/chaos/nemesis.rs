//! Who makes the faults.
//!
//! One scene after another: a fault that lasts for a while, or a sequence of steps; half of the time a
//! second fault overlaps with it in time. Then all is mended. After most scenes the cluster must
//! become whole before the next one; after the others the next fault meets nodes that still catch
//! up.
//!
//! # What is never done
//!
//! At most one node's files go bad at a time, and only while the others are whole and stay so until it
//! is repaired: see [`crate::decay`].

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Options;
use crate::chance::Chance;
use crate::checks::progress;
use crate::cluster::{Cluster, NODES};
use crate::decay::{Decay, Outcome};
use crate::fault::{Doomed, Fault, Strike};
use crate::overload::Overload;
use crate::scripts;
use crate::workload::Workload;

/// How long a node may take to end of a disk that was full, or of a sync that failed.
const STORAGE_GRACE: Duration = Duration::from_secs(1);
const DOOM_GRACE: Duration = Duration::from_secs(5);

/// What happens between two moments of peace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scene {
    /// A fault that lasts for a while.
    Lasting(Fault),
    /// See [`scripts::pause_then_kill`].
    PausedThenKilled,
    /// See [`scripts::kill_at_start`].
    KilledAtStart,
    /// A bit flips in the journal of a node that is down.
    Rotten,
    /// Any file of a node that is down goes bad.
    Decayed,
    /// What a node has received of a snapshot goes bad.
    DecayedInTransit,
    /// See [`crate::overload`].
    Overloaded,
}

impl Scene {
    /// There are many kinds of files.
    const STEPS: [Self; 8] = [
        Self::PausedThenKilled,
        Self::KilledAtStart,
        Self::Rotten,
        Self::Decayed,
        Self::Decayed,
        Self::Decayed,
        Self::DecayedInTransit,
        Self::Overloaded,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Lasting(fault) => fault.name(),
            Self::PausedThenKilled => "stopped, then another killed",
            Self::KilledAtStart => "killed at starts",
            Self::Rotten => "bit flipped in the journal",
            Self::Decayed => "file spoilt",
            Self::DecayedInTransit => "snapshot spoilt",
            Self::Overloaded => "overloaded",
        }
    }

    /// What may happen at the same time. Who is down for repair needs the others' disks; who waits for a
    /// snapshot is waited for.
    fn companions(self) -> &'static [Fault] {
        const NETWORK: [Fault; 10] = [
            Fault::Unplugged,
            Fault::Deaf,
            Fault::Apart,
            Fault::OneWay,
            Fault::DeafToAll,
            Fault::Lossy,
            Fault::Late,
            Fault::Clogged,
            Fault::Narrow,
            Fault::SlowDisk,
        ];
        match self {
            Self::Lasting(_) => &Fault::ALL,
            Self::PausedThenKilled | Self::KilledAtStart | Self::Rotten | Self::Decayed => &NETWORK,
            Self::DecayedInTransit => &[],
            Self::Overloaded => &[
                Fault::Lossy,
                Fault::Late,
                Fault::Clogged,
                Fault::Narrow,
                Fault::Stopped,
                Fault::Starved,
                Fault::SlowDisk,
            ],
        }
    }

    /// Whether the nodes must be whole before it, and repaired after it.
    fn spoils(self) -> bool {
        matches!(self, Self::Rotten | Self::Decayed | Self::DecayedInTransit)
    }
}

/// Who makes the faults.
pub(crate) struct Nemesis {
    chance: Chance,
    begun: Instant,
    /// Faults that this machine can't make.
    impossible: Vec<Fault>,
    injected: BTreeMap<&'static str, u32>,
    outcomes: BTreeMap<Outcome, u32>,
    /// What has overlapped in time.
    pairs: BTreeSet<(&'static str, &'static str)>,
    /// All that may happen.
    scenes: Vec<Scene>,
    /// Scenes that are still to come before all have been.
    due: Vec<Scene>,
    /// Packets and syncs that were held up.
    held: u64,
    /// The longest that writes were waited for after all was mended.
    longest_wait: Duration,
}

impl Nemesis {
    /// A nemesis whose choices follow from a seed. `cluster` is undisturbed.
    pub(crate) fn new(options: &Options, begun: Instant, cluster: &Cluster) -> Self {
        let impossible: Vec<Fault> =
            Fault::ALL.into_iter().filter(|fault| !fault.is_possible(cluster)).collect();
        for fault in &impossible {
            println!("not possible on this machine: {}", fault.name());
        }
        let lasting = Fault::ALL.into_iter().filter(|fault| !impossible.contains(fault));
        let mut scenes: Vec<Scene> = lasting.map(Scene::Lasting).chain(Scene::STEPS).collect();
        if let Some(only) = &options.only {
            scenes.retain(|scene| scene.name().starts_with(only));
            assert!(!scenes.is_empty(), "no fault's name begins with {only:?}");
        }
        Self {
            chance: Chance::new(options.seed),
            begun,
            impossible,
            scenes,
            injected: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            pairs: BTreeSet::new(),
            due: Vec::new(),
            held: 0,
            longest_wait: Duration::ZERO,
        }
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
            let scene = self.next_scene();
            if scene.spoils() && !whole {
                cluster.wait_until_whole()?;
            }
            self.play(scene, cluster)?;
            self.await_progress(cluster, workload)?;
            whole = scene.spoils() || !self.chance.one_in(3);
            if whole {
                cluster.wait_until_whole()?;
            }
            sleep(self.chance.time_ms(100, 600));
        }
        Ok(())
    }

    /// How often each fault was there.
    pub(crate) fn summary(&self) -> String {
        let counts = self.injected.iter().map(|(name, count)| format!("{name} {count}"));
        let outcomes =
            self.outcomes.iter().map(|(outcome, count)| format!("{} {count}", outcome.name()));
        format!(
            "faults: {} ({})\npairs that overlapped: {}\nspoilt files: {}\npackets and syncs held \
             up: {}\nafter mending the longest wait for a write was {} ms",
            self.injected.values().sum::<u32>(),
            counts.collect::<Vec<_>>().join(", "),
            self.pairs.len(),
            outcomes.collect::<Vec<_>>().join(", "),
            self.held,
            self.longest_wait.as_millis(),
        )
    }

    /// Each scene once in a random order, then again: all come about equally often.
    fn next_scene(&mut self) -> Scene {
        if self.due.is_empty() {
            self.due = self.scenes.clone();
        }
        let place = usize::try_from(self.chance.below(self.due.len() as u64)).expect("a few");
        self.due.swap_remove(place)
    }

    /// One scene, sometimes with another fault, and the mending.
    fn play(&mut self, scene: Scene, cluster: &mut Cluster) -> Result<(), String> {
        let companion = self.companion(scene);
        let victim = self.victim(cluster);
        let mut doomed = Vec::new();
        match scene {
            Scene::Lasting(fault) => self.last(fault, companion, cluster, &mut doomed)?,
            Scene::PausedThenKilled | Scene::KilledAtStart => {
                let strike = companion.map(|fault| self.strike(fault, cluster));
                self.tell(scene, &format!("node {victim}"));
                match scene {
                    Scene::PausedThenKilled => {
                        scripts::pause_then_kill(victim, cluster, &mut self.chance);
                    }
                    _ => scripts::kill_at_start(victim, cluster, &mut self.chance),
                }
                self.mend(strike, cluster, &mut doomed);
            }
            Scene::Rotten | Scene::Decayed | Scene::DecayedInTransit => {
                self.spoil(scene, victim, companion, cluster, &mut doomed)?;
            }
            Scene::Overloaded => {
                self.tell(scene, "all nodes");
                let load = Overload::start(cluster, &mut self.chance);
                let strike = companion.map(|fault| self.strike(fault, cluster));
                if strike.is_some() {
                    sleep(self.chance.time_ms(500, 3000));
                }
                self.mend(strike, cluster, &mut doomed);
                let summary = load.finish(cluster)?;
                self.say(&summary.to_string());
            }
        }
        clean_up(cluster, &doomed)
    }

    /// A fault that lasts, and another one that begins a little later and may outlast it.
    fn last(
        &mut self,
        fault: Fault,
        companion: Option<Fault>,
        cluster: &mut Cluster,
        doomed: &mut Vec<Doomed>,
    ) -> Result<(), String> {
        let mut strikes = Vec::new();
        for fault in [Some(fault), companion].into_iter().flatten() {
            if !strikes.is_empty() {
                sleep(self.chance.time_ms(10, 800));
            }
            let strike = self.strike(fault, cluster);
            strikes.push((Instant::now() + fault.time(&mut self.chance), strike));
        }
        strikes.sort_by_key(|(until, _)| *until);
        for (until, strike) in strikes {
            while Instant::now() < until {
                sleep(Duration::from_millis(50));
                cluster.bury()?;
            }
            self.mend(Some(strike), cluster, doomed);
        }
        Ok(())
    }

    /// Kills a node, spoils a file of its, starts it, and waits for its repair.
    fn spoil(
        &mut self,
        scene: Scene,
        victim: u16,
        companion: Option<Fault>,
        cluster: &mut Cluster,
        doomed: &mut Vec<Doomed>,
    ) -> Result<(), String> {
        cluster.node(victim).kill();
        let chance = &mut self.chance;
        let decay = match scene {
            Scene::Rotten => Decay::of_journal(victim, cluster, chance),
            Scene::Decayed => Decay::of_any(victim, cluster, chance),
            _ => Decay::in_transit(victim, cluster, chance)?,
        };
        let Some(decay) = decay else {
            cluster.launch(&[victim]);
            return Ok(());
        };
        self.tell(scene, &format!("node {victim}, {}", decay.place()));
        let strike = companion.map(|fault| self.strike(fault, cluster));
        sleep(self.chance.time_ms(10, 2000));
        cluster.launch(&[victim]);
        if strike.is_some() {
            sleep(self.chance.time_ms(10, 2000));
        }
        self.mend(strike, cluster, doomed);
        let outcome = decay.outlive(cluster)?;
        *self.outcomes.entry(outcome).or_default() += 1;
        self.say(&format!("node {victim}: {}", outcome.name()));
        Ok(())
    }

    fn strike(&mut self, fault: Fault, cluster: &mut Cluster) -> Strike {
        let victim = self.victim(cluster);
        let strike = Strike::new(fault, victim, cluster, &mut self.chance);
        *self.injected.entry(fault.name()).or_default() += 1;
        self.say(&strike.to_string());
        strike
    }

    fn mend(&mut self, strike: Option<Strike>, cluster: &mut Cluster, doomed: &mut Vec<Doomed>) {
        let Some(strike) = strike else { return };
        self.held += strike.held_up();
        let what = format!("node {}: no longer {}", strike.victim, strike.fault.name());
        doomed.extend(strike.mend(cluster));
        self.say(&what);
    }

    /// Half of the time, another fault at the same time.
    fn companion(&mut self, scene: Scene) -> Option<Fault> {
        let fits =
            |fault: &Fault| scene != Scene::Lasting(*fault) && !self.impossible.contains(fault);
        let among: Vec<Fault> = scene.companions().iter().copied().filter(fits).collect();
        if among.is_empty() || self.chance.one_in(2) {
            return None;
        }
        let companion = self.chance.pick(&among);
        let (one, other) = (scene.name(), companion.name());
        self.pairs.insert((one.min(other), one.max(other)));
        Some(companion)
    }

    /// Half of the time the leader.
    fn victim(&mut self, cluster: &Cluster) -> u16 {
        let anyone = u16::try_from(self.chance.below(u64::from(NODES))).expect("a few") + 1;
        if self.chance.one_in(2) { cluster.leader().unwrap_or(anyone) } else { anyone }
    }

    fn await_progress(&mut self, cluster: &mut Cluster, workload: &Workload) -> Result<(), String> {
        let waited = progress(cluster, workload)?;
        self.longest_wait = self.longest_wait.max(waited);
        Ok(())
    }

    fn tell(&mut self, scene: Scene, whom: &str) {
        *self.injected.entry(scene.name()).or_default() += 1;
        self.say(&format!("{whom}: {}", scene.name()));
    }

    fn say(&self, what: &str) {
        println!("{:8.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }
}

/// Nothing stands in the way of any node any more. Whose sync failed must be gone.
fn clean_up(cluster: &mut Cluster, doomed: &[Doomed]) -> Result<(), String> {
    cluster.resume_all();
    for &Doomed { node, process } in doomed {
        let begun = Instant::now();
        while cluster.node(node).process() == Some(process) {
            cluster.bury()?;
            if begun.elapsed() > DOOM_GRACE {
                return Err(format!("node {node} goes on after a failed fdatasync"));
            }
            sleep(Duration::from_millis(20));
        }
    }
    if cluster.is_anyone_excused() {
        // What failed at the last moment takes a while to end.
        sleep(STORAGE_GRACE);
        cluster.bury()?;
        cluster.excuse_nobody();
    }
    cluster.launch_missing();
    Ok(())
}
