//! Texts to a valid [`Config`]: every rule about values and how they go together.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use consensus::{ClockDrift, MAX_LEARNERS};
use wire::{Member, NodeId, Part};

use super::error::ConfigError;
use super::layer::{Layer, Origin, Raw};
use super::settings::SETTINGS;
use super::{Config, EngineKind, LogFormat, LogLevel, values};
use crate::auth::jwt::Tokens;
use crate::tls::files::{Callers, TlsFiles};

/// More voting nodes make every write slower and survive hardly more.
const MAX_MEMBERS: usize = 9;

/// A cluster that one joins may have learners besides.
const MAX_MEMBERS_JOINED: usize = MAX_MEMBERS + MAX_LEARNERS;

/// A command may hold several values; a frame must hold a command.
const MAX_VALUE_BYTES: u64 = 24 << 20;

/// Smaller commands would refuse transactions that fit otherwise.
const MIN_COMMAND_BYTES: usize = 2 << 20;

/// With so many, the client port gets a thread of its own.
const PROCESSORS_FOR_CLIENT_THREAD: usize = 4;

const DEFAULT_CLIENT_LISTEN: &str = "127.0.0.1:8000";

/// Parses the settings of all sources together.
pub(super) fn resolve(mut merged: Layer) -> Result<Config, ConfigError> {
    let node = NodeId(parse(&merged, "node", values::number)?);
    if node.0 == 0 {
        return Err(refuse(&merged, "node", "node numbers begin at 1"));
    }
    let cluster = optional(&merged, "cluster", values::cluster)?;
    let given = parse(&merged, "members", values::members)?;
    let join = parse(&merged, "join", values::truth)?;
    let witness = parse(&merged, "witness", values::truth)?;
    if witness && !join {
        let what = "a witness joins a cluster that exists: add `join`, as `cairn member add --witness` prints it";
        return Err(refuse(&merged, "witness", what));
    }
    check_members(&merged, node, cluster.as_deref(), &given, join)?;
    let listen = addresses(&mut merged, node, given)?;
    let data_dir = match optional(&merged, "data_dir", |text| Ok(text.to_owned()))? {
        Some(dir) => PathBuf::from(dir),
        None => {
            PathBuf::from(fill(&mut merged, "data_dir", format!("./cairn-data/node-{}", node.0)))
        }
    };
    let tuning = tuning(&merged)?;
    fill_client_threads(&mut merged);
    let segment_bytes = size_within(&merged, "journal_segment", 4 << 20, 1 << 30)?;
    let least_bytes = 2 * (tuning.command_limit_bytes + (64 << 10));
    if segment_bytes < least_bytes || !segment_bytes.is_multiple_of(4096) {
        let what = format!(
            "expected a multiple of 4KiB and at least {}KiB: a segment holds two of the longest command, \
             which is twice max_value",
            least_bytes >> 10
        );
        return Err(refuse(&merged, "journal_segment", &what));
    }
    Ok(Config {
        cluster,
        node,
        data_dir,
        client_listen: listen.client,
        etcd_listen: optional(&merged, "etcd_listen", values::address)?,
        peer_listen: listen.peer,
        client_tls: client_tls(&merged)?,
        peer_tls: peer_tls(&merged)?,
        auth_token: parse(&merged, "auth_token", tokens)?,
        members: listen.members,
        join,
        witness,
        protocol: parse(&merged, "protocol", str::parse)?,
        engine: parse(&merged, "engine", engine)?,
        cache_bytes: size_within(&merged, "cache", 1 << 20, 1 << 40)?,
        segment_bytes,
        connection_limit: count_within(&merged, "connection_limit", 1, 1_000_000)?,
        client_threads: count_within(&merged, "client_threads", 0, 1)?,
        reader_threads: count_within(&merged, "reader_threads", 1, 64)?,
        log_level: parse(&merged, "log_level", log_level)?,
        log_format: parse(&merged, "log_format", log_format)?,
        tuning,
        effective: SETTINGS
            .iter()
            .map(|setting| (setting.name, raw(&merged, setting.name).clone()))
            .collect(),
    })
}

/// With few processors, one thread less to hand over to beats one more to work.
fn fill_client_threads(merged: &mut Layer) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let default = usize::from(processors >= PROCESSORS_FOR_CLIENT_THREAD);
    fill(merged, "client_threads", default.to_string());
}

fn tokens(text: &str) -> Result<Tokens, String> {
    Tokens::parse(text, |ttl| values::duration(ttl).ok())
}

