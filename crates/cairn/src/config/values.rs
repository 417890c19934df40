//! Texts to typed values. Errors say what was expected.

use std::time::Duration;

use wire::{Member, NodeId, Part};

/// `64MiB`
pub(super) fn size(text: &str) -> Result<u64, String> {
    let expected = || "expected a size such as 64MiB (units: B, KiB, MiB, GiB)".to_owned();
    let (number, unit) = split_unit(text).ok_or_else(expected)?;
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(expected()),
    };
    number.checked_mul(factor).ok_or_else(expected)
}

/// `150ms`
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time such as 150ms (units: ms, s, m)".to_owned();
    let (number, unit) = split_unit(text).ok_or_else(expected)?;
    let factor_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err(expected()),
    };
    number.checked_mul(factor_ms).map(Duration::from_millis).ok_or_else(expected)
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// `8`
pub(super) fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a whole number".to_owned())
}

/// `true`
pub(super) fn truth(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "expected true or false".to_owned())
}

/// `blue-1`
pub(crate) fn cluster(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !text.is_empty() && text.len() <= 64 && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("expected 1 to 64 letters, digits, `.`, `_` or `-`".to_owned())
}

/// `host:8000`, `[::1]:8000`
pub(crate) fn address(text: &str) -> Result<String, String> {
    let expected = || "expected host:port, such as 127.0.0.1:8000".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let port: u16 = port.parse().map_err(|_| expected())?;
    let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || bare_v6 || port == 0 || host.contains(['/', '@', ' ', ',', '=']) {
        return Err(expected());
    }
    Ok(text.to_owned())
}

/// `1=a:8000@a:9000,2=b:8000@b:9000`
pub(super) fn members(text: &str) -> Result<Vec<Member>, String> {
    let mut members = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        members.push(member(part).map_err(|what| format!("member {part:?}: {what}"))?);
    }
    members.sort_by_key(|member| member.node);
    Ok(members)
}

fn member(text: &str) -> Result<Member, String> {
    let form = "expected number=client@peer, such as 1=10.0.0.1:8000@10.0.0.1:9000";
    let (node, addresses) = text.split_once('=').ok_or(form)?;
    let (client, peer) = addresses.split_once('@').ok_or(form)?;
    let node = node.parse().map_err(|_| form)?;
    if node == 0 {
        return Err("node numbers begin at 1".to_owned());
    }
    Ok(Member {
        node: NodeId(node),
        client_address: address(client)?,
        peer_address: address(peer)?,
        part: Part::Voter,
        priority: Member::DEFAULT_PRIORITY,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_carry_their_unit() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1 KiB"), Ok(1024));
        assert_eq!(size("7B"), Ok(7));
        for wrong in ["", "64", "MiB", "64MB", "-1MiB", "99999999999999999999GiB", "1.5MiB"] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn times_carry_their_unit() {
        assert_eq!(duration("150ms"), Ok(Duration::from_millis(150)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        for wrong in ["", "150", "s", "1h", "1.5s"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn addresses_have_host_and_port() {
        for right in ["127.0.0.1:8000", "[::1]:8000", "cairn-1.example:65535"] {
            assert_eq!(address(right), Ok(right.to_owned()));
        }
        for wrong in ["", "8000", ":8000", "host", "host:", "host:0", "host:65536", "::1:80"] {
            assert!(address(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn members_are_sorted_by_number() {
        let members = members("2=b:8000@b:9000, 1=a:8000@a:9000").unwrap();
        assert_eq!(members[0].client_address, "a:8000");
        assert_eq!(members[1].peer_address, "b:9000");
    }

    #[test]
    fn a_wrong_member_is_named() {
        let error = members("1=a:8000@a:9000,2=b:8000").unwrap_err();
        assert!(error.contains("member \"2=b:8000\": expected number=client@peer"), "{error}");
        assert!(members("0=a:1@a:2").unwrap_err().contains("begin at 1"));
    }
}
