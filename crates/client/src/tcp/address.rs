//! Endpoints as people write them.

/// An endpoint that can't be used. Not done: correct it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No endpoint at all.
    #[error("no endpoint is given; give at least one as host:port")]
    None,
    /// Encryption is asked for.
    #[error(
        "endpoint {endpoint:?} asks for TLS, which this release does not speak; use http:// or plain host:port inside a trusted network"
    )]
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

/// `host:port` out of an endpoint as people write it.
pub fn parse(endpoint: &str) -> Result<String, AddressError> {
    let malformed = |why| AddressError::Malformed { endpoint: endpoint.into(), why };
    let text = endpoint.trim();
    let text = match text.split_once("://") {
        None => text,
        Some(("http", rest)) => rest.strip_suffix('/').unwrap_or(rest),
        Some(("https", _)) => return Err(AddressError::Tls { endpoint: endpoint.into() }),
        Some(_) => return Err(malformed("has a scheme other than http")),
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
        Ok(port) if port > 0 => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(malformed("has no port number from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_may_be_written_with_or_without_a_scheme() {
        for (written, meant) in [
            ("n1:7000", "n1:7000"),
            (" http://n1:7000/ ", "n1:7000"),
            ("http://10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]:7000", "[::1]:7000"),
        ] {
            assert_eq!(parse(written).as_deref(), Ok(meant));
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
            ("ftp://n1:7000", "has a scheme other than http"),
            ("", "has no port"),
        ] {
            let error = parse(written).expect_err(written).to_string();
            assert!(error.contains(complaint), "{error}");
        }
        let tls = parse("https://n1:7000").expect_err("no TLS yet").to_string();
        assert!(tls.contains("TLS"), "{tls}");
    }
}
