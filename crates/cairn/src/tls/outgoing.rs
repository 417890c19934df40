//! Connections to others, encrypted: what the client crate asks for as [`Connector`].

use std::io;
use std::path::Path;
use std::sync::Arc;

use client::tcp::{Connector, Duplex, Securing};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::files::{TlsFault, client_config, provider, read_roots};
use super::keyring::Keyring;
use super::words::{self, Names};

/// Encrypts connections to nodes.
#[derive(Debug)]
pub(crate) struct Outgoing {
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// As the command line says.
    Given(Arc<ClientConfig>),
    /// As the node's files say at that moment.
    Node(Arc<Keyring>),
}

/// Whether the other side must prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// It must.
    Yes,
    /// Anybody will do: for trials.
    No,
}

/// What stands in an address is no name that a certificate could have.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no name that a certificate could be for")]
struct BadName(String);

impl Outgoing {
    /// For a command: trusts the CAs in `ca`, or those of this system, and shows the certificate and
    /// the key in `own`, if they are given.
    pub(crate) fn given(
        ca: Option<&Path>,
        own: Option<(&Path, &Path)>,
        check: Check,
    ) -> Result<Self, TlsFault> {
        let roots = match (ca, check) {
            (Some(ca), _) => read_roots(ca)?,
            (None, Check::Yes) => system_roots(),
            (None, Check::No) => RootCertStore::empty(),
        };
        let mut config = client_config(roots, own)?;
        if check == Check::No {
            let anybody = Arc::new(Anybody { provider: provider() });
            config.dangerous().set_certificate_verifier(anybody);
        }
        Ok(Self { source: Source::Given(Arc::new(config)) })
    }

    /// For a node that calls others.
    pub(crate) fn of_node(keyring: Arc<Keyring>) -> Self {
        assert!(keyring.client().is_some(), "only the peers' keyring opens doors");
        Self { source: Source::Node(keyring) }
    }

    fn config(&self) -> Arc<ClientConfig> {
        match &self.source {
            Source::Given(config) => Arc::clone(config),
            Source::Node(keyring) => keyring.client().expect("checked: it opens doors"),
        }
    }

    fn names(&self) -> Names {
        match &self.source {
            Source::Given(_) => words::COMMAND_LINE,
            Source::Node(_) => words::PEER_PORT,
        }
    }
}

impl Connector for Outgoing {
    fn secure(&self, stream: TcpStream, host: &str) -> Securing {
        let connector = TlsConnector::from(self.config());
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, BadName(host.to_owned())));
        Box::pin(async move {
            let stream = connector.connect(name?, stream).await.map_err(|error| {
                if error.kind() == io::ErrorKind::UnexpectedEof {
                    let why = "it hung up before it proved who it is";
                    return io::Error::new(io::ErrorKind::UnexpectedEof, why);
                }
                error
            })?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        })
    }

    fn explain(&self, error: &io::Error) -> Option<String> {
        if let Some(fault) = words::fault(error) {
            return Some(words::explain(fault, self.names()));
        }
        let bad_name = error.get_ref()?.downcast_ref::<BadName>()?;
        Some(bad_name.to_string())
    }
}

/// The CAs that this system trusts. Those that can't be read are left out: whoever needs one of them
/// is told that it is not trusted.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Believes what everybody says of itself, as long as it has the key for it.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
