//! The weather: a network, faults drawn from one seed, clients, and the calm after the storm.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use consensus::quorum::{MAX_VOTERS, Quorums, majority};
use consensus::{
    ClockDrift, Config, Input, LogIndex, Message, Position, ProposalId, ReadId, ReplicaId, Role,
    Status, Time, paxos, raft, zab,
};

use crate::checks::Checks;
use crate::host::{Event, Host, Protocol};

/// Which faults a run may have besides the network's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) crashes: bool,
    pub(crate) damage: Damage,
    /// Whether members come and go.
    pub(crate) members: bool,
    /// Whether leaders serve reads by leases, while clocks run at rates that differ as they may.
    pub(crate) leases: bool,
    /// Whether some of the voters are witnesses.
    pub(crate) witnesses: Witnesses,
}

/// Whether some of the voters are witnesses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Witnesses {
    #[default]
    None,
    Some,
    /// And a data replica is lost for good when the storm ends: the one that leads, if one does.
    SomeAndLoss,
}

impl Plan {
    pub(crate) fn has_witnesses(self) -> bool {
        self.witnesses != Witnesses::None
    }
}

/// How many journals may be damaged at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Damage {
    #[default]
    None,
    /// So few that each quorum that elects has a healthy member, and the healthy can elect: the group
    /// must heal.
    Minority,
    /// So many that the group may be stuck for good.
    Any,
}

#[derive(Clone)]
enum Letter {
    Message { from: ReplicaId, message: Message },
    Snapshot { from: ReplicaId, at_least: Position },
}

pub(crate) struct Storm {
    pub(crate) protocol: Protocol,
    pub(crate) plan: Plan,
    quorums: Quorums,
    pub(crate) chance: Chance,
    pub(crate) now: Time,
    /// How many thousandths each host's clock counts in a second: a thousand if it is not named.
    rates: BTreeMap<ReplicaId, u64>,
    pub(crate) hosts: BTreeMap<ReplicaId, Host>,
    /// Crashed hosts, and when they come back.
    pub(crate) down: BTreeMap<ReplicaId, Time>,
    network: BTreeMap<(Time, u64), (ReplicaId, Letter)>,
    /// One-way links that carry nothing.
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
    loss_percent: u64,
    /// How late a late letter may be.
    late_micros: u64,
    slow_disk_percent: u64,
    pub(crate) checks: Checks,
    pub(crate) counter: u64,
    /// How a host of this run is made.
    pub(crate) config: Config,
    /// The highest number that a host ever had.
    pub(crate) last_id: u64,
    /// All that were ever made as witnesses.
    pub(crate) witnesses: BTreeSet<ReplicaId>,
    /// What concerns witnesses is drawn from here, so that the storms without them stay what they are.
    pub(crate) witness_chance: Chance,
}

/// What a run's chance of witnesses begins with, besides its seed.
const OF_WITNESSES: u64 = 0x0077_6974_6e65_7373;

/// More than any log of a storm.
const RETAIN_ALL: usize = 1 << 24;

const STORM_STEPS: usize = 2500;
const CALM_STEPS: usize = 6000;

impl Storm {
    pub(crate) fn new(protocol: Protocol, seed: u64, plan: Plan) -> Self {
        Self::build(protocol, seed, plan, |_| {})
    }

    #[cfg(feature = "planted")]
    pub(crate) fn with_mistake(
        protocol: Protocol,
        seed: u64,
        plan: Plan,
        mistake: Option<consensus::Planted>,
    ) -> Self {
        Self::build(protocol, seed, plan, |config| config.planted = mistake)
    }

