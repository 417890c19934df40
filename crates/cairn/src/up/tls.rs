//! `cairn up --tls`: a CA that nobody else trusts, a certificate for each node, one for clients.
//!
//! ```text
//! DIR/tls/ca.crt      whom to trust: --cacert
//! DIR/tls/ca.key      signs more certificates, for whoever wants to try them
//! DIR/tls/node-N.crt  what node N shows to clients and to nodes, and node-N.key
//! DIR/tls/client.crt  what clients show, and client.key
//! ```
//!
//! What is there is kept as long as it holds; else all of it is made anew, together.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use client::tcp::Connector;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;

use super::cluster::Cluster;
use crate::cli::Failure;
use crate::tls::files::{Callers, TlsFiles, provider, read_chain, read_roots, server_config};
use crate::tls::make::{Authority, Pair, Purpose};
use crate::tls::outgoing::{Check, Outgoing};

/// Where the nodes listen, under all its names.
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The user that the client's certificate is for.
const USER: &str = "root";

/// What ends sooner is made anew.
const LEFT: Duration = Duration::from_hours(24 * 30);

/// The files of a cluster that speaks TLS.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    dir: PathBuf,
}

impl Files {
    /// The files in `dir`, made if need be.
    pub(crate) fn prepare(dir: &Path, cluster: &Cluster) -> Result<Self, Failure> {
        let files = Self { dir: dir.join("tls") };
        if !files.hold(cluster, since_epoch()) {
            files.make(cluster, since_epoch())?;
        }
        Ok(files)
    }

    /// `ca.crt`, `node-2.key`, …
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What connects to the nodes with these files.
    pub(crate) fn connector(&self) -> Result<Arc<dyn Connector>, Failure> {
        let (cert, key) = (self.path("client.crt"), self.path("client.key"));
        Outgoing::given(Some(&self.path("ca.crt")), Some((&cert, &key)), Check::Yes)
            .map(|outgoing| -> Arc<dyn Connector> { Arc::new(outgoing) })
            .map_err(|fault| Failure::damaged(fault.to_string()))
    }

    fn of(&self, name: &str) -> TlsFiles {
        TlsFiles {
            cert: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
            callers: Callers::MustShow(self.path("ca.crt")),
        }
    }

    /// Whether all is there, belongs together, and will hold for a while.
    fn hold(&self, cluster: &Cluster, since_epoch: Duration) -> bool {
        let at = UnixTime::since_unix_epoch(since_epoch + LEFT);
        let Ok(roots) = read_roots(&self.path("ca.crt")).map(Arc::new) else { return false };
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider());
        let Ok(verifier) = builder.build() else { return false };
        let node_holds = |node: u16| {
            let files = self.of(&node_name(node));
            let Ok(chain) = read_chain(&files.cert) else { return false };
            let for_host = |host: &str| {
                let Ok(name) = ServerName::try_from(host) else { return false };
                verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], at).is_ok()
            };
            HOSTS.into_iter().all(for_host) && server_config(&files, &[]).is_ok()
        };
        cluster.numbers().all(node_holds) && self.client_holds(roots, at)
    }

    fn client_holds(&self, roots: Arc<rustls::RootCertStore>, at: UnixTime) -> bool {
        let files = self.of("client");
        let Ok(chain) = read_chain(&files.cert) else { return false };
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
        let Ok(verifier) = verifier else { return false };
        verifier.verify_client_cert(&chain[0], &chain[1..], at).is_ok()
            && server_config(&files, &[]).is_ok()
    }

    fn make(&self, cluster: &Cluster, since_epoch: Duration) -> Result<(), Failure> {
        let failed = |error: rcgen::Error| {
            Failure::not_done("system", format!("make certificates: {error}"))
        };
        fs::create_dir_all(&self.dir)
            .map_err(|error| Failure::file(&self.dir, "make directory", &error))?;
        let authority = Authority::new(&format!("cairn {}", cluster.name), since_epoch);
        let authority = authority.map_err(failed)?;
        self.write("ca", authority.own())?;
        for node in cluster.numbers() {
            let name = node_name(node);
            let pair = authority.issue(&name, Purpose::Node(&HOSTS)).map_err(failed)?;
            self.write(&name, &pair)?;
        }
        self.write("client", &authority.issue(USER, Purpose::Client).map_err(failed)?)
    }

    /// Others on this machine may read the certificate, and nobody the key.
    fn write(&self, name: &str, pair: &Pair) -> Result<(), Failure> {
        for (suffix, text, mode) in [("crt", &pair.cert, 0o644), ("key", &pair.key, 0o600)] {
            let path = self.path(&format!("{name}.{suffix}"));
            let part = path.with_extension("part");
            let write = || {
                // One that was left behind keeps its mode.
                let _ = fs::remove_file(&part);
                let mut options = OpenOptions::new();
                let mut file = options.write(true).create_new(true).mode(mode).open(&part)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
                fs::rename(&part, &path)
            };
            write().map_err(|error| Failure::file(&path, "write", &error))?;
        }
        Ok(())
    }
}

/// What a node's files are called.
pub(crate) fn node_name(node: u16) -> String {
    format!("node-{node}")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a driver: certificates hold for years of this world"
)]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::cluster::Wanted;
    use super::*;
    use crate::drivers::test_dir::TestDir;

    #[test]
    fn certificates_are_kept_while_they_hold() {
        let dir = TestDir::new();
        let cluster = Cluster::new(&Wanted { nodes: Some(2), ..Wanted::default() }, 7).unwrap();
        let files = Files::prepare(dir.path(), &cluster).unwrap();
        let read = |name: &str| fs::read(files.path(name)).unwrap();
        let first = read("ca.crt");
        Files::prepare(dir.path(), &cluster).unwrap();
        assert_eq!(read("ca.crt"), first);
        files.connector().unwrap();
        assert!(files.hold(&cluster, since_epoch() + Duration::from_hours(24 * 365)));
        assert!(!files.hold(&cluster, since_epoch() + Duration::from_hours(24 * 365 * 4)));
        // A key of another certificate, or one file less, and all are made anew.
        fs::copy(files.path("node-1.key"), files.path("node-2.key")).unwrap();
        Files::prepare(dir.path(), &cluster).unwrap();
        let second = read("ca.crt");
        assert_ne!(second, first);
        fs::remove_file(files.path("client.crt")).unwrap();
        Files::prepare(dir.path(), &cluster).unwrap();
        assert_ne!(read("ca.crt"), second);
    }

    #[test]
    fn keys_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = TestDir::new();
        let cluster = Cluster::new(&Wanted { nodes: Some(1), ..Wanted::default() }, 7).unwrap();
        let files = Files::prepare(dir.path(), &cluster).unwrap();
        for name in ["ca.key", "node-1.key", "client.key"] {
            let mode = fs::metadata(files.path(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
