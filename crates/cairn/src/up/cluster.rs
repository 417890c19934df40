//! What a cluster on this machine is: its name, its size, its ports. Pure: text in, text out.

use std::fmt::Write;

use consensus::Protocol;
use serde::Deserialize;

use super::EngineKind;
use super::tls::node_name;
use crate::config::check_cluster_name;

/// More than this is no cluster for one machine; and peer ports must not meet client ports.
pub(crate) const MAX_NODES: u16 = 9;

/// Peer ports stand this far above client ports.
const PEER_PORT_OFFSET: u16 = 1000;

const DEFAULT_NODES: u16 = 3;
const DEFAULT_BASE_PORT: u16 = 8001;

/// A cluster on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// Its name: no node of another cluster is let in.
    pub(crate) name: String,
    /// How many nodes, numbered from 1.
    pub(crate) nodes: u16,
    /// Client port of node 1.
    pub(crate) base_port: u16,
    /// By which protocol they keep the log.
    pub(crate) protocol: Protocol,
    /// Where the nodes keep the store.
    pub(crate) engine: EngineKind,
    /// Whether it speaks TLS.
    pub(crate) tls: bool,
}

/// What the command line asks for; `None` takes what is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// How many nodes.
    pub(crate) nodes: Option<u16>,
    /// Client port of node 1.
    pub(crate) base_port: Option<u16>,
    /// By which protocol they keep the log.
    pub(crate) protocol: Option<Protocol>,
    /// Where the nodes keep the store.
    pub(crate) engine: Option<EngineKind>,
    /// Whether it speaks TLS.
    pub(crate) tls: Option<bool>,
}

/// `cluster.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterToml {
    cluster: String,
    nodes: u16,
    base_port: u16,
    engine: String,
    /// Absent in files of release 0.1, which knew only Raft.
    protocol: Option<String>,
    /// Absent in files of release 0.1.
    #[serde(default)]
    tls: bool,
    #[expect(dead_code, reason = "for people, and for releases to come")]
    version: String,
}

impl Cluster {
    /// A new cluster; `chance` makes its name unlike all others.
    pub(crate) fn new(wanted: &Wanted, chance: u128) -> Result<Self, String> {
        let cluster = Self {
            name: format!("up-{:012x}", chance & 0xffff_ffff_ffff),
            nodes: wanted.nodes.unwrap_or(DEFAULT_NODES),
            base_port: wanted.base_port.unwrap_or(DEFAULT_BASE_PORT),
            protocol: wanted.protocol.unwrap_or_default(),
            engine: wanted.engine.unwrap_or(EngineKind::Disk),
            tls: wanted.tls.unwrap_or(false),
        };
        cluster.check_ports()?;
        Ok(cluster)
    }

    /// The cluster that is there already, if it is of the form that is wanted. Ports may change, and
    /// whether TLS is spoken: no data hangs on them.
    pub(crate) fn resume(mut self, wanted: &Wanted) -> Result<Self, String> {
        if let Some(nodes) = wanted.nodes.filter(|&nodes| nodes != self.nodes) {
            return Err(format!("it holds a cluster of {} nodes, not of {nodes}", self.nodes));
        }
        if let Some(engine) = wanted.engine.filter(|&engine| engine != self.engine) {
            let (there, name) = (self.engine.name(), engine.name());
            return Err(format!("it holds a cluster with --engine {there}, not {name}"));
        }
        if let Some(protocol) = wanted.protocol.filter(|&protocol| protocol != self.protocol) {
            let there = self.protocol;
            return Err(format!("it holds a cluster with --protocol {there}, not {protocol}"));
        }
        self.base_port = wanted.base_port.unwrap_or(self.base_port);
        self.tls = wanted.tls.unwrap_or(self.tls);
        self.check_ports()?;
        Ok(self)
    }

    fn check_ports(&self) -> Result<(), String> {
        let highest =
            u32::from(self.base_port) + u32::from(PEER_PORT_OFFSET) + u32::from(self.nodes) - 1;
        if self.base_port == 0 || highest > u32::from(u16::MAX) {
            let (base, limit) = (self.base_port, u16::MAX - PEER_PORT_OFFSET - self.nodes + 1);
            return Err(format!("--base-port {base} leaves no room: 1 to {limit} does"));
        }
        Ok(())
    }

