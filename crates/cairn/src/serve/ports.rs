//! The ports that a node listens on, bound before anything on the disk is opened.

use std::io::{self, ErrorKind};
use std::net::TcpListener;

use crate::config::Config;
use crate::errors::Fault;

/// Bound, not yet served.
pub(super) struct Listeners {
    client: TcpListener,
    peer: Option<TcpListener>,
}

impl Listeners {
    /// Binds the client port, and the peer port if there are other nodes.
    pub(super) fn bind(config: &Config) -> Result<Self, Fault> {
        let client = bind(&config.client_listen, "client-listen")?;
        let peer = config.peer_listen.as_deref().map(|address| bind(address, "peer-listen"));
        Ok(Self { client, peer: peer.transpose()? })
    }

    /// Hands them to the runtime that this is called in.
    pub(super) fn into_async(
        self,
    ) -> Result<(tokio::net::TcpListener, Option<tokio::net::TcpListener>), Fault> {
        let hand_over = |listener: TcpListener| {
            listener
                .set_nonblocking(true)
                .and_then(|()| tokio::net::TcpListener::from_std(listener))
                .map_err(|source| Fault::System { action: "watch a port", source })
        };
        Ok((hand_over(self.client)?, self.peer.map(hand_over).transpose()?))
    }
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
