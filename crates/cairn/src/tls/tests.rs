//! Handshakes, and the words for those that come to nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use client::tcp::Connector;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::files::{Callers, TlsFiles};
use super::identity::common_name;
use super::keyring::{Keyring, Ring};
use super::make::{Authority, Pair, Purpose};
use super::outgoing::{Check, Outgoing};
use super::words;
use crate::drivers::test_dir::TestDir;

/// Files of two CAs, `red` and `blue`, each with a certificate for a node and one for a client.
struct Files {
    dir: TestDir,
}

#[expect(clippy::disallowed_methods, reason = "certificates hold for years of this world")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

impl Files {
    fn new() -> Self {
        let files = Self { dir: TestDir::new() };
        for name in ["red", "blue"] {
            let authority = Authority::new(name, now()).unwrap();
            files.put(name, authority.own());
            let hosts = ["localhost", "127.0.0.1"];
            let node = authority.issue("n1", Purpose::Node(&hosts)).unwrap();
            files.put(&format!("{name}-node"), &node);
            let client = authority.issue("alice", Purpose::Client).unwrap();
            files.put(&format!("{name}-client"), &client);
        }
        files
    }

    fn put(&self, name: &str, pair: &Pair) {
        std::fs::write(self.path(&format!("{name}.crt")), &pair.cert).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), &pair.key).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn server(&self, ring: Ring, name: &str, callers: Callers) -> Arc<Keyring> {
        let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
        let (cert, key) = (self.path(&cert), self.path(&key));
        Arc::new(Keyring::load(ring, TlsFiles { cert, key, callers }).unwrap())
    }

    fn client(&self, ca: &str, own: Option<&str>) -> Outgoing {
        let own =
            own.map(|own| (self.path(&format!("{own}.crt")), self.path(&format!("{own}.key"))));
        let own = own.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()));
        Outgoing::given(Some(&self.path(&format!("{ca}.crt"))), own, Check::Yes).unwrap()
    }
}

/// What a connection came to: the name of who asks, as who answers knows it; or the words of both.
#[derive(Debug, PartialEq, Eq)]
enum Met {
    Name(Option<String>),
    Words { asking: String, answering: String },
}

async fn meet(keyring: &Keyring, outgoing: &Outgoing, host: &str) -> Met {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answering = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(keyring.server()).accept(stream).await?;
        stream.write_all(b"x").await?;
        stream.shutdown().await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
        Ok::<_, std::io::Error>(shown.and_then(|certificate| common_name(&certificate)))
    };
    let asking = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = outgoing.secure(stream, host).await?;
        // Whether the certificate was liked shows when something is read.
        stream.read_exact(&mut [0]).await?;
        Ok::<_, std::io::Error>(())
    };
    match tokio::join!(answering, asking) {
        (Ok(name), Ok(())) => Met::Name(name),
        (answering, asking) => {
            let words = |error: &std::io::Error| match words::fault(error) {
                Some(fault) => words::explain(fault, keyring.names()),
                None => error.to_string(),
            };
            let answering = answering.as_ref().err().map(words).unwrap_or_default();
            let asking = asking.err().map(|e| outgoing.explain(&e).unwrap_or(e.to_string()));
            Met::Words { asking: asking.unwrap_or_default(), answering }
        }
    }
}

async fn refusal(keyring: &Keyring, outgoing: &Outgoing) -> (String, String) {
    match meet(keyring, outgoing, "localhost").await {
        Met::Words { asking, answering } => (asking, answering),
        met @ Met::Name(_) => panic!("it was let in: {met:?}"),
    }
}

#[tokio::test]
async fn a_client_is_known_by_the_name_in_its_certificate() {
    let files = Files::new();
    let server = |callers| files.server(Ring::Clients, "red-node", callers);
    let (named, nameless) = (files.client("red", Some("red-client")), files.client("red", None));
    let may = server(Callers::MayShow(files.path("red.crt")));
    let must = server(Callers::MustShow(files.path("red.crt")));
    let unknown = server(Callers::Unknown);
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(meet(&may, &named, host).await, Met::Name(Some("alice".into())));
    }
    assert_eq!(meet(&may, &nameless, "localhost").await, Met::Name(None));
    assert_eq!(meet(&must, &named, "localhost").await, Met::Name(Some("alice".into())));
    assert_eq!(meet(&unknown, &named, "localhost").await, Met::Name(None), "it was not asked");
    let (asking, answering) = refusal(&must, &nameless).await;
    assert!(asking.contains("demands a certificate") && asking.contains("--cert"), "{asking}");
    assert!(answering.contains("it shows no certificate"), "{answering}");
}