fn tuning(merged: &Layer) -> Result<node::Tuning, ConfigError> {
    let heartbeat = time_within(merged, "heartbeat", 5, 10_000)?;
    let election_timeout = time_within(merged, "election_timeout", 15, 60_000)?;
    if election_timeout < heartbeat * 3 {
        let what = "expected at least three heartbeats, or a leader that lives is deposed";
        return Err(refuse(merged, "election_timeout", what));
    }
    let lease = parse(merged, "lease_reads", lease_reads)?;
    if lease.is_some_and(|drift| drift.surely_within(election_timeout) <= heartbeat) {
        let what = "with clocks that wrong no lease outlasts a heartbeat: expected less, or a longer \
                    election_timeout";
        return Err(refuse(merged, "lease_reads", what));
    }
    let value_limit_bytes = size_within(merged, "max_value", 1 << 10, MAX_VALUE_BYTES)?;
    let command_limit_bytes = (2 * value_limit_bytes).max(MIN_COMMAND_BYTES);
    let at_least_a_command = |name| {
        let limit = size_within(merged, name, 1 << 20, 1 << 40)?;
        if limit >= command_limit_bytes {
            return Ok(limit);
        }
        let what = format!(
            "expected at least {command_limit_bytes} bytes, the longest command (twice max_value)"
        );
        Err(refuse(merged, name, &what))
    };
    let steward = parse(merged, "auto_transfer", values::truth)?.then(node::Pace::default);
    Ok(node::Tuning {
        heartbeat,
        election_timeout,
        lease,
        value_limit_bytes,
        command_limit_bytes,
        inflight_limit_bytes: at_least_a_command("inflight_limit")?,
        waiting_limit: count_within(merged, "request_limit", 16, 1_000_000)?,
        unflushed_limit_bytes: at_least_a_command("unflushed_limit")?,
        log_retain_bytes: at_least_a_command("log_retain")?,
        retain_revisions: parse(merged, "retain_revisions", values::number)?,
        steward,
        ..node::Tuning::default()
    })
}

fn check_members(
    merged: &Layer,
    node: NodeId,
    cluster: Option<&str>,
    members: &[Member],
    join: bool,
) -> Result<(), ConfigError> {
    if join && members.len() < 2 {
        let what = "expected this node in `members`, and at least one of the cluster that it joins";
        return Err(refuse(merged, "join", what));
    }
    if members.is_empty() {
        return Ok(());
    }
    let refuse = |what: String| Err(refuse(merged, "members", &what));
    let most = if join { MAX_MEMBERS_JOINED } else { MAX_MEMBERS };
    if members.len() > most {
        return refuse(format!("expected at most {most} nodes"));
    }
    if !members.iter().any(|member| member.node == node) {
        return refuse(format!("node {} is not among them; set `node`, or add it", node.0));
    }
    let mut nodes = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    for member in members {
        if !nodes.insert(member.node) {
            return refuse(format!("node {} stands there twice", member.node.0));
        }
        for address in [&member.client_address, &member.peer_address] {
            if !addresses.insert(address) {
                return refuse(format!(
                    "{address} stands there twice; every port needs its own address"
                ));
            }
        }
    }
    if members.len() > 1 && cluster.is_none() {
        return Err(ConfigError::Contradiction {
            what: "a cluster of several nodes needs a name: set `cluster`, the same on every node"
                .into(),
        });
    }
    Ok(())
}

struct Listen {
    client: String,
    peer: Option<String>,
    members: Vec<Member>,
}

/// Which ports to open, and the list of members, which is never empty.
fn addresses(merged: &mut Layer, node: NodeId, given: Vec<Member>) -> Result<Listen, ConfigError> {
    let client = optional(merged, "client_listen", values::address)?;
    let advertise = optional(merged, "client_advertise", values::address)?;
    let peer = optional(merged, "peer_listen", values::address)?;
    if given.is_empty() {
        let client = client
            .unwrap_or_else(|| fill(merged, "client_listen", DEFAULT_CLIENT_LISTEN.to_owned()));
        let client_address =
            advertise.unwrap_or_else(|| fill(merged, "client_advertise", client.clone()));
        if peer.is_some() {
            let what = "this node is alone and opens no peer port; name all nodes in `members`";
            return Err(refuse(merged, "peer_listen", what));
        }
        let members = vec![Member {
            node,
            client_address,
            peer_address: String::new(),
            part: Part::Voter,
            priority: Member::DEFAULT_PRIORITY,
        }];
        return Ok(Listen { client, peer: None, members });
    }
    let own = given.iter().find(|member| member.node == node).expect("checked: it is a member");
    if advertise.is_some_and(|address| address != own.client_address) {
        let what = format!("`members` says {}; leave one of them out", own.client_address);
        return Err(refuse(merged, "client_advertise", &what));
    }
    fill(merged, "client_advertise", own.client_address.clone());
    let client =
        client.unwrap_or_else(|| fill(merged, "client_listen", own.client_address.clone()));
    // Even if it is the only one: others may join.
    let peer = peer.unwrap_or_else(|| fill(merged, "peer_listen", own.peer_address.clone()));
    Ok(Listen { client, peer: Some(peer), members: given })
}

fn path(merged: &Layer, name: &'static str) -> Result<Option<PathBuf>, ConfigError> {
    optional(merged, name, |text| Ok(PathBuf::from(text)))
}

