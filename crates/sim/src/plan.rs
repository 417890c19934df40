//! What the seed draws before anything happens: the cluster's shape, its limits and timings, the
//! workloads, and *which* faults exist in this run, so that some runs are calm and some are cruel.

use std::time::Duration;

use consensus::{ClockDrift, Protocol};

use crate::clock::TRUE_RATE;
use crate::fault;
use crate::history::Terms;
use crate::inbox::Limits;
use crate::planted::Planted;
use crate::rng::Rng;
use crate::workload;

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Everything is drawn from it.
    pub seed: u64,
    /// Keep the lines of the trace.
    pub trace: bool,
    /// Only these workloads (see [`workload::NAMES`]); empty leaves it to the seed.
    pub workloads: Vec<String>,
    /// Only these faults (see [`fault::NAMES`]); `None` leaves it to the seed.
    pub faults: Option<Vec<String>>,
    /// This many nodes; `None` leaves it to the seed.
    pub nodes: Option<usize>,
    /// This protocol; `None` leaves it to the seed.
    pub protocol: Option<Protocol>,
    /// A mistake that the nodes make on purpose.
    pub planted: Option<Planted>,
}

/// A span that times are drawn from.
pub(crate) type Span = (Duration, Duration);

/// A run's shape.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Nodes with which the cluster begins.
    pub(crate) nodes: usize,
    /// Machines that stand ready to join it.
    pub(crate) spares: usize,
    /// Whether the operator wants witnesses, where members come and go.
    pub(crate) witnesses: bool,
    pub(crate) protocol: Protocol,
    pub(crate) clients: usize,
    /// Clients beyond those, who come only to ask for too much.
    pub(crate) crowd: usize,
    /// How long one of them waits.
    pub(crate) crowd_patience: Duration,
    pub(crate) tuning: node::Tuning,
    /// The rates between which clocks run that drift.
    pub(crate) slowest: u64,
    pub(crate) fastest: u64,
    /// How eagerly the nodes take their rare paths.
    pub(crate) zeal: u64,
    pub(crate) inbox: Limits,
    pub(crate) segment_bytes: u64,
    pub(crate) record_limit_bytes: u64,
    pub(crate) spare_segments: u32,
    pub(crate) in_memory: bool,
    pub(crate) engine: engine::Config,
    /// How long a message is on its way.
    pub(crate) latency: Span,
    /// How long a sync takes.
    pub(crate) sync: Span,
    /// How long a node waits for more before it takes in what has come.
    pub(crate) turn: Span,
    /// How long a job or a read takes.
    pub(crate) work: Span,
    /// The longest value that is written, in bytes.
    pub(crate) longest_value: usize,
    /// How long a client thinks between two operations.
    pub(crate) think: Span,
    /// How long an operation may take.
    pub(crate) patience: Duration,
    /// How long faults strike.
    pub(crate) storm: Duration,
    pub(crate) faults: Vec<&'static str>,
    pub(crate) workloads: Vec<&'static str>,
    #[cfg(feature = "planted")]
    pub(crate) planted: Option<Planted>,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// Longest value, command and journal record: as small as a node allows.
const VALUE_LIMIT_BYTES: usize = 4 * 1024;
const COMMAND_LIMIT_BYTES: usize = VALUE_LIMIT_BYTES + 64 * 1024;
const RECORD_LIMIT_BYTES: u64 = COMMAND_LIMIT_BYTES as u64 + 256;

/// Machines that stand ready where members come and go.
const SPARES: usize = 5;

/// No command of a run whose values are short is longer.
const SHORT_RECORD_BYTES: u64 = 2 * 1024;

impl Plan {
    pub(crate) fn draw(options: &Options, seed: &Rng) -> Self {
        let mut rng = seed.fork("plan");
        let drawn_nodes = *rng.pick(&[1, 3, 3, 3, 3, 3, 5, 5]);
        let nodes = options.nodes.unwrap_or(drawn_nodes);
        let faults = draw_faults(options, &mut rng);
        let workloads = draw_workloads(options, &faults, &mut rng);
        let engine = draw_engine(&mut rng);
        let longest_value = *rng.pick(&[30, 30, 900, VALUE_LIMIT_BYTES]);
        let (segment_bytes, record_limit_bytes) = draw_segments(longest_value, &mut rng);
        let crowd = usize::try_from(rng.between(12, 30)).expect("few");
        let zeal = *rng.pick(&[1, 3, 10]);
        let lease = draw_lease(options, &faults, seed);
        let (slowest, fastest) = rates(lease);
        Self {
            nodes,
            spares: if faults.contains(&"members") { SPARES } else { 0 },
            // Drawn apart: a run without them is what it would be if there were none.
            witnesses: faults.contains(&"members") && seed.fork("witnesses").chance(500),
            protocol: draw_protocol(options, seed),
            clients: usize::try_from(rng.between(2, 6)).expect("few"),
            crowd: if faults.contains(&"overload") { crowd } else { 0 },
            crowd_patience: rng.duration(ms(50), ms(400)),
            tuning: node::Tuning { steward: draw_steward(seed), ..draw_tuning(lease, &mut rng) },
            slowest,
            fastest,
            zeal: if faults.contains(&"rare") { zeal } else { 0 },
            inbox: draw_inbox(&mut rng),
            segment_bytes,
            record_limit_bytes,
            spare_segments: u32::try_from(rng.below(3)).expect("few"),
            in_memory: rng.chance(300),
            engine,
            latency: *rng.pick(&[(us(50), us(300)), (us(200), ms(2)), (ms(1), ms(10))]),
            sync: *rng.pick(&[(us(50), us(500)), (us(500), ms(4)), (ms(2), ms(20))]),
            turn: *rng.pick(&[(us(1), us(20)), (us(5), us(200)), (us(100), ms(2))]),
            work: *rng.pick(&[(us(10), us(200)), (us(100), ms(5)), (ms(1), ms(50))]),
            longest_value,
            think: *rng.pick(&[(us(100), ms(10)), (ms(1), ms(60)), (ms(10), ms(300))]),
            patience: *rng.pick(&[ms(500), ms(2_000), ms(6_000)]),
            // Where little goes wrong much gets done, and a second of that costs most.
            storm: rng.duration(ms(2_000), ms(if faults.len() < 3 { 6_000 } else { 12_000 })),
            faults,
            workloads,
            #[cfg(feature = "planted")]
            planted: options.planted,
        }
    }
}

