//! PEM files, as rustls takes them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The longest file that is read, in bytes: the bundle of a whole system is a fifth of it.
const LIMIT_BYTES: u64 = 1 << 20;

/// The files of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The certificate that is shown, and those between it and its CA.
    pub(crate) cert: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// Whose callers are known.
    pub(crate) callers: Callers,
}

/// Whether callers show a certificate. The path is that of the CAs that may have signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Callers {
    /// They are not asked for one.
    Unknown,
    /// They may. One that is not trusted is refused.
    MayShow(PathBuf),
    /// They must.
    MustShow(PathBuf),
}

/// Files that can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFault {
    /// The system does not let us.
    #[error("read the {what} {}: {source}", path.display())]
    Unreadable {
        /// What was to be in it.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else, or what does not fit.
    #[error("the {what} {} {why}", path.display())]
    Unusable {
        /// What was to be in it.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

const CERTIFICATE: &str = "certificate";
const KEY: &str = "private key";
const CA: &str = "CA certificates";

/// What signs web tokens.
pub(crate) const TOKEN_KEY: &str = "key for tokens";

impl TlsFiles {
    /// The CAs that may have signed a caller's certificate.
    pub(crate) fn ca(&self) -> Option<&Path> {
        match &self.callers {
            Callers::Unknown => None,
            Callers::MayShow(ca) | Callers::MustShow(ca) => Some(ca),
        }
    }

    /// All files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        [self.cert.as_path(), self.key.as_path()].into_iter().chain(self.ca())
    }
}

/// The primitives under all of it.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What a port needs.
pub(crate) fn server_config(files: &TlsFiles, alpn: &[&[u8]]) -> Result<ServerConfig, TlsFault> {
    let verifier = match files.ca() {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(read_roots(ca)?);
            let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let builder = match files.callers {
                Callers::MustShow(_) => builder,
                Callers::MayShow(_) | Callers::Unknown => builder.allow_unauthenticated(),
            };
            builder.build().map_err(|error| unusable(CA, ca, format!("can't be used: {error}")))?
        }
    };
    let (chain, key) = (read_chain(&files.cert)?, read_key(&files.key)?);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the primitives are made for these versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| mismatch(&files.cert, &files.key, &error))?;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// What connections need that trust `roots`, and show `own` if it is given: a certificate and its key.
pub(crate) fn client_config(
    roots: RootCertStore,
    own: Option<(&Path, &Path)>,
) -> Result<ClientConfig, TlsFault> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the primitives are made for these versions")
        .with_root_certificates(roots);
    match own {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => builder
            .with_client_auth_cert(read_chain(cert)?, read_key(key)?)
            .map_err(|error| mismatch(cert, key, &error)),
    }
}

/// The CAs in a file.
pub(crate) fn read_roots(path: &Path) -> Result<RootCertStore, TlsFault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CA, path)? {
        roots
            .add(certificate)
            .map_err(|error| unusable(CA, path, format!("can't be used: {error}")))?;
    }
    Ok(roots)
}

/// A certificate, and those between it and its CA.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    certificates(CERTIFICATE, path)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let bytes = read_file(what, path)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| unusable(what, path, format!("is no PEM: {error}")))?;
    if found.is_empty() {
        return Err(unusable(what, path, "holds no certificate in PEM form".into()));
    }
    Ok(found)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFault> {
    let bytes = read_file(KEY, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            let why = "holds no private key in PEM form (PKCS#8, PKCS#1 or SEC1, not encrypted)";
            unusable(KEY, path, why.into())
        }
        error => unusable(KEY, path, format!("is no PEM: {error}")),
    })
}

/// What a file holds.
pub(crate) fn read_file(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsFault> {
    let unreadable = |source| TlsFault::Unreadable { what, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(unusable(what, path, "is longer than 1 MiB".into()));
    }
    Ok(bytes)
}

fn mismatch(cert: &Path, key: &Path, error: &rustls::Error) -> TlsFault {
    let why = match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("does not belong to the key {}", key.display())
        }
        error => format!("and the key {} can't be used: {error}", key.display()),
    };
    unusable(CERTIFICATE, cert, why)
}

pub(crate) fn unusable(what: &'static str, path: &Path, why: String) -> TlsFault {
    TlsFault::Unusable { what, path: path.to_owned(), why }
}
