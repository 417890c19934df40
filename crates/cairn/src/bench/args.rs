//! What is to be measured: as it is written on the command line, and as it is carried out.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};

use super::chance::{Keys, Values};
use crate::cli::{Failure, units};

/// Connections, unless told otherwise: what a program with a pool would have.
const CONNECTIONS: u32 = 16;

/// How long a lease lives that is granted or kept alive: longer than a run.
pub(super) const LEASE_TTL: Duration = Duration::from_mins(5);

/// A watcher's events carry the time of their writing.
pub(super) const STAMP_BYTES: usize = 8;

const EXAMPLE: &str = "\
Without --rate each client does one operation after the other (a closed loop). With it, operations
start at fixed times, and latencies count from there, whether or not a client was free (an open loop).

For put, mixed, cas and lease-grant the disk's own fdatasync is measured first, in --disk-dir: with one log, and
with three at once, for so many share the disk when a cluster runs on one machine.

Examples:
  cairn bench put --clients 1,16,64,256
  cairn bench put --keys 2000000 --fill --order random
  cairn bench get --consistency eventual
  cairn bench mixed --read-percent 90 --rate 5000
  cairn bench watch --watchers 100 --clients 1 --rate 100
  cairn bench put --server-pids $(pgrep -d, -f 'cairn serve') --output json
  cairn bench get --api etcd --endpoints 127.0.0.1:2379";

/// `cairn bench`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct BenchArgs {
    /// What to do
    #[arg(value_enum)]
    workload: Workload,
    /// What the nodes speak; with etcd, any endpoints that speak its API can be measured
    #[arg(long, value_enum, default_value_t)]
    api: Api,
    /// How many do it at once; several numbers are measured in turn
    #[arg(long, default_value = "64", value_delimiter = ',', value_name = "NUMBERS")]
    #[arg(value_parser = value_parser!(u32).range(1..=16_384))]
    clients: Vec<u32>,
    /// Operations that start each second (an open loop)
    #[arg(long, value_parser = value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// How long to measure, as 500ms, 5s or 2m
    #[arg(long, default_value = "5s", value_parser = units::duration)]
    duration: Duration,
    /// How long to go on before that without counting
    #[arg(long, default_value = "1s", value_parser = units::duration)]
    warmup: Duration,
    /// Length of a value in bytes
    #[arg(long, default_value_t = 256, value_name = "BYTES")]
    value_size: usize,
    /// How many keys there are; each operation draws one
    #[arg(long, default_value_t = 20_000, value_parser = value_parser!(u64).range(1..=100_000_000))]
    keys: u64,
    /// Write every key once before, and say how long it took; what reads keys does so anyway
    #[arg(long)]
    fill: bool,
    /// In which order keys are written before
    #[arg(long, value_enum, default_value_t)]
    order: Order,
    /// Length of a key in bytes
    #[arg(long, default_value_t = 23, value_name = "BYTES")]
    key_size: usize,
    /// What all keys begin with
    #[arg(long, default_value = "bench/")]
    prefix: String,
    /// Connections that the clients share; as many as clients, but 16 at most
    #[arg(long, value_parser = value_parser!(u32).range(1..=1024))]
    connections: Option<u32>,
    /// What reads promise
    #[arg(long, value_enum, default_value_t)]
    consistency: Level,
    /// How many of 100 operations of `mixed` are reads
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u32).range(0..=100))]
    read_percent: u32,
    /// How many keys one `scan` reads
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..))]
    scan_items: u32,
    /// How many watch what `watch` writes
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=8192))]
    watchers: u32,
    /// Directory on the disk to measure; the working directory for put, mixed and cas
    #[arg(long, value_name = "DIR", conflicts_with = "no_disk")]
    disk_dir: Option<PathBuf>,
    /// Leave the disk alone
    #[arg(long)]
    no_disk: bool,
    /// Process ids of the nodes, if they run on this machine: their processor time is shown
    #[arg(long, value_delimiter = ',', value_name = "PIDS")]
    server_pids: Vec<u32>,
}

/// What to do again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Workload {
    /// Give a random key a random value.
    Put,
    /// Read a random key.
    Get,
    /// Both, by chance.
    Mixed,
    /// Read some keys from a random one on.
    Scan,
    /// Write what many watch; measure when they see it.
    Watch,
    /// Change a key if nobody else did meanwhile.
    Cas,
    /// Grant a lease.
    LeaseGrant,
    /// Keep a lease alive, each client one of its own.
    LeaseKeepAlive,
}

/// What the nodes speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Api {
    /// Cairn's own protocol.
    #[default]
    Native,
    /// etcd's version 3 API, by gRPC.
    Etcd,
}

impl Api {
    /// As the command line calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Etcd => "etcd",
        }
    }
}