/// None, one, exactly two, or many: few faults together find what many at once keep from happening, and
/// the other way round.
fn draw_faults(options: &Options, rng: &mut Rng) -> Vec<&'static str> {
    let drawn = match rng.below(10) {
        0 => Vec::new(),
        1 | 2 => vec![*rng.pick(&fault::NAMES)],
        3..6 => draw_pair(rng),
        _ => {
            let chance = *rng.pick(&[60, 120, 200, 300]);
            fault::NAMES.into_iter().filter(|_| rng.chance(chance)).collect()
        }
    };
    match &options.faults {
        None => drawn,
        Some(wanted) => {
            fault::NAMES.into_iter().filter(|name| wanted.iter().any(|w| w == name)).collect()
        }
    }
}

fn draw_pair(rng: &mut Rng) -> Vec<&'static str> {
    let (one, other) = (rng.index(fault::NAMES.len()), rng.index(fault::NAMES.len() - 1));
    let other = if other >= one { other + 1 } else { other };
    [one.min(other), one.max(other)].map(|at| fault::NAMES[at]).to_vec()
}

/// Workloads that hold leases.
pub(crate) const LEASED: [&str; 2] = ["leases", "locks"];

/// In so many runs of a thousand there are users and roles.
const GUARDED: u64 = 300;

/// Faults that bend nodes' clocks.
const CLOCKS: [&str; 3] = ["drift", "frozen-clock", "clock-jump"];

impl Plan {
    /// What the judge has to know of a run.
    pub(crate) fn terms(&self) -> Terms {
        let true_clocks = !self.faults.iter().any(|fault| CLOCKS.contains(fault));
        Terms { true_clocks, retained: Some(self.tuning.retain_revisions) }
    }

    /// Whether there are users and roles.
    pub(crate) fn is_guarded(&self) -> bool {
        self.workloads.contains(&workload::AUTH)
    }

    /// Whether anybody holds leases.
    pub(crate) fn has_leases(&self) -> bool {
        self.workloads.iter().any(|workload| LEASED.contains(workload))
    }
}

/// The faults that the run of these options has.
pub fn faults_of(options: &Options) -> Vec<&'static str> {
    Plan::draw(options, &Rng::new(options.seed)).faults
}

/// Length of the journal's segments and of its longest record. Short segments are what lets a run see
/// many of them, and each of them used again.
fn draw_segments(longest_value: usize, rng: &mut Rng) -> (u64, u64) {
    let short = longest_value <= 900 && rng.chance(700);
    let (small, large) = (*rng.pick(&[8, 8, 16, 64]), *rng.pick(&[140, 160, 256]));
    if short { (small * 1024, SHORT_RECORD_BYTES) } else { (large * 1024, RECORD_LIMIT_BYTES) }
}

fn draw_inbox(rng: &mut Rng) -> Limits {
    Limits {
        requests: *rng.pick(&[8, 64, 4096]),
        message_bytes: *rng.pick(&[16 * 1024, 256 * 1024, 64 << 20]),
    }
}

fn draw_workloads(options: &Options, faults: &[&str], rng: &mut Rng) -> Vec<&'static str> {
    let others = workload::NAMES.into_iter().filter(|name| *name != workload::AUTH);
    let mut drawn: Vec<&str> = others.filter(|_| rng.chance(500)).collect();
    // Drawn apart: where it is not, nothing of the run is another than if there were no such workload.
    let guarded = rng.fork(workload::AUTH).chance(GUARDED);
    if drawn.is_empty() {
        drawn.push(workload::NAMES[0]);
    }
    // Who lies in wait for leases needs some.
    if faults.contains(&"expiry-coups") && !drawn.iter().any(|name| LEASED.contains(name)) {
        drawn.push(LEASED[0]);
    }
    if guarded {
        drawn.push(workload::AUTH);
    }
    if options.workloads.is_empty() {
        return drawn;
    }
    let wanted = |name: &&str| options.workloads.iter().any(|w| w == name);
    workload::NAMES.into_iter().filter(wanted).collect()
}

