//! TLS with real processes: who is let in, who is told what, and certificates that change on the way.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use wire::MAGIC;

use crate::support::certificates::Certificates;
use crate::support::cluster::Cluster;
use crate::support::http::{self, Answer};
use crate::support::process::{Process, cairn};
use crate::support::{TestDir, alone, eventually, free_ports};

const PATIENCE: Duration = Duration::from_secs(10);

/// A node that is alone, and its certificates.
struct Node {
    certificates: Certificates,
    port: u16,
    process: Process,
    dir: TestDir,
}

impl Node {
    /// One that shows `red-node` and demands certificates of the CA `red`.
    fn start() -> Self {
        let certificates = Certificates::of(&["red", "blue"]);
        for suffix in ["crt", "key"] {
            let (own, red) = (format!("own.{suffix}"), format!("red-node.{suffix}"));
            certificates.replace(&own, &red);
        }
        let (port, dir) = (free_ports(), TestDir::new());
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = cairn();
        command.args(["serve", "--client-listen", &format!("127.0.0.1:{port}")]);
        command.arg("--data-dir").arg(dir.path().join("data"));
        command.args(["--client-tls-cert", &certificates.word("own.crt")]);
        command.args(["--client-tls-key", &certificates.word("own.key")]);
        command.args(["--client-tls-ca", &certificates.word("red.crt"), "--client-tls-auth"]);
        command.stdout(Stdio::null()).stderr(log);
        Self { certificates, port, process: Process::start(&mut command), dir }
    }

    /// Exit code and all words of a command.
    fn run(
        &self,
        scheme: &str,
        ca: Option<&str>,
        own: Option<&str>,
        more: &[&str],
    ) -> (i32, String) {
        let mut command = cairn();
        command.args(["--endpoints", &format!("{scheme}127.0.0.1:{}", self.port)]);
        if let Some(ca) = ca {
            command.args(["--cacert", &self.certificates.word(&format!("{ca}.crt"))]);
        }
        if let Some(own) = own {
            command.args(["--cert", &self.certificates.word(&format!("{own}.crt"))]);
            command.args(["--key", &self.certificates.word(&format!("{own}.key"))]);
        }
        let output = command.args(more).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }

    /// A connection over which HTTP can be spoken.
    fn connect(&self, ca: &str) -> StreamOwned<ClientConnection, TcpStream> {
        let read = |file: &str| std::fs::read(self.certificates.path(file)).unwrap();
        let certificate = |file: &str| CertificateDer::from_pem_slice(&read(file)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&format!("{ca}.crt"))).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&read("red-client.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate("red-client.crt")], key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(session, self.plain())
    }

