//! Who a certificate is for: the common name of its subject (RFC 5280, section 4.1).
//!
//! rustls has verified the certificate, so its signature and form are right; this walks its DER to the
//! one field that rustls has no word for. Bytes that make no sense give no name, and nothing else.

/// The object identifier 2.5.4.3, encoded.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// Strings that are UTF-8, or a part of it: `UTF8String`, `PrintableString`, `TeletexString` as far as
/// it is ASCII, `IA5String`.
const STRINGS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];

/// The common name of the subject; the last, if there are several.
pub(crate) fn common_name(certificate: &[u8]) -> Option<String> {
    let mut certificate = Der(certificate).take(SEQUENCE)?;
    let mut signed = certificate.take(SEQUENCE)?;
    // Absent in the first version.
    let _ = signed.take(VERSION);
    signed.take(INTEGER)?;
    let _algorithm = signed.take(SEQUENCE)?;
    let _issuer = signed.take(SEQUENCE)?;
    let _validity = signed.take(SEQUENCE)?;
    let mut subject = signed.take(SEQUENCE)?;
    let mut name = None;
    while let Some(mut attributes) = subject.take(SET) {
        while let Some(mut attribute) = attributes.take(SEQUENCE) {
            if attribute.take(OBJECT_IDENTIFIER)?.0 == COMMON_NAME {
                name = attribute.string();
            }
        }
    }
    name.filter(|name| !name.is_empty())
}

/// Elements, one behind the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's content, if it is of this kind; otherwise it stays.
    fn take(&mut self, tag: u8) -> Option<Self> {
        let (found, content, rest) = self.split()?;
        if found != tag {
            return None;
        }
        self.0 = rest;
        Some(Self(content))
    }

    fn string(&self) -> Option<String> {
        let (tag, content, _) = self.split()?;
        let text = std::str::from_utf8(content).ok()?;
        STRINGS.contains(&tag).then(|| text.to_owned())
    }

    fn split(&self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match usize::from(first) {
            short @ 0..0x80 => (short, rest),
            long => {
                // Four bytes of length are more than a certificate can have.
                let count = (1..=4).contains(&(long & 0x7f)).then_some(long & 0x7f)?;
                let (bytes, rest) = rest.split_at_checked(count)?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some((tag, content, rest))
    }
}