    fn build(protocol: Protocol, seed: u64, plan: Plan, adjust: impl Fn(&mut Config)) -> Self {
        let mut chance = Chance(seed);
        let size = [1, 2, 3, 3, 3, 5, 5][chance.pick(7)];
        let size = if plan.damage == Damage::None { size } else { size.max(3) };
        let voters: BTreeSet<_> = (1..=size).map(ReplicaId).collect();
        let retain = [0, 200, 4000][chance.pick(3)];
        let majorities = plan.members || plan.has_witnesses();
        let quorums =
            if majorities { None } else { draw_quorums(protocol, voters.len(), &mut chance) };
        let mut witness_chance = Chance(seed ^ OF_WITNESSES);
        let witnesses = draw_witnesses(&voters, plan, &mut witness_chance);
        let mut config = Config::new(ReplicaId(1), voters.clone(), seed);
        config.max_append_bytes = 300;
        config.max_inflight_appends = 4;
        // If the one is lost that holds the data, the others must find all of it in the logs.
        let may_lose = plan.witnesses == Witnesses::SomeAndLoss
            || (plan.has_witnesses() && plan.damage == Damage::Minority);
        config.log_retain_bytes = if may_lose { RETAIN_ALL } else { retain };
        config.witnesses.clone_from(&witnesses);
        config.quorums = quorums;
        let mut rates = BTreeMap::new();
        if plan.leases {
            let drift = [1, 100, 300][chance.pick(3)];
            config.lease = ClockDrift::per_mille(drift);
            rates = voters.iter().map(|id| (*id, draw_rate(drift, &mut chance))).collect();
        }
        adjust(&mut config);
        let host = |id: ReplicaId| {
            let config = Config { id, seed: seed ^ id.0, ..config.clone() };
            (id, Host::new(protocol, config, Time::default()))
        };
        Self {
            protocol,
            plan,
            quorums: quorums.unwrap_or(Quorums::majorities(voters.len())),
            now: Time::default(),
            hosts: voters.iter().copied().map(host).collect(),
            rates,
            down: BTreeMap::new(),
            network: BTreeMap::new(),
            cut: BTreeSet::new(),
            loss_percent: [0, 2, 20][chance.pick(3)],
            late_micros: [800_000, 10_000_000][chance.pick(2)],
            slow_disk_percent: [0, 50, 95][chance.pick(3)],
            checks: Checks::default(),
            counter: 0,
            last_id: size,
            config,
            chance,
            witnesses,
            witness_chance,
        }
    }

    /// Runs the storm and the calm after it; gives a digest of what happened.
    pub(crate) fn run(mut self) -> (usize, u64, u64) {
        for step in 0..STORM_STEPS {
            self.weather();
            self.turn();
            if step % 100 == 0 {
                let logs: Vec<_> = self.hosts.values().map(Host::log_in_memory).collect();
                Checks::logs_match(self.protocol, &logs);
            }
            if step % 500 == 0 {
                self.someone_survives(self.chance.0);
            }
        }
        if self.plan.members {
            self.leave_for_good();
        }
        if self.plan.witnesses == Witnesses::SomeAndLoss {
            self.lose_one();
        }
        self.calm();
        (self.checks.chosen.len(), self.checks.reads_served, self.now.as_nanos())
    }

    /// After the faults end, all replicas catch up and a new command is applied everywhere.
    fn calm(&mut self) {
        self.cut.clear();
        self.loss_percent = 0;
        self.slow_disk_percent = 0;
        for id in self.down.keys().copied().collect::<Vec<_>>() {
            self.down.insert(id, self.now);
        }
        let goal = LogIndex(self.checks.chosen.len() as u64 + 5);
        for _ in 0..CALM_STEPS {
            self.turn();
            self.propose();
            let done = |host: &Host| host.applied() >= goal && !host.in_doubt;
            if self.members().into_iter().all(|id| self.hosts.get(&id).is_none_or(done)) {
                return;
            }
        }
        if self.plan.damage == Damage::Any {
            return;
        }
        let states: Vec<_> = self.hosts.values().map(|host| host.replica.status()).collect();
        panic!("no progress after the storm: {states:#?}");
    }

    /// A data replica is gone, with its disk, if the others can do without it.
    fn lose_one(&mut self) {
        let data = |id: &ReplicaId| !self.witnesses.contains(id);
        let all: Vec<_> = self.hosts.keys().copied().filter(data).collect();
        if self.hosts.len() < 3 {
            return;
        }
        let leads = self.leaders().into_iter().rfind(data);
        let lost = leads.unwrap_or_else(|| all[self.witness_chance.pick(all.len())]);
        self.hosts.remove(&lost);
        self.down.remove(&lost);
    }