#[tokio::test]
async fn who_is_not_trusted_is_told_so() {
    let files = Files::new();
    let server = files.server(Ring::Clients, "red-node", Callers::MayShow(files.path("red.crt")));
    let (asking, answering) = refusal(&server, &files.client("blue", None)).await;
    assert!(asking.contains("no CA that is trusted here (--cacert)"), "{asking}");
    assert!(answering.contains("it does not trust the CA that signed our"), "{answering}");
    let (asking, answering) = refusal(&server, &files.client("red", Some("blue-client"))).await;
    assert!(asking.contains("it does not trust the CA that signed our"), "{asking}");
    assert!(answering.contains("no CA that is trusted here (client_tls_ca)"), "{answering}");
    let met = meet(&server, &files.client("red", None), "n7.example").await;
    let Met::Words { asking, .. } = met else { panic!("{met:?}") };
    assert!(
        asking.contains("for another host") && asking.contains("not for n7.example"),
        "{asking}"
    );
    let met = meet(&server, &files.client("red", None), "not a name").await;
    let Met::Words { asking, .. } = met else { panic!("{met:?}") };
    assert!(asking.contains("is no name that a certificate could be for"), "{asking}");
    // A client's certificate is no node's.
    let wrong = files.server(Ring::Clients, "red-client", Callers::Unknown);
    let met = meet(&wrong, &files.client("red", None), "localhost").await;
    let Met::Words { asking, .. } = met else { panic!("{met:?}") };
    assert!(asking.starts_with("its certificate is "), "{asking}");
    // Unless nobody looks.
    let own = None;
    let blind = Outgoing::given(None, own, Check::No).unwrap();
    assert_eq!(meet(&server, &blind, "n7.example").await, Met::Name(None));
}

#[tokio::test]
async fn nodes_prove_themselves_to_each_other() {
    let files = Files::new();
    let ring = |name: &str, ca: &str| {
        files.server(Ring::Peers, name, Callers::MustShow(files.path(&format!("{ca}.crt"))))
    };
    let red = ring("red-node", "red");
    let same = Outgoing::of_node(ring("red-node", "red"));
    assert_eq!(meet(&red, &same, "127.0.0.1").await, Met::Name(Some("n1".into())));
    let other = Outgoing::of_node(ring("blue-node", "blue"));
    let (asking, _) = refusal(&red, &other).await;
    assert!(asking.contains("no CA that is trusted here (peer_tls_ca)"), "{asking}");
    let (_, answering) = refusal(&red, &Outgoing::of_node(ring("blue-node", "red"))).await;
    assert!(answering.contains("no CA that is trusted here (peer_tls_ca)"), "{answering}");
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told_apart() {
    let files = Files::new();
    let outgoing = files.client("red", None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut answering, _) = listener.accept().await.unwrap();
    answering.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let error = outgoing.secure(stream, "localhost").await.unwrap_err();
    assert_eq!(outgoing.explain(&error).as_deref(), Some("it does not speak TLS"));
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut answering, _) = listener.accept().await.unwrap();
    let hangs_up = async {
        assert!(answering.read(&mut [0; 4096]).await.unwrap() > 0);
        drop(answering);
    };
    let (secured, ()) = tokio::join!(outgoing.secure(stream, "localhost"), hangs_up);
    let error = secured.unwrap_err();
    assert_eq!(outgoing.explain(&error), None, "it may be a node that ends: another try may help");
}

#[test]
fn files_that_make_no_sense_are_named() {
    let files = Files::new();
    std::fs::write(files.path("text"), "no PEM at all\n").unwrap();
    std::fs::write(files.path("torn"), "-----BEGIN CERTIFICATE-----\nMIIB\n").unwrap();
    let load = |cert: &str, key: &str, ca: &str| {
        let (cert, key) = (files.path(cert), files.path(key));
        let callers = Callers::MustShow(files.path(ca));
        let loaded = Keyring::load(Ring::Clients, TlsFiles { cert, key, callers });
        loaded.map(drop).map_err(|fault| fault.to_string()).unwrap_err()
    };
    let (cert, key, ca) = ("red-node.crt", "red-node.key", "red.crt");
    for (cert, key, ca, words) in [
        ("gone", key, ca, "read the certificate "),
        ("text", key, ca, "holds no certificate in PEM form"),
        ("torn", key, ca, "is no PEM"),
        (cert, "gone", ca, "read the private key "),
        (cert, cert, ca, "holds no private key in PEM form"),
        (cert, "blue-node.key", ca, "does not belong to the key "),
        (cert, key, "gone", "read the CA certificates "),
        (cert, key, "text", "holds no certificate in PEM form"),
    ] {
        let fault = load(cert, key, ca);
        assert!(fault.contains(words), "{fault}");
    }
}

#[test]
fn a_name_is_found_or_absent_whatever_the_bytes() {
    let authority = Authority::new("ca", now()).unwrap();
    let long = "x".repeat(300);
    for name in ["alice", "Ünïcode", "a b", &long] {
        let pair = authority.issue(name, Purpose::Client).unwrap();
        let der = der_of(&pair.cert);
        assert_eq!(common_name(&der).as_deref(), Some(name));
        for end in 0..der.len() {
            assert!(common_name(&der[..end]).is_none(), "cut at {end}");
        }
        for at in 0..der.len() {
            for bit in [1, 0x10, 0x80] {
                let mut flipped = der.clone();
                flipped[at] ^= bit;
                // Whatever comes of it, nothing panics.
                let _ = common_name(&flipped);
            }
        }
    }
    let nameless = authority.issue("", Purpose::Client).unwrap();
    assert_eq!(common_name(&der_of(&nameless.cert)), None);
}

fn der_of(pem: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}