impl Workload {
    /// As the command line calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Mixed => "mixed",
            Self::Scan => "scan",
            Self::Watch => "watch",
            Self::Cas => "cas",
            Self::LeaseGrant => "lease-grant",
            Self::LeaseKeepAlive => "lease-keep-alive",
        }
    }

    /// Whether the keys have to be there.
    fn reads_keys(self) -> bool {
        match self {
            Self::Get | Self::Mixed | Self::Scan | Self::Cas => true,
            Self::Put | Self::Watch | Self::LeaseGrant | Self::LeaseKeepAlive => false,
        }
    }

    /// Whether its answers wait for the disk.
    fn is_bound_by_the_disk(self) -> bool {
        match self {
            Self::Put | Self::Mixed | Self::Cas | Self::LeaseGrant => true,
            Self::Get | Self::Scan | Self::Watch | Self::LeaseKeepAlive => false,
        }
    }
}

/// In which order keys are written before a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    /// From the first to the last: the easy case for a store of sorted keys.
    #[default]
    Sequential,
    /// Each once, all over the place.
    Random,
}

impl Order {
    /// As the command line calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Random => "random",
        }
    }
}

/// What reads promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Level {
    /// To see every acknowledged write.
    #[default]
    Linearizable,
    /// To see the own writes, and never to go back in time.
    Session,
    /// Whatever the asked node has.
    Eventual,
}

impl Level {
    /// As the command line calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Session => "session",
            Self::Eventual => "eventual",
        }
    }
}

/// What is to be measured, checked.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) workload: Workload,
    pub(super) api: Api,
    /// Measured in turn.
    pub(super) clients: Vec<u32>,
    pub(super) rate: Option<u32>,
    pub(super) duration: Duration,
    pub(super) warmup: Duration,
    pub(super) keys: Keys,
    /// How every key is written once before; `None` if they are not.
    pub(super) fill: Option<Order>,
    pub(super) values: Values,
    pub(super) value_bytes: usize,
    pub(super) level: Level,
    pub(super) read_percent: u32,
    pub(super) scan_items: u32,
    pub(super) watchers: u32,
    /// The disk to measure.
    pub(super) disk_dir: Option<PathBuf>,
    pub(super) server_pids: Vec<u32>,
    connections: Option<u32>,
}

impl BenchArgs {
    /// What these ask for.
    pub(super) fn plan(self) -> Result<Plan, Failure> {
        let keys = Keys::new(&self.prefix, self.key_size, self.keys).map_err(Failure::usage)?;
        if self.workload == Workload::Watch && self.value_size < STAMP_BYTES {
            let why = format!("watch needs values of {STAMP_BYTES} bytes at least");
            return Err(Failure::usage(why));
        }
        let fill = (self.fill || self.workload.reads_keys()).then_some(self.order);
        let here = || self.workload.is_bound_by_the_disk().then(|| PathBuf::from("."));
        let disk_dir = if self.no_disk { None } else { self.disk_dir.or_else(here) };
        Ok(Plan {
            workload: self.workload,
            api: self.api,
            clients: self.clients,
            rate: self.rate,
            duration: self.duration,
            warmup: self.warmup,
            keys,
            fill,
            values: Values::new(self.value_size),
            value_bytes: self.value_size,
            level: self.consistency,
            read_percent: self.read_percent,
            scan_items: self.scan_items,
            watchers: self.watchers,
            disk_dir,
            server_pids: self.server_pids,
            connections: self.connections,
        })
    }
}

impl Plan {
    /// How many connections so many clients share.
    pub(super) fn connections(&self, clients: u32) -> u32 {
        self.connections.unwrap_or(CONNECTIONS).min(clients)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn plan(line: &str) -> Result<Plan, Failure> {
        let words = std::iter::once("bench").chain(line.split(' '));
        Line::try_parse_from(words).map_err(|e| Failure::usage(e.to_string()))?.args.plan()
    }

    #[test]
    fn several_numbers_of_clients_are_measured_in_turn_over_a_pool() {
        let plan = plan("put --clients 1,64").unwrap();
        assert_eq!(plan.clients, [1, 64]);
        assert_eq!((plan.connections(1), plan.connections(64)), (1, 16));
    }

    #[test]
    fn the_disk_is_measured_where_answers_wait_for_it() {
        assert_eq!(plan("put").unwrap().disk_dir, Some(PathBuf::from(".")));
        assert_eq!(plan("get").unwrap().disk_dir, None);
        assert_eq!(plan("get --disk-dir x").unwrap().disk_dir, Some(PathBuf::from("x")));
        assert_eq!(plan("put --no-disk").unwrap().disk_dir, None);
    }

    #[test]
    fn keys_are_written_before_if_somebody_reads_them_or_asks_for_it() {
        assert_eq!(plan("get").unwrap().fill, Some(Order::Sequential));
        assert_eq!(plan("put").unwrap().fill, None);
        assert_eq!(plan("put --fill --order random").unwrap().fill, Some(Order::Random));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let wrong = [
            "fly",
            "put --clients 0",
            "put --rate 0",
            "mixed --read-percent 101",
            "put --key-size 7",
            "put --key-size 9000",
            "watch --value-size 7",
            "put --keys 0",
            "put --order backwards",
        ];
        for line in wrong {
            assert_eq!(plan(line).unwrap_err().code, "usage", "{line}");
        }
    }
}