fn draw_tuning(lease: Option<ClockDrift>, rng: &mut Rng) -> node::Tuning {
    let heartbeat = rng.duration(ms(40), ms(120));
    let kib = |rng: &mut Rng, choices: &[usize]| *rng.pick(choices) * 1024;
    node::Tuning {
        heartbeat,
        election_timeout: heartbeat * u32::try_from(rng.between(3, 7)).expect("few"),
        lease,
        commit_notice_delay: *rng.pick(&[Duration::ZERO, ms(1), ms(1), ms(30)]),
        value_limit_bytes: VALUE_LIMIT_BYTES,
        command_limit_bytes: COMMAND_LIMIT_BYTES,
        inflight_limit_bytes: kib(rng, &[8, 64, 1024]),
        waiting_limit: *rng.pick(&[4, 32, 1024]),
        unflushed_limit_bytes: kib(rng, &[1, 16, 64, 256, 4096]),
        page_limit_bytes: kib(rng, &[1, 4, 64]),
        // One entry in each message: a new leader's followers may have an old entry and not yet the
        // one of its own term (figure 8 of the Raft paper).
        append_limit_bytes: *rng.pick(&[1, 1, 1, 500, 1 << 20]),
        appends_in_flight: *rng.pick(&[1, 4, 64]),
        // Little: followers that lag get a snapshot where they would have got entries.
        log_retain_bytes: kib(rng, &[0, 1, 8, 64]),
        flush_log_bytes: kib(rng, &[2, 16, 128]),
        retain_revisions: *rng.pick(&[20, 100, 1_000, 100_000]),
        session_wait: rng.duration(ms(100), ms(2_000)),
        chunk_wait: rng.duration(ms(200), ms(2_000)),
        // Few, so that some are forgotten while they are there; but not fewer than write at once after
        // healing: they would forget each other for ever, and that is what the limit promises.
        remembered_clients: *rng.pick(&[8, 16, 64, 1024]),
        steward: None,
    }
}

/// In so many runs of a thousand leaders serve reads by leases, where clocks are to be relied upon.
const LEASED_READS: u64 = 200;

/// Clocks that stand or jump keep no lease's bounds.
const LAWLESS: [&str; 2] = ["frozen-clock", "clock-jump"];

/// By how much clocks may be wrong, if leaders serve reads by leases. From a source of its own, so that runs
/// without leases are what they were.
fn draw_lease(options: &Options, faults: &[&str], seed: &Rng) -> Option<ClockDrift> {
    let mut rng = seed.fork("lease");
    let reckless = options.planted.is_some_and(Planted::bends_clocks);
    let lawful = !faults.iter().any(|fault| LAWLESS.contains(fault));
    let wanted = (rng.chance(LEASED_READS) && lawful) || reckless;
    let drift = *rng.pick(&[10, 100, 300]);
    wanted.then(|| ClockDrift::per_mille(drift).expect("a drift"))
}

/// Between which rates clocks drift.
fn rates(lease: Option<ClockDrift>) -> (u64, u64) {
    match lease.map(ClockDrift::as_per_mille) {
        None => (TRUE_RATE / 2, TRUE_RATE * 2),
        Some(drift) => (TRUE_RATE - u64::from(drift), TRUE_RATE + u64::from(drift)),
    }
}

/// How fast a leader judges itself: faster than in production, or nothing would come of it in so short a
/// run. In some runs not at all.
fn draw_steward(seed: &Rng) -> Option<node::Pace> {
    let mut rng = seed.fork("steward");
    let window = rng.duration(ms(50), ms(500));
    let cool_down = rng.duration(ms(500), ms(6_000));
    rng.chance(700).then_some(node::Pace { window, cool_down })
}

/// From a source of its own, so that a seed's run is else the same under each protocol.
fn draw_protocol(options: &Options, seed: &Rng) -> Protocol {
    let drawn = *seed.fork("protocol").pick(&Protocol::ALL);
    let needed = options.planted.and_then(Planted::protocol);
    needed.or(options.protocol).unwrap_or(drawn)
}

fn draw_engine(rng: &mut Rng) -> engine::Config {
    engine::Config {
        cache_bytes: *rng.pick(&[64 * 1024, 1024 * 1024]),
        flush_bytes: *rng.pick(&[3 * 1024, 12 * 1024, 32 * 1024, 256 * 1024]),
        chunk_bytes: *rng.pick(&[512, 4 * 1024, 64 * 1024]),
        run_bytes: *rng.pick(&[1024, 4 * 1024, 64 * 1024]),
        block_bytes: *rng.pick(&[64, 512, 4 * 1024]),
        count_stretch_keys: *rng.pick(&[1, 3, 1024]),
        #[cfg(feature = "planted")]
        planted: None,
    }
}
