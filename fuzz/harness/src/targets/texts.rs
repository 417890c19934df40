//! Short texts that people write: sizes, times, addresses, members, endpoints, keys in hexadecimal.
//!
//! Each is refused in words, or has a plainest form that is read as the same. A key that is shown is
//! on one line, and nothing in it moves the cursor.

use cairn::fuzzing::{hex_key, readings, shown_key};

/// Input: the text.
pub(super) fn run(data: &[u8]) {
    let shown = shown_key(data);
    assert!(!shown.chars().any(char::is_control), "{shown:?} is not for a terminal");
    let Ok(text) = std::str::from_utf8(data) else { return };
    for (kind, reading) in readings(text) {
        match reading {
            Ok(plain) => {
                let again = readings(&plain).into_iter().find(|(other, _)| *other == kind);
                assert_eq!(again, Some((kind, Ok(plain))), "{text:?} as {kind}");
            }
            Err(why) => assert!(!why.is_empty(), "a fault has words"),
        }
    }
    match client::tcp::parse(text) {
        Ok(endpoint) => {
            let again = client::tcp::parse(&endpoint.address).expect("its plainest form");
            assert_eq!(again.address, endpoint.address);
        }
        Err(error) => assert!(!error.to_string().is_empty(), "a fault has words"),
    }
    if let Some((key, shown)) = hex_key(text) {
        assert_eq!(shown, text.to_ascii_lowercase());
        assert_eq!(hex_key(&shown), Some((key, shown.clone())));
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "64MiB",
        "1 KiB",
        "7B",
        "2GiB",
        "150ms",
        "2s",
        "5m",
        "8",
        "blue-1",
        "127.0.0.1:8000",
        "[::1]:8000",
        "1=a:8000@a:9000,2=b:8000@b:9000",
        "http://n1:7000/",
        "https://n1:7000",
        "00ff10",
        "18446744073709551615B",
        "99999999999999999999m",
        "é",
        "a\\b\u{202e}",
    ];
    texts.into_iter().map(|text| text.as_bytes().to_vec()).collect()
}
