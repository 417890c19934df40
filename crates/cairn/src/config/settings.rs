//! The table of settings. `docs/configuration.md` is checked against it.

/// One setting.
pub(super) struct Setting {
    /// Its name in the file; the others follow from it.
    pub(super) name: &'static str,
    /// What a value looks like.
    pub(super) form: &'static str,
    /// Its value when nobody sets it; empty if that follows from other settings.
    pub(super) default: &'static str,
    /// What it means, and when to change it.
    pub(super) help: &'static str,
}

impl Setting {
    /// `--max-value`
    pub(super) fn flag(&self) -> String {
        if self.name == "members" { "member".to_owned() } else { self.name.replace('_', "-") }
    }

    /// `CAIRN_MAX_VALUE`
    pub(super) fn variable(&self) -> String {
        format!("CAIRN_{}", self.name.to_uppercase())
    }

    /// The table's row with this name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }
}

const fn setting(
    name: &'static str,
    form: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting { name, form, default, help }
}

/// Every setting of a node.
pub(super) const SETTINGS: &[Setting] = &[
    setting(
        "cluster",
        "NAME",
        "",
        "The cluster's name: 1 to 64 letters, digits, `.`, `_` or `-`. Nodes of other clusters are refused. \
         A node that is alone may leave it out: the first start draws one and keeps it in the data directory",
    ),
    setting("node", "NUMBER", "1", "This node's number, from 1 on. It must be one of `members`"),
    setting(
        "data_dir",
        "DIR",
        "",
        "Where this node keeps its data; no other node may use it. Without it: ./cairn-data/node-NUMBER",
    ),
    setting(
        "client_listen",
        "HOST:PORT",
        "",
        "Where to listen for clients, for HTTP, gRPC and frames alike. Without it: this node's `client` address \
         in `members`, or 127.0.0.1:8000 for a node that is alone, which only this machine can reach",
    ),
    setting(
        "client_advertise",
        "HOST:PORT",
        "",
        "Where clients reach this node, if it is alone and not what it listens on. In a cluster \
         `members` says it",
    ),
    setting(
        "etcd_listen",
        "HOST:PORT",
        "",
        "A further port for clients, with all that the first one speaks: where etcd's are used to find it, \
         such as 127.0.0.1:2379. Without it there is none",
    ),
    setting(
        "peer_listen",
        "HOST:PORT",
        "",
        "Where to listen for other nodes. Without it: this node's `peer` address in `members`. A node \
         without `members` opens no peer port",
    ),
    setting(
        "client_tls_cert",
        "FILE",
        "",
        "The certificate of the client port, in PEM, with those between it and its CA; the port then speaks \
         TLS and nothing else. Files that change are read anew within seconds",
    ),
    setting("client_tls_key", "FILE", "", "Its private key, in PEM, without a password"),
    setting(
        "client_tls_ca",
        "FILE",
        "",
        "CAs that may have signed the certificates of clients, in PEM. A client may show one then, and \
         one that none of them has signed is refused",
    ),
    setting(
        "client_tls_auth",
        "true|false",
        "false",
        "Whether every client must show a certificate; needs `client_tls_ca`",
    ),
    setting(
        "peer_tls_cert",
        "FILE",
        "",
        "The certificate with which this node calls the others and is called by them, in PEM. It must be for \
         the host in its `peer` address and for both uses (serverAuth and clientAuth). All nodes speak TLS \
         among themselves, or none",
    ),
    setting("peer_tls_key", "FILE", "", "Its private key, in PEM, without a password"),
    setting(
        "peer_tls_ca",
        "FILE",
        "",
        "CAs that may have signed the certificates of nodes, in PEM. Who has none of them is no node",
    ),
    setting(
        "auth_token",
        "FORM",
        "simple",
        "Which tokens users get who have proven their password, the same on every node: `simple`, or \
         `jwt,sign-method=RS256,priv-key=FILE,ttl=5m` with HS256, ES256 and others for RS256",
    ),
    setting(
        "members",
        "N=CLIENT@PEER",
        "",
        "Every node with which the cluster begins, this one included: its number, where clients reach it and \
         where nodes reach it, as in 1=10.0.0.1:8000@10.0.0.1:9000. The same on every node at the first \
         start. Separate several by commas, or repeat the flag",
    ),
    setting(
        "join",
        "true|false",
        "false",
        "Whether this node joins a cluster that exists, as `cairn member add` prints it: `members` then names \
         this node, with the number that it was given, and at least one that is there. Looked at only as long \
         as the data directory is empty",
    ),
    setting(
        "witness",
        "true|false",
        "false",
        "Whether this node joins as a witness, as `cairn member add --witness` prints it: it votes and keeps the \
         log, and has no data. Looked at only as long as the data directory is empty",
    ),
    setting(
        "protocol",
        "raft|paxos|zab",
        "raft",
        "By which consensus protocol the cluster keeps its log: the same on every node, and for ever. \
         `docs/protocols.md` compares them",
    ),
    setting(
        "engine",
        "disk|memory",
        "disk",
        "Where state is kept. `memory` needs room for all of it; the journal stays on disk, and a node that \
         starts anew fetches or replays the state",
    ),
    setting(
        "max_value",
        "SIZE",
        "8MiB",
        "The longest value that is taken; at most 24MiB. Large values cost every node memory",
    ),
    setting(
        "inflight_limit",
        "SIZE",
        "64MiB",
        "Writes taken and not yet answered. Beyond it writes are refused as busy",
    ),
    setting(
        "request_limit",
        "NUMBER",
        "16384",
        "Requests that wait for an answer, watches included. Beyond it requests are refused as busy",
    ),
    setting(
        "unflushed_limit",
        "SIZE",
        "96MiB",
        "State applied and not yet flushed. Beyond it writes are refused as busy; raise it if the disk is \
         slow in bursts",
    ),
    setting(
        "log_retain",
        "SIZE",
        "32MiB",
        "Log entries kept in memory for nodes that lag. A node that lags more fetches a snapshot",
    ),
    setting(
        "retain_revisions",
        "NUMBER",
        "100000",
        "Revisions that stay readable before the newest, for past reads and for watches that resume",
    ),
    setting(
        "heartbeat",
        "TIME",
        "100ms",
        "A leader's sign of life. Longer between distant sites: at least the round trip",
    ),
    setting(
        "election_timeout",
        "TIME",
        "600ms",
        "A node that hears nothing for this long asks for an election; at least three heartbeats. \
         Shorter notices a dead leader sooner, longer forgives a slow disk or network",
    ),
    setting(
        "lease_reads",
        "off|PERCENT",
        "off",
        "By how much clocks may run wrong, such as 1%, where a leader serves linearizable reads without asking \
         the others, by a lease. While a clock is more wrong than that, reads may be stale; nothing else may. \
         For reads it must be set on most nodes. A node has to be down for an `election_timeout` before it \
         starts with it off, or with a shorter timeout",
    ),
    setting(
        "auto_transfer",
        "true|false",
        "true",
        "Whether this node, while it leads, hands leadership over by itself: to a node of higher priority, or \
         to one that is five times as fast where its own disk or processor is slow. \
         `docs/operations.md` says more",
    ),
    setting(
        "cache",
        "SIZE",
        "64MiB",
        "Blocks of the storage engine kept in memory. More makes reads of cold keys cheaper",
    ),
    setting(
        "journal_segment",
        "SIZE",
        "64MiB",
        "One file of the journal; two or three exist at a time. It must hold two of the longest \
         command, which is twice `max_value`",
    ),
    setting(
        "connection_limit",
        "NUMBER",
        "4096",
        "Connections on the client port. Beyond it new ones are closed at once. Mind the limit on open files",
    ),
    setting(
        "client_threads",
        "NUMBER",
        "",
        "Threads that serve the client port: 1, or 0 to let the node's own thread do it, which saves every \
         request two hand-overs. Without it: 1 with four processors or more, else 0",
    ),
    setting(
        "reader_threads",
        "NUMBER",
        "1",
        "Threads that run reads; at most 64. More for many cores",
    ),
    setting(
        "log_level",
        "LEVEL",
        "info",
        "error, warn, info or debug. A steady cluster is silent at info",
    ),
    setting("log_format", "FORM", "text", "text or json, on stderr"),
];
