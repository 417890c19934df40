//! A CA of one's own, for trying things out, and for tests.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, Error, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// Seconds of a year; a few hours of error do no harm here.
const YEAR_S: u64 = 31_556_952;

/// Signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    own: Pair,
    year: i32,
}

/// A certificate and its key, as PEM.
pub(crate) struct Pair {
    /// The certificate.
    pub(crate) cert: String,
    /// The key.
    pub(crate) key: String,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose<'a> {
    /// To be called under these names and addresses, and to call others as a node.
    Node(&'a [&'a str]),
    /// To call.
    Client,
}

impl Authority {
    /// A new one, valid from the year before that of `since_epoch` to the second after it.
    pub(crate) fn new(name: &str, since_epoch: Duration) -> Result<Self, Error> {
        let years = i32::try_from(since_epoch.as_secs() / YEAR_S).unwrap_or_default();
        let year = 1970 + years;
        let mut params = params(name, year)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let cert = params.self_signed(&key)?;
        let own = Pair { cert: pem("CERTIFICATE", cert.der()), key: pem_of_key(&key) };
        Ok(Self { issuer: Issuer::new(params, key), own, year })
    }

    /// Its own certificate and key.
    pub(crate) fn own(&self) -> &Pair {
        &self.own
    }

    /// A certificate with `name` as the subject's common name.
    pub(crate) fn issue(&self, name: &str, purpose: Purpose<'_>) -> Result<Pair, Error> {
        let mut params = params(name, self.year)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if let Purpose::Node(hosts) = purpose {
            let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
            params.subject_alt_names = CertificateParams::new(hosts)?.subject_alt_names;
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { cert: pem("CERTIFICATE", cert.der()), key: pem_of_key(&key) })
    }
}

fn params(name: &str, year: i32) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(year - 1, 1, 1);
    params.not_after = date_time_ymd(year + 2, 12, 31);
    Ok(params)
}

fn pem_of_key(key: &KeyPair) -> String {
    pem("PRIVATE KEY", key.serialized_der())
}

/// RFC 7468: lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        lines.extend([line, "\n"]);
        rest = more;
    }
    lines.extend(["-----END ", label, "-----\n"]);
    lines
}