    /// The numbers of its nodes.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u16> + use<> {
        1..=self.nodes
    }

    /// Client port of a node.
    pub(crate) fn client_port(&self, node: u16) -> u16 {
        assert!((1..=self.nodes).contains(&node), "node {node} is not of this cluster");
        self.base_port + node - 1
    }

    /// Peer port of a node.
    pub(crate) fn peer_port(&self, node: u16) -> u16 {
        self.client_port(node) + PEER_PORT_OFFSET
    }

    /// Where clients reach a node.
    pub(crate) fn client_address(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.client_port(node))
    }

    /// Where the other nodes reach a node.
    pub(crate) fn peer_address(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.peer_port(node))
    }

    /// The text of `cluster.toml`.
    pub(crate) fn to_toml(&self) -> String {
        format!(
            "# Written by `cairn up`, which refuses to start another cluster here.\n\
             cluster = {:?}\nnodes = {}\nbase_port = {}\nprotocol = {:?}\nengine = {:?}\ntls = {}\nversion = {:?}\n",
            self.name,
            self.nodes,
            self.base_port,
            self.protocol.name(),
            self.engine.name(),
            self.tls,
            env!("CARGO_PKG_VERSION"),
        )
    }

    /// Reads `cluster.toml`.
    pub(crate) fn from_toml(text: &str) -> Result<Self, String> {
        let toml: ClusterToml = toml::from_str(text).map_err(|error| error.to_string())?;
        if !(1..=MAX_NODES).contains(&toml.nodes) {
            return Err(format!("nodes = {}; 1 to {MAX_NODES} are possible", toml.nodes));
        }
        let engine = EngineKind::parse(&toml.engine)
            .ok_or_else(|| format!("engine = {:?}; \"disk\" and \"memory\" exist", toml.engine))?;
        let protocol = match &toml.protocol {
            None => Protocol::Raft,
            Some(name) => name.parse().map_err(|what| format!("protocol = {name:?}; {what}"))?,
        };
        let name = check_cluster_name(&toml.cluster)
            .map_err(|what| format!("cluster = {:?}; {what}", toml.cluster))?;
        let (nodes, base_port, tls) = (toml.nodes, toml.base_port, toml.tls);
        Ok(Self { name, nodes, base_port, protocol, engine, tls })
    }

    /// The configuration of a node, its data in `data_dir`, its certificates in `tls_dir`.
    pub(crate) fn node_toml(&self, node: u16, data_dir: &str, tls_dir: &str) -> String {
        let mut text = format!(
            "# Written by `cairn up` at each start: changes are lost.\n\
             cluster = {:?}\nnode = {node}\ndata_dir = {}\nclient_listen = {:?}\n\
             peer_listen = {:?}\nprotocol = {:?}\nengine = {:?}\n",
            self.name,
            toml_string(data_dir),
            self.client_address(node),
            self.peer_address(node),
            self.protocol.name(),
            self.engine.name(),
        );
        if self.tls {
            let file = |name: &str| toml_string(&format!("{tls_dir}/{name}"));
            let own = node_name(node);
            let (cert, key) = (file(&format!("{own}.crt")), file(&format!("{own}.key")));
            for port in ["client", "peer"] {
                // Writing to a string can't fail.
                let _ = write!(
                    text,
                    "{port}_tls_cert = {cert}\n{port}_tls_key = {key}\n{port}_tls_ca = {}\n",
                    file("ca.crt")
                );
            }
            text += "client_tls_auth = true\n";
        }
        for member in self.numbers() {
            let (client, peer) = (self.client_address(member), self.peer_address(member));
            // Writing to a string can't fail.
            let _ = write!(
                text,
                "\n[[members]]\nnode = {member}\nclient = {client:?}\npeer = {peer:?}\n"
            );
        }
        text
    }
}

/// A basic string of TOML. Rust's own form differs where a character must be escaped.
fn toml_string(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(nodes: u16) -> Wanted {
        Wanted { nodes: Some(nodes), ..Wanted::default() }
    }

    #[test]
    fn a_new_cluster_has_three_nodes_and_a_name_of_its_own() {
        let cluster = Cluster::new(&Wanted::default(), 0xabcd).unwrap();
        assert_eq!((cluster.nodes, cluster.name.as_str()), (3, "up-00000000abcd"));
        assert_eq!(cluster.client_address(1), "127.0.0.1:8001");
        assert_eq!(cluster.peer_address(3), "127.0.0.1:9003");
    }

    #[test]
    fn the_file_brings_the_cluster_back() {
        let cluster = Cluster::new(&wanted(5), 7).unwrap();
        assert_eq!(Cluster::from_toml(&cluster.to_toml()), Ok(cluster.clone()));
        // Written before there was TLS.
        let old = cluster.to_toml().replace("tls = false\n", "");
        assert_eq!(Cluster::from_toml(&old), Ok(cluster));
    }

    #[test]
    fn a_damaged_file_is_refused_in_words() {
        let good = Cluster::new(&wanted(3), 7).unwrap().to_toml();
        for (from, to, words) in [
            ("nodes = 3", "nodes = 30", "1 to 9"),
            ("nodes = 3", "nodes = \"x\"", "nodes"),
            ("\"disk\"", "\"tape\"", "tape"),
            ("\"up-", "\"up -", "letters"),
            ("nodes", "knots", "knots"),
        ] {
            let why = Cluster::from_toml(&good.replacen(from, to, 1)).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn another_shape_is_refused_and_other_ports_are_not() {
        let cluster = Cluster::new(&wanted(3), 7).unwrap();
        assert!(cluster.clone().resume(&wanted(5)).unwrap_err().contains("3 nodes, not of 5"));
        let memory = Wanted { engine: Some(EngineKind::Memory), ..Wanted::default() };
        assert!(cluster.clone().resume(&memory).is_err());
        let moved = Wanted { base_port: Some(7001), ..Wanted::default() };
        assert_eq!(cluster.clone().resume(&moved).unwrap().client_port(2), 7002);
        let secure = Wanted { tls: Some(true), ..Wanted::default() };
        let secure = cluster.clone().resume(&secure).unwrap();
        assert!(secure.clone().resume(&Wanted::default()).unwrap().tls, "it is remembered");
        assert!(!secure.resume(&Wanted { tls: Some(false), ..Wanted::default() }).unwrap().tls);
        assert_eq!(cluster.clone().resume(&Wanted::default()), Ok(cluster));
    }

    #[test]
    fn ports_must_have_room() {
        for (base_port, fits) in [(0, false), (1, true), (64_533, true), (64_534, false)] {
            let wanted = Wanted { base_port: Some(base_port), ..Wanted::default() };
            assert_eq!(Cluster::new(&wanted, 7).is_ok(), fits, "{base_port}");
        }
    }

    #[test]
    fn strings_are_toml_strings() {
        #[derive(Deserialize)]
        struct Holder {
            text: String,
        }
        let odd = "a\"b\\c\td\u{1}é";
        let holder: Holder = toml::from_str(&format!("text = {}", toml_string(odd))).unwrap();
        assert_eq!(holder.text, odd);
    }
}