    /// Draws what goes wrong, and what clients want. For leases it has to be calm enough that another leader
    /// is elected as soon as it may be.
    fn weather(&mut self) {
        let who = self.anyone();
        let calmer = self.plan.leases;
        match self.chance.pick(200) {
            60..70 if calmer && self.chance.percent(80) => {}
            0..40 => self.propose(),
            40..60 => self.read(),
            60..63 => {
                let to = self.anyone();
                self.cut.insert((who, to));
            }
            63..66 => self.cut.clear(),
            66..68 => self.isolate(who),
            68..70 if self.plan.crashes => self.crash(who),
            70..74 => self.with_host(who, Host::checkpoint),
            74 => {
                let to = self.anyone();
                self.input(who, Input::Transfer { to });
            }
            75 => {
                let peer = self.anyone();
                self.input(who, Input::Unreachable { peer });
            }
            76..80 if self.plan.members => self.change_members(),
            80 if self.plan.members => self.leave_for_good(),
            81 if calmer => self.lose_touch(who),
            82 if calmer && self.plan.crashes => self.restart_all_but(who),
            83..140 if calmer => self.read(),
            _ => {}
        }
    }

    /// Lets a little time pass: disks write, letters arrive, timers run out.
    fn turn(&mut self) {
        self.now = self.now + Duration::from_micros(self.chance.next() % 20_000);
        let back = self.down.iter().filter(|(_, time)| **time <= self.now);
        for id in back.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.down.remove(&id);
            let (seed, now) = (self.chance.next(), self.local(id));
            if let Some(host) = self.hosts.get_mut(&id) {
                host.restart(now, seed);
            }
        }
        for id in self.hosts.keys().copied().collect::<Vec<_>>() {
            if !self.chance.percent(self.slow_disk_percent) {
                let count = 1 + self.chance.pick(4);
                self.with_host(id, |host, now, events| host.flush(now, count, events));
            }
            let deadline = self.hosts[&id].replica.deadline();
            if deadline.is_some_and(|deadline| deadline <= self.local(id)) {
                self.input(id, Input::Tick);
            }
        }
        while let Some(entry) = self.network.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (to, letter) = entry.remove();
            self.deliver(to, letter);
        }
    }

    fn deliver(&mut self, to: ReplicaId, letter: Letter) {
        match letter {
            Letter::Message { from, message } => self.input(to, Input::Receive { from, message }),
            Letter::Snapshot { from, at_least } => {
                let Some(machine) = self.hosts.get(&from).map(|host| &host.machine) else {
                    return self.input(to, Input::SnapshotFailed);
                };
                let has_none = self.witnesses.contains(&from);
                let is_behind = machine.position().index < at_least.index;
                if has_none || is_behind || self.down.contains_key(&from) {
                    return self.input(to, Input::SnapshotFailed);
                }
                let image = machine.clone();
                self.with_host(to, |host, now, events| host.install(now, &image, events));
            }
        }
    }

    pub(crate) fn input(&mut self, id: ReplicaId, input: Input) {
        self.with_host(id, |host, now, events| host.step(now, input, events));
    }

    fn with_host(&mut self, id: ReplicaId, act: impl FnOnce(&mut Host, Time, &mut Vec<Event>)) {
        if self.down.contains_key(&id) || !self.hosts.contains_key(&id) {
            return;
        }
        let (mut events, now) = (Vec::new(), self.local(id));
        let host = self.hosts.get_mut(&id).expect("a host");
        act(host, now, &mut events);
        for event in events {
            self.take(id, event);
        }
    }

    fn take(&mut self, id: ReplicaId, event: Event) {
        match event {
            Event::Send { to, message } => {
                self.check_hand_over(id, to, &message);
                self.post(to, &Letter::Message { from: id, message });
            }
            Event::Accepted => self.check_holds_data(id, "takes proposals"),
            Event::Applied { entries } => {
                let epoch = self.hosts[&id].replica.status().epoch;
                self.checks.applied(id, epoch, &entries);
            }
            Event::Served { reads, at } => {
                self.check_holds_data(id, "serves reads");
                self.checks.served(&reads, at);
            }
            Event::Refused { reads } => self.checks.refused(&reads),
            Event::Leads { epoch } => {
                if !self.protocol.witnesses_lead {
                    self.check_holds_data(id, "leads");
                }
                self.checks.leads(self.protocol, id, epoch, &self.hosts[&id].log_in_memory());
            }
            Event::Ready { epoch } => {
                self.checks.ready(epoch, self.hosts[&id].applied());
            }
            Event::Fetch { from, at_least } => {
                assert!(!self.witnesses.contains(&id), "{id} asks for data, but is a witness");
                let delay = Duration::from_millis(self.chance.next() % 300);
                let letter = Letter::Snapshot { from, at_least };
                self.counter += 1;
                self.network.insert((self.now + delay, self.counter), (id, letter));
            }
            Event::DoubtResolved => {}
        }
    }

    fn check_holds_data(&self, id: ReplicaId, does: &str) {
        assert!(!self.witnesses.contains(&id), "{id} {does}, but is a witness");
    }

    /// Nobody asks a witness to lead, and a witness only one that lacks nothing of its log.
    fn check_hand_over(&self, from: ReplicaId, to: ReplicaId, message: &Message) {
        let is_hand_over = matches!(
            message,
            Message::Raft(raft::Message::TimeoutNow { .. })
                | Message::Zab(zab::Message::HandOver { .. })
                | Message::Paxos(paxos::Message::TakeOver { .. })
        );
        if !is_hand_over {
            return;
        }
        self.check_holds_data(to, "is asked to lead");
        let Status { last, membership, .. } = self.hosts[&from].replica.status();
        let lends = self.witnesses.contains(&from) && membership.voters.contains(&from);
        if let Some(host) = self.hosts.get(&to)
            && lends
            && self.plan.damage == Damage::None
        {
            let has_all = host.log_in_memory().covers(self.protocol, last);
            assert!(has_all, "the witness {from} hands over to {to}, which lacks {last}");
        }
    }

    fn post(&mut self, to: ReplicaId, letter: &Letter) {
        let (Letter::Message { from, .. } | Letter::Snapshot { from, .. }) = letter;
        let lost = self.cut.contains(&(*from, to)) || self.chance.percent(self.loss_percent);
        let copies = if lost { 0 } else { 1 + usize::from(self.chance.percent(self.loss_percent)) };
        for _ in 0..copies {
            let late =
                if self.chance.percent(self.loss_percent) { self.late_micros } else { 15_000 };
            let delay = Duration::from_micros(self.chance.next() % late);
            self.counter += 1;
            self.network.insert((self.now + delay, self.counter), (to, letter.clone()));
        }
    }

    /// Proposes a few commands wherever somebody believes that it leads.
    fn propose(&mut self) {
        for id in self.leaders() {
            let count = 1 + self.chance.next() % 5;
            let proposals = (0..count).map(|_| {
                self.counter += 1;
                (ProposalId(self.counter), Bytes::copy_from_slice(&self.counter.to_le_bytes()))
            });
            let input = Input::Propose(proposals.collect());
            self.input(id, input);
        }
    }

    fn read(&mut self) {
        for id in self.leaders() {
            self.counter += 1;
            let read = ReadId(self.counter);
            self.checks.read_begins(read);
            self.input(id, Input::Read(vec![read]));
        }
    }

    pub(crate) fn leaders(&self) -> Vec<ReplicaId> {
        let leads = |(id, host): (&ReplicaId, &Host)| {
            let leads = host.replica.status().role == Role::Leader && !self.down.contains_key(id);
            leads.then_some(*id)
        };
        self.hosts.iter().filter_map(leads).collect()
    }

    fn isolate(&mut self, who: ReplicaId) {
        for other in self.hosts.keys().copied().filter(|other| *other != who) {
            self.cut.insert((who, other));
            self.cut.insert((other, who));
        }
    }

    /// What a host's clock shows.
    pub(crate) fn local(&self, id: ReplicaId) -> Time {
        let rate = self.rates.get(&id).copied().unwrap_or(1000);
        Time::from_nanos(self.now.as_nanos() / 1000 * rate)
    }

    /// One is cut off, what was under way is lost, and the others' connections to it break at once.
    fn lose_touch(&mut self, who: ReplicaId) {
        self.cut.clear();
        self.isolate(who);
        self.network.retain(|_, (to, letter)| match letter {
            Letter::Message { from, .. } => *from != who && *to != who,
            Letter::Snapshot { .. } => true,
        });
        for other in self.hosts.keys().copied().filter(|other| *other != who).collect::<Vec<_>>() {
            self.input(other, Input::Unreachable { peer: who });
        }
    }

    /// One is cut off, and all others fall and are soon back.
    fn restart_all_but(&mut self, who: ReplicaId) {
        self.isolate(who);
        for other in self.hosts.keys().copied().filter(|other| *other != who).collect::<Vec<_>>() {
            self.crash(other);
            let soon = self.now + Duration::from_millis(self.chance.next() % 50);
            if self.down.contains_key(&other) {
                self.down.insert(other, soon);
            }
        }
    }

    fn crash(&mut self, who: ReplicaId) {
        if self.down.contains_key(&who) {
            return;
        }
        let back = self.now + Duration::from_millis(self.chance.next() % 2000);
        self.down.insert(who, back);
        // A few writes hold a vote that is forgotten alone; many hold entries as well.
        let (lucky, most) = (self.chance.pick(4), [4, 30][self.chance.pick(2)]);
        let lost = self.chance.pick(most);
        let damaged = self.may_damage(who) && self.chance.percent(50);
        let host = self.hosts.get_mut(&who).expect("a host");
        host.crash(lucky);
        if damaged {
            host.damage(lost);
        }
        let of_host = |to: &ReplicaId, letter: &Letter| {
            *to == who && matches!(letter, Letter::Snapshot { .. })
        };
        self.network.retain(|_, (to, letter)| !of_host(to, letter));
    }

    fn may_damage(&self, who: ReplicaId) -> bool {
        let others = self.hosts.iter().filter(|(id, host)| **id != who && host.in_doubt).count();
        match self.plan.damage {
            Damage::None => false,
            Damage::Minority => {
                let healthy = self.hosts.len() - others - 1;
                others + 1 < self.quorums.phase1 && healthy >= self.quorums.phase1
            }
            Damage::Any => true,
        }
    }

    fn anyone(&mut self) -> ReplicaId {
        let all: Vec<_> = self.hosts.keys().copied().collect();
        all[self.chance.pick(all.len())]
    }
}

