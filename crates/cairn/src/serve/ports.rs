//! The ports that a node listens on, bound before anything on the disk is opened.

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::drivers::clients::{PEER_CONNECTIONS, Server, serve_port};
use crate::drivers::hello::Port;
use crate::errors::Fault;

/// Bound, not yet served.
pub(super) struct Listeners {
    client: TcpListener,
    etcd: Option<TcpListener>,
    peer: Option<TcpListener>,
}

impl Listeners {
    /// Binds the client port, the further one for etcd's clients if it is wanted, and the peer port if
    /// there are other nodes.
    pub(super) fn bind(config: &Config) -> Result<Self, Fault> {
        let client = bind(&config.client_listen, "client-listen")?;
        let etcd = config.etcd_listen.as_deref().map(|address| bind(address, "etcd-listen"));
        let peer = config.peer_listen.as_deref().map(|address| bind(address, "peer-listen"));
        Ok(Self { client, etcd: etcd.transpose()?, peer: peer.transpose()? })
    }

    /// Serves the client ports on `clients_on`, and the peer port on `peers_on`, until the server's end
    /// is near. Returns what ends with the last client.
    pub(super) fn serve(
        self,
        config: &Config,
        server: &Arc<Server>,
        clients_on: &Runtime,
        peers_on: &Runtime,
    ) -> Result<JoinHandle<()>, Fault> {
        if let Some(peer) = self.peer {
            let peer = watched(peer, peers_on)?;
            let server = Arc::clone(server);
            peers_on.spawn(serve_port(server, peer, Port::Peer, PEER_CONNECTIONS));
        }
        let limit = config.connection_limit;
        let client = watched(self.client, clients_on)?;
        let client = serve_port(Arc::clone(server), client, Port::Client, limit);
        let etcd = self.etcd.map(|etcd| watched(etcd, clients_on)).transpose()?;
        let etcd = etcd.map(|etcd| serve_port(Arc::clone(server), etcd, Port::Client, limit));
        Ok(clients_on.spawn(async {
            match etcd {
                Some(etcd) => {
                    tokio::join!(client, etcd);
                }
                None => client.await,
            }
        }))
    }
}

/// A listener whose readiness `runtime` watches.
fn watched(listener: TcpListener, runtime: &Runtime) -> Result<tokio::net::TcpListener, Fault> {
    let _guard = runtime.enter();
    listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .map_err(|source| Fault::System { action: "watch a port", source })
}

fn bind(address: &str, setting: &'static str) -> Result<TcpListener, Fault> {
    TcpListener::bind(address).map_err(|source| explain(address, setting, source))
}

fn explain(address: &str, setting: &'static str, source: io::Error) -> Fault {
    let address = address.to_owned();
    match source.kind() {
        ErrorKind::AddrInUse => Fault::PortInUse { address, setting },
        _ => Fault::Listen { address, setting, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_the_flag_that_chooses_it() {
        let fault = explain("10.0.0.1:8000", "client-listen", ErrorKind::AddrInUse.into());
        assert_eq!((fault.code(), fault.exit()), ("port-in-use", 3));
        assert_eq!(fault.to_string(), "10.0.0.1:8000 is in use by another process");
        assert!(fault.help().contains("--client-listen"));
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let fault = explain("192.0.2.1:8000", "peer-listen", ErrorKind::AddrNotAvailable.into());
        assert_eq!(fault.code(), "port-unusable");
        assert!(fault.to_string().starts_with("listen on 192.0.2.1:8000: "), "{fault}");
    }
}
