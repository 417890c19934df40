//! Endpoints as people write them.

/// An endpoint that can't be used. Not done: correct it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No endpoint at all.
    #[error("no endpoint is given; give at least one as host:port")]
    None,
    /// Encryption is asked for, and whoever made this client gave it no [`super::Connector`].
    #[error("endpoint {endpoint:?} asks for TLS, for which this client was not made")]
    Tls {
        /// As it was written.
        endpoint: String,
    },
    /// Anything else.
    #[error("endpoint {endpoint:?} {why}; write it as host:port, for example 10.0.0.1:7000")]
    Malformed {
        /// As it was written.
        endpoint: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// Whether an endpoint is to be spoken to in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// It does not say.
    Unsaid,
    /// `http://`: it is not.
    Plain,
    /// `https://`: it is.
    Tls,
}

/// An endpoint, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// How to speak to it.
    pub scheme: Scheme,
    /// `host:port`.
    pub address: String,
}

/// What an endpoint means that is written as people write it.
pub fn parse(endpoint: &str) -> Result<Endpoint, AddressError> {
    let malformed = |why| AddressError::Malformed { endpoint: endpoint.into(), why };
    let text = endpoint.trim();
    let (scheme, text) = match text.split_once("://") {
        None => (Scheme::Unsaid, text),
        Some(("http", rest)) => (Scheme::Plain, rest.strip_suffix('/').unwrap_or(rest)),
        Some(("https", rest)) => (Scheme::Tls, rest.strip_suffix('/').unwrap_or(rest)),
        Some(_) => return Err(malformed("has a scheme other than http and https")),
    };
    if text.contains(['/', '?', '#', '@']) || text.contains(char::is_whitespace) {
        return Err(malformed("has more in it than a host and a port"));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| malformed("has no port"))?;
    if host.is_empty() {
        return Err(malformed("has no host"));
    }
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.contains(':') && !bracketed {
        return Err(malformed("has an IPv6 address without brackets"));
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(Endpoint { scheme, address: text.to_owned() }),
        Ok(_) | Err(_) => Err(malformed("has no port number from 1 to 65535")),
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
pub fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_may_be_written_with_or_without_a_scheme() {
        for (written, scheme, meant) in [
            ("n1:7000", Scheme::Unsaid, "n1:7000"),
            (" http://n1:7000/ ", Scheme::Plain, "n1:7000"),
            ("http://10.0.0.1:80", Scheme::Plain, "10.0.0.1:80"),
            ("https://n1:7000/", Scheme::Tls, "n1:7000"),
            ("https://[::1]:7000", Scheme::Tls, "[::1]:7000"),
            ("[::1]:7000", Scheme::Unsaid, "[::1]:7000"),
        ] {
            assert_eq!(parse(written), Ok(Endpoint { scheme, address: meant.to_owned() }));
        }
    }

    #[test]
    fn the_host_of_an_address() {
        for (address, host) in [("n1:7000", "n1"), ("[::1]:7000", "::1"), ("n1", "n1")] {
            assert_eq!(host_of(address), host);
        }
    }

    #[test]
    fn what_is_wrong_with_an_endpoint_is_said() {
        for (written, complaint) in [
            ("n1", "has no port"),
            (":7000", "has no host"),
            ("n1:0", "has no port number from 1 to 65535"),
            ("n1:70000", "has no port number from 1 to 65535"),
            ("n1:port", "has no port number from 1 to 65535"),
            ("::1:7000", "has an IPv6 address without brackets"),
            ("http://n1:7000/v1", "has more in it than a host and a port"),
            ("ftp://n1:7000", "has a scheme other than http and https"),
            ("", "has no port"),
        ] {
            let error = parse(written).expect_err(written).to_string();
            assert!(error.contains(complaint), "{error}");
        }
    }
}
