//! Whether the ports of a cluster are free: looked at before any node is started, so that a cluster
//! comes up whole or not at all.

use std::io::ErrorKind;
use std::net::TcpListener;

use super::cluster::Cluster;
use crate::cli::Failure;

/// Refuses if any port is in use, naming the first.
pub(crate) fn check(cluster: &Cluster) -> Result<(), Failure> {
    // All are held until all are looked at, so that no port is counted twice.
    let mut held = Vec::new();
    for node in cluster.numbers() {
        let client = (cluster.client_port(node), "client");
        let peer = (cluster.peer_port(node), "peer");
        for (port, purpose) in [client, peer] {
            let listener = TcpListener::bind(("127.0.0.1", port));
            held.push(listener.map_err(|error| refuse(node, port, purpose, &error))?);
        }
    }
    Ok(())
}

fn refuse(node: u16, port: u16, purpose: &str, error: &std::io::Error) -> Failure {
    let why = match error.kind() {
        ErrorKind::AddrInUse => "is in use".to_owned(),
        _ => format!("can't be used: {error}"),
    };
    let message = format!("port {port} of this machine, the {purpose} port of node {node}, {why}");
    Failure::refused("port_in_use", message)
        .help("stop what listens there, or choose other ports with --base-port")
}

#[cfg(test)]
mod tests {
    use super::super::cluster::Wanted;
    use super::*;

    #[test]
    fn a_port_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let wanted =
            Wanted { base_port: Some(port.min(60_000)), nodes: Some(1), ..Wanted::default() };
        let cluster = Cluster::new(&wanted, 1).unwrap();
        if cluster.base_port == port {
            let refused = check(&cluster).unwrap_err();
            assert!(refused.message.starts_with(&format!("port {port} of this machine")));
            assert!(refused.help.unwrap().contains("--base-port"));
        }
    }
}
