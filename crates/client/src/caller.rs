//! Who is at the other side of a connection.

use std::net::SocketAddr;

/// Who is at the other side of a connection that a gateway serves: what its rights follow from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Where it comes from.
    pub address: SocketAddr,
    /// How it speaks.
    pub channel: Channel,
}

/// How somebody speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Anybody on the way can read and change it.
    Plain,
    /// In TLS.
    Tls {
        /// The subject's common name in the certificate that it has shown, and that a CA which we
        /// trust has signed. `None` if it showed none, or one without a name.
        common_name: Option<String>,
    },
}

impl Caller {
    /// Who it has proven to be.
    pub fn common_name(&self) -> Option<&str> {
        match &self.channel {
            Channel::Plain => None,
            Channel::Tls { common_name } => common_name.as_deref(),
        }
    }
}