    fn plain(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

/// Asks on a connection that stays.
fn ask(stream: &mut (impl Read + Write), target: &str) -> Answer {
    write!(stream, "GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    hear(stream)
}

/// Asks in etcd's JSON form, on a connection that stays.
fn post(stream: &mut (impl Read + Write), target: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let len = body.len();
    write!(
        stream,
        "POST {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len}\r\n\r\n{body}"
    )
    .unwrap();
    let answer = hear(stream);
    (answer.status, answer.json())
}

fn hear(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).unwrap();
        assert!(read > 0, "half an answer: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&chunk[..read]);
        if let Some(answer) = http::parse(&bytes) {
            return answer;
        }
    }
}

#[test]
fn a_client_port_that_demands_certificates() {
    let _alone = alone();
    let mut node = Node::start();
    let (ca, own) = (Some("red"), Some("red-client"));
    eventually("the node serves", PATIENCE, || {
        let (code, _) = node.run("", ca, own, &["--timeout", "1s", "put", "hello", "world"]);
        (code == 0).then_some(())
    });
    assert_eq!(node.run("https://", ca, own, &["get", "hello"]), (0, "world".to_owned()));
    refusals(&node);
    plain_words(&node);
    certificates_change(&node);
    node.process.signal(rustix::process::Signal::TERM);
    assert!(node.process.wait(PATIENCE).success());
}

/// Each at once, for no retry would help.
fn refusals(node: &Node) {
    let own = Some("red-client");
    let get = ["get", "hello"];
    let begun = Instant::now();
    let (code, words) = node.run("https://", Some("blue"), own, &get);
    assert_eq!(code, 3, "{words}");
    assert!(
        words.contains("its certificate is signed by no CA that is trusted here (--cacert)"),
        "{words}"
    );
    // None of the system's has signed it either.
    let (code, words) = node.run("https://", None, None, &get);
    assert!(code == 3 && words.contains("is signed by no CA"), "{words}");
    let (code, words) = node.run("https://", Some("red"), None, &get);
    assert_eq!(code, 3, "{words}");
    assert!(
        words.contains("it demands a certificate of its callers; give one with --cert"),
        "{words}"
    );
    let (code, words) = node.run("https://", Some("red"), Some("blue-client"), &get);
    assert!(code == 3 && words.contains("it does not trust the CA that signed our"), "{words}");
    let (code, words) = node.run("https://", Some("gone"), own, &get);
    assert!(code == 2 && words.contains("read the CA certificates "), "{words}");
    let blind = ["--insecure-skip-tls-verify", "get", "hello"];
    assert_eq!(node.run("", None, own, &blind), (0, "world".to_owned()));
    assert!(begun.elapsed() < PATIENCE, "nothing waits for what can't be");
    assert!(node.log().contains("it shows no certificate, and one is demanded"), "{}", node.log());
}

fn plain_words(node: &Node) {
    let target = "/v1/kv/hello";
    let answer = http::request(node.port, "GET", target, &[], b"", PATIENCE).unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("this port speaks TLS: use https://"), "{}", answer.text());
    let (code, words) = node.run("http://", None, None, &["--timeout", "1s", "get", "hello"]);
    assert_eq!(code, 3);
    assert!(words.contains("if that port speaks TLS, write https://"), "{words}");
    let mut grpc = node.plain();
    grpc.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut answer = String::new();
    grpc.read_to_string(&mut answer).unwrap();
    let begins = "HTTP/1.1 400 Bad Request\r\n";
    assert!(answer.starts_with(begins) && answer.contains("this port speaks TLS"), "{answer}");
    for bytes in [MAGIC, &b"\0\0\0\0\0\0"[..]] {
        let mut stream = node.plain();
        stream.write_all(bytes).unwrap();
        assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0, "it is closed");
    }
    let log = node.log();
    for words in [
        "HTTP without TLS on a port that speaks TLS",
        "HTTP/2, or gRPC, without TLS",
        "a Cairn client or node without TLS",
        "tls-refused",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    let metrics = ask(&mut node.connect("red"), "/metrics").text();
    let line = metrics.lines().find(|l| l.starts_with("cairn_tls_mismatched_connections_total"));
    let count: u64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(count >= 5, "{line:?}");
    assert!(metrics.contains("cairn_tls_failed_handshakes_total 4"), "{metrics}");
}

fn certificates_change(node: &Node) {
    let own = Some("red-client");
    let get = ["get", "hello"];
    let mut live = node.connect("red");
    assert_eq!(ask(&mut live, "/v1/kv/hello").text(), "world");
    node.certificates.replace("own.crt", "blue-node.crt");
    eventually("the mismatch is seen", PATIENCE, || {
        node.log().contains("does not belong to the key").then_some(())
    });
    assert_eq!(
        node.run("", Some("red"), own, &get),
        (0, "world".to_owned()),
        "the old one goes on"
    );
    node.certificates.replace("own.key", "blue-node.key");
    eventually("the new certificate is shown", PATIENCE, || {
        (node.run("", Some("blue"), own, &get).0 == 0).then_some(())
    });
    assert_eq!(node.run("", Some("red"), own, &get).0, 3, "the old one is not shown any more");
    assert_eq!(ask(&mut live, "/v1/kv/hello").text(), "world", "who is connected stays so");
    let metrics = ask(&mut node.connect("blue"), "/metrics").text();
    assert!(metrics.contains("cairn_tls_reloads_total 1"), "{metrics}");
    assert!(metrics.contains("cairn_tls_failed_reloads_total 1"), "{metrics}");
}

#[test]
fn who_shows_a_certificate_is_the_user_of_its_common_name() {
    let _alone = alone();
    let node = Node::start();
    let run = |own: &str, more: &[&str]| node.run("https://", Some("red"), Some(own), more);
    eventually("the node serves", PATIENCE, || {
        let (code, _) = run("red-root", &["--timeout", "1s", "put", "b/1", "root's"]);
        (code == 0).then_some(())
    });
    for words in [
        "user add root --no-password",
        "user grant-role root root",
        "user add alice --no-password",
        "role add below-a",
        "role grant-permission below-a readwrite --prefix a/",
        "user grant-role alice below-a",
        "auth enable",
    ] {
        let (code, told) = run("red-root", &words.split(' ').collect::<Vec<_>>());
        assert_eq!(code, 0, "{words}: {told}");
    }
    assert_eq!(run("red-client", &["put", "a/1", "one"]).0, 0);
    assert_eq!(run("red-client", &["get", "a/1"]), (0, "one".to_owned()));
    assert_eq!(run("red-root", &["get", "b/1"]), (0, "root's".to_owned()));
    for refused in [&["get", "b/1"][..], &["put", "b/1", "x"], &["user", "list"]] {
        let (code, words) = run("red-client", refused);
        assert!(code == 3 && words.contains("permission denied"), "{refused:?}: {words}");
    }
    // HTTP, as REST and as etcd has it; the connection shows alice's certificate.
    let mut alice = node.connect("red");
    assert_eq!(ask(&mut alice, "/v1/kv/a%2F1").text(), "one");
    assert_eq!(ask(&mut alice, "/v1/kv/b%2F1").status, 403);
    let key = |key: &str| json!({ "key": STANDARD.encode(key) });
    let (status, read) = post(&mut alice, "/v3/kv/range", &key("a/1"));
    assert_eq!((status, &read["count"]), (200, &json!("1")), "{read}");
    let (status, refused) = post(&mut alice, "/v3/kv/range", &key("b/1"));
    assert_eq!((status, &refused["message"]), (403, &json!("etcdserver: permission denied")));
    assert_eq!(run("red-root", &["user", "delete", "alice"]).0, 0);
    let (code, words) = run("red-client", &["get", "a/1"]);
    assert!(code == 3 && words.contains("permission denied"), "nobody is called so: {words}");
    assert_eq!(ask(&mut alice, "/v1/kv/a%2F1").status, 403, "nor on a connection that stays");
}

#[test]
fn nodes_know_each_other_by_their_certificates() {
    let _alone = alone();
    let certificates = Certificates::of(&["red", "blue"]);
    let flags = |name: &str| {
        let file = |suffix: &str| certificates.word(&format!("{name}{suffix}"));
        let flag = |flag: &str, file| [flag.to_owned(), file];
        [
            flag("--peer-tls-cert", file("-node.crt")),
            flag("--peer-tls-key", file("-node.key")),
            flag("--peer-tls-ca", file(".crt")),
        ]
        .concat()
    };
    let mut cluster = Cluster::prepare(3);
    for (node, name) in [(1, "red"), (2, "red"), (3, "blue")] {
        cluster.set_flags(node, flags(name));
        cluster.launch(node);
    }
    assert_ne!(cluster.wait_for_leader(), 3);
    let log = cluster.dir().path().join("node-1.log");
    eventually("the stranger is refused in words", PATIENCE, || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains("its certificate is signed by no CA that is trusted here (peer_tls_ca)")
            .then_some(())
    });
    assert!(!cluster.is_ready(3), "it hears from nobody");
    cluster.kill(3);
    cluster.set_flags(3, flags("red"));
    cluster.launch(3);
    cluster.wait_until_caught_up(3);
    // Through a node that does not lead: it passes the request on, to a peer port.
    let leader = cluster.wait_for_leader();
    let other = cluster.numbers().into_iter().find(|&node| node != leader).unwrap();
    let store = br#"{"type":"store","key":"a","value":"1"}"#;
    assert_eq!(cluster.ask(other, "POST", "/", store).unwrap().status, 200);
    // A plain client port is told apart from one in TLS, too.
    let endpoint = format!("https://127.0.0.1:{}", cluster.client_port(1));
    let output = cairn().args(["--endpoints", &endpoint, "get", "a"]).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("it does not speak TLS"), "{words}");
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("TLS on a port that does not speak it"), "{log}");
}
