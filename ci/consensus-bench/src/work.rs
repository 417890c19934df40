//! What each contender has to do, and the proof that it did it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Replicas of a cluster.
pub const REPLICAS: usize = 3;
/// Bytes of one command.
pub const COMMAND_BYTES: usize = 100;
/// Entries after which a cluster may forget its log, as a host does that has taken a checkpoint.
pub const CHECKPOINT_ENTRIES: usize = 8192;

/// Commands that differ from their neighbours; after these they begin anew.
const DISTINCT: u64 = 4096;

/// When the leader's host looks at what the leader wants to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manner {
    /// After each batch: what a batch costs where it goes out as soon as it comes.
    Alone,
    /// Once for all batches under way: what it costs where a host lets them gather.
    Gathered,
}

impl Manner {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Alone, Self::Gathered];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Gathered => "gathered",
        }
    }
}

/// Where the bytes of commands lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CommandBytes {
    /// In a buffer that is counted, as what came from a socket is
    Counted,
    /// In one that lives for ever, so that a copy of a command costs no atomic operation
    Static,
}

impl CommandBytes {
    /// Its name among the options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Static => "static",
        }
    }
}

/// What is asked of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Commands that a client submits together.
    pub batch: usize,
    /// Batches that clients keep under way.
    pub under_way: usize,
    /// How they reach the leader.
    pub manner: Manner,
    /// Where their bytes lie.
    pub bytes: CommandBytes,
}

impl Load {
    /// Entries between two checkpoints: whole windows of batches.
    pub fn stretch(&self) -> usize {
        CHECKPOINT_ENTRIES.next_multiple_of(self.window())
    }

    /// Entries under way.
    pub fn window(&self) -> usize {
        self.batch * self.under_way
    }
}

/// The loads to be measured.
#[derive(Clone, Debug, clap::Args)]
pub struct Loads {
    /// Commands that a client submits together
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1,8,64")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub batches: Vec<u16>,
    /// Batches that clients keep under way
    #[arg(long, value_name = "N", default_value = "16")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
    pub under_way: u16,
    /// Where the bytes of commands lie
    #[arg(long, value_enum, value_name = "WHERE", default_value = "counted")]
    pub bytes: CommandBytes,
    /// Those contenders alone whose name has this in it
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
}

impl Loads {
    /// One after the other.
    pub fn each(&self) -> impl Iterator<Item = Load> {
        let (under_way, bytes) = (self.under_way.into(), self.bytes);
        self.batches.iter().flat_map(move |batch| {
            Manner::ALL.map(|manner| Load { batch: (*batch).into(), under_way, manner, bytes })
        })
    }

    /// As arguments of another process.
    pub fn arguments(&self) -> Vec<String> {
        let batches: Vec<_> = self.batches.iter().map(ToString::to_string).collect();
        let (batches, under_way) = (batches.join(","), self.under_way);
        vec![
            format!("--batches={batches}"),
            format!("--under-way={under_way}"),
            format!("--bytes={}", self.bytes.name()),
            format!("--only={}", self.only),
        ]
    }
}

/// A cluster that has a leader.
pub trait Cluster {
    /// Commits this many more entries, a whole number of windows, on all replicas, applies them, and
    /// then lets the log begin anew.
    fn run(&mut self, entries: usize);

    /// What each replica has applied since the start.
    fn applied(&self) -> [Applied; REPLICAS];
}

/// Panics unless every replica has applied exactly the first `count` commands, each in its place.
pub fn verify(cluster: &dyn Cluster, count: usize) {
    let expected = Applied::expected(count as u64);
    for applied in cluster.applied() {
        assert_eq!(applied, expected, "every replica applied every entry");
    }
}

/// Commands as they come from a socket: slices of a larger buffer, which nobody copies.
#[derive(Debug)]
pub struct Commands {
    buffer: Bytes,
    next: u64,
}

impl Commands {
    /// From the first one on.
    pub fn new(bytes: CommandBytes) -> Self {
        let command = |number: u64| {
            let mut command = [7; COMMAND_BYTES];
            command[..8].copy_from_slice(&number.to_le_bytes());
            command
        };
        let buffer: Vec<u8> = (0..DISTINCT).flat_map(command).collect();
        let buffer = match bytes {
            CommandBytes::Counted => buffer.into(),
            CommandBytes::Static => Bytes::from_static(buffer.leak()),
        };
        Self { buffer, next: 0 }
    }

    /// The next one.
    pub fn take(&mut self) -> Bytes {
        let at = usize::try_from(self.next % DISTINCT).expect("small") * COMMAND_BYTES;
        self.next += 1;
        self.buffer.slice(at..at + COMMAND_BYTES)
    }
}

/// A state machine: it counts, checks the order, and keeps a running hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Commands applied.
    pub count: u64,
    hash: u64,
}

impl Applied {
    /// Applies a command.
    ///
    /// # Panics
    ///
    /// When it is not the next one.
    pub fn apply(&mut self, command: &[u8]) {
        assert_eq!(command.len(), COMMAND_BYTES, "a command came out as it went in");
        let number = u64::from_le_bytes(*command.first_chunk().expect("longer than eight bytes"));
        assert_eq!(number, self.count % DISTINCT, "commands are applied in the order of proposals");
        self.count += 1;
        self.hash = (self.hash.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// What a replica has applied that was given the first `count` commands.
    fn expected(count: u64) -> Self {
        let mut applied = Self::default();
        let mut commands = Commands::new(CommandBytes::Counted);
        (0..count).for_each(|_| applied.apply(&commands.take()));
        applied
    }
}