/// How many thousandths a clock counts in a second that is wrong by no more than this.
fn draw_rate(drift: u16, chance: &mut Chance) -> u64 {
    let drift = u64::from(drift);
    match chance.pick(3) {
        0 => 1000 - drift,
        1 => 1000 + drift,
        _ => 1000 - drift + chance.next() % (2 * drift + 1),
    }
}

/// Some of the voters, fewer than a majority; one at least, if they can be.
fn draw_witnesses(
    voters: &BTreeSet<ReplicaId>,
    plan: Plan,
    chance: &mut Chance,
) -> BTreeSet<ReplicaId> {
    let most = majority(voters.len()) - 1;
    let mut witnesses = BTreeSet::new();
    if plan.has_witnesses() && most > 0 {
        let count = 1 + chance.pick(most);
        let all: Vec<_> = voters.iter().copied().collect();
        while witnesses.len() < count {
            witnesses.insert(all[chance.pick(all.len())]);
        }
    }
    witnesses
}

/// Majorities, or some that still meet.
fn draw_quorums(protocol: Protocol, voters: usize, chance: &mut Chance) -> Option<Quorums> {
    if !protocol.flexible || chance.percent(50) {
        return None;
    }
    let sizes = (1..=MAX_VOTERS).flat_map(|a| (1..=MAX_VOTERS).map(move |b| (a, b)));
    let quorums = sizes.map(|(phase1, phase2)| Quorums { phase1, phase2 });
    let all: Vec<_> = quorums.filter(|quorums| quorums.meet(voters)).collect();
    Some(all[chance.pick(all.len())])
}

/// The run's one source of chance (`SplitMix64`).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn pick(&mut self, choices: usize) -> usize {
        usize::try_from(self.next() % choices as u64).expect("small")
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}