/// The client port's certificate, and whether its callers show one.
fn client_tls(merged: &Layer) -> Result<Option<TlsFiles>, ConfigError> {
    let cert = path(merged, "client_tls_cert")?;
    let key = path(merged, "client_tls_key")?;
    let ca = path(merged, "client_tls_ca")?;
    let demanded = parse(merged, "client_tls_auth", values::truth)?;
    let callers = match (ca, demanded) {
        (None, false) => Callers::Unknown,
        (Some(ca), false) => Callers::MayShow(ca),
        (Some(ca), true) => Callers::MustShow(ca),
        (None, true) => {
            let what =
                "expected client_tls_ca beside it: the CAs that may have signed what clients show";
            return Err(refuse(merged, "client_tls_auth", what));
        }
    };
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key, callers })),
        (None, None) if callers == Callers::Unknown => Ok(None),
        _ => Err(ConfigError::Contradiction {
            what: "TLS for clients needs client_tls_cert and client_tls_key, both; client_tls_ca alone \
                   does not switch it on"
                .into(),
        }),
    }
}

/// The certificate that the nodes show each other: always in both directions.
fn peer_tls(merged: &Layer) -> Result<Option<TlsFiles>, ConfigError> {
    let cert = path(merged, "peer_tls_cert")?;
    let key = path(merged, "peer_tls_key")?;
    let ca = path(merged, "peer_tls_ca")?;
    match (cert, key, ca) {
        (Some(cert), Some(key), Some(ca)) => {
            Ok(Some(TlsFiles { cert, key, callers: Callers::MustShow(ca) }))
        }
        (None, None, None) => Ok(None),
        _ => Err(ConfigError::Contradiction {
            what:
                "TLS among the nodes needs peer_tls_cert, peer_tls_key and peer_tls_ca, all three"
                    .into(),
        }),
    }
}

/// `off`, or by how much clocks may be wrong: `1%`, `0.5%`.
fn lease_reads(text: &str) -> Result<Option<ClockDrift>, String> {
    if text == "off" {
        return Ok(None);
    }
    let wrong = || "expected off, or from 0.1% to 50%".to_owned();
    let percent = text.strip_suffix('%').ok_or_else(wrong)?;
    let (whole, tenths) = percent.split_once('.').unwrap_or((percent, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(tenths) || tenths.len() != 1 {
        return Err(wrong());
    }
    let thousandths: u16 = format!("{whole}{tenths}").parse().map_err(|_| wrong())?;
    ClockDrift::per_mille(thousandths).map(Some).ok_or_else(wrong)
}

fn engine(text: &str) -> Result<EngineKind, String> {
    match text {
        "disk" => Ok(EngineKind::Disk),
        "memory" => Ok(EngineKind::Memory),
        _ => Err("expected disk or memory".to_owned()),
    }
}

fn log_level(text: &str) -> Result<LogLevel, String> {
    match text {
        "error" => Ok(LogLevel::Error),
        "warn" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        _ => Err("expected error, warn, info or debug".to_owned()),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("expected text or json".to_owned()),
    }
}

fn raw<'a>(merged: &'a Layer, name: &'static str) -> &'a Raw {
    merged.get(name).expect("the defaults name every setting")
}

fn refuse(merged: &Layer, name: &'static str, what: &str) -> ConfigError {
    ConfigError::value(name, raw(merged, name), what)
}

fn parse<T>(
    merged: &Layer,
    name: &'static str,
    parser: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    let raw = raw(merged, name);
    parser(&raw.text).map_err(|what| ConfigError::value(name, raw, what))
}

/// `None` if nobody set it. An empty text that somebody set is a wrong value.
fn optional<T>(
    merged: &Layer,
    name: &'static str,
    parser: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    if raw(merged, name).origin == Origin::Default {
        return Ok(None);
    }
    if raw(merged, name).text.is_empty() {
        return Err(refuse(merged, name, "it is empty; leave it out instead"));
    }
    parse(merged, name, parser).map(Some)
}

/// Writes down a default that follows from other settings.
fn fill(merged: &mut Layer, name: &'static str, text: String) -> String {
    let raw = merged.get_mut(name).expect("the defaults name every setting");
    if raw.origin == Origin::Default {
        raw.text.clone_from(&text);
    }
    text
}

fn size_within(
    merged: &Layer,
    name: &'static str,
    least: u64,
    most: u64,
) -> Result<usize, ConfigError> {
    let size = parse(merged, name, values::size)?;
    within(merged, name, size, least, most, "bytes")
}

fn count_within(
    merged: &Layer,
    name: &'static str,
    least: u64,
    most: u64,
) -> Result<usize, ConfigError> {
    let count = parse(merged, name, values::number)?;
    within(merged, name, count, least, most, "")
}

fn time_within(
    merged: &Layer,
    name: &'static str,
    least_ms: u64,
    most_ms: u64,
) -> Result<Duration, ConfigError> {
    let time = parse(merged, name, values::duration)?;
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    within(merged, name, ms, least_ms, most_ms, "ms").map(|_| time)
}

fn within(
    merged: &Layer,
    name: &'static str,
    value: u64,
    least: u64,
    most: u64,
    unit: &str,
) -> Result<usize, ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(usize::try_from(value).expect("checked above to be small"));
    }
    let what = format!("expected {least} to {most} {unit}");
    Err(refuse(merged, name, what.trim_end()))
}
