//! Certificates that are renewed while the node runs: the files are looked at again and again, by a
//! thread of its own, for they may lie on a disk that hangs.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{info, warn};

use super::metrics::Metrics;
use super::queue::Queue;
use super::threads;
use crate::errors::Fault;
use crate::tls::keyring::{Keyring, Stamp};

/// How often.
const PAUSE: Duration = Duration::from_secs(1);

/// A keyring and what was last seen of its files.
struct Watched {
    keyring: Arc<Keyring>,
    seen: Stamp,
    /// Why the files could not be used when they were last read, if they could not.
    failure: Option<String>,
}

/// Starts the thread. It ends when `closing` is closed.
pub(crate) fn start(
    keyrings: impl IntoIterator<Item = Arc<Keyring>>,
    closing: Arc<Queue<()>>,
    metrics: Metrics,
) -> Result<JoinHandle<()>, Fault> {
    let mut watched: Vec<Watched> = keyrings.into_iter().map(Watched::new).collect();
    threads::start("certificates", move || {
        while !closing.pause(PAUSE) {
            for watched in &mut watched {
                watched.look(&metrics);
            }
        }
    })
}

impl Watched {
    fn new(keyring: Arc<Keyring>) -> Self {
        let seen = keyring.stamp();
        Self { keyring, seen, failure: None }
    }

    /// Takes the files anew if they have changed. Those that could not be used are tried each time: the
    /// second of two files may have been written within the same tick of the file system's clock.
    fn look(&mut self, metrics: &Metrics) {
        let stamp = self.keyring.stamp();
        if stamp == self.seen && self.failure.is_none() {
            return;
        }
        self.seen = stamp;
        let certificate = self.keyring.describe();
        match self.keyring.reload() {
            Ok(()) => {
                self.failure = None;
                metrics.tls_reloads.inc();
                info!(certificate, "the certificate was read anew; new connections get it");
            }
            Err(fault) => {
                let why = fault.to_string();
                if self.failure.as_ref() != Some(&why) {
                    metrics.failed_tls_reloads.inc();
                    let code = "tls-unusable";
                    warn!(
                        certificate,
                        code, "changed files can't be used, the old ones go on: {why}"
                    );
                }
                self.failure = Some(why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::drivers::test_dir::TestDir;
    use crate::tls::files::{Callers, TlsFiles};
    use crate::tls::keyring::Ring;
    use crate::tls::make::{Authority, Pair, Purpose};

    fn pair(authority: &Authority) -> Pair {
        authority.issue("n1", Purpose::Node(&["localhost"])).unwrap()
    }

    /// As one file takes another's place in life: written beside it, then renamed.
    fn replace(path: &Path, text: &str) {
        let part = path.with_extension("part");
        std::fs::write(&part, text).unwrap();
        std::fs::rename(part, path).unwrap();
    }

    #[test]
    fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
        let dir = TestDir::new();
        let path = |name: &str| dir.path().join(name);
        let (cert, key) = (path("n1.crt"), path("n1.key"));
        let authority = Authority::new("ca", Duration::from_hours(24 * 365 * 50)).unwrap();
        let put = |Pair { cert: cert_text, key: key_text }: &Pair| {
            replace(&cert, cert_text);
            replace(&key, key_text);
        };
        put(&pair(&authority));
        let files = TlsFiles { cert: cert.clone(), key: key.clone(), callers: Callers::Unknown };
        let keyring = Arc::new(Keyring::load(Ring::Clients, files).unwrap());
        let metrics = Metrics::new();
        let mut watched = Watched::new(Arc::clone(&keyring));
        let counts = || (metrics.tls_reloads.get(), metrics.failed_tls_reloads.get());
        let first = keyring.server();
        watched.look(&metrics);
        assert!(Arc::ptr_eq(&first, &keyring.server()), "nothing has changed");
        // The certificate comes before its key.
        let second = pair(&authority);
        replace(&cert, &second.cert);
        watched.look(&metrics);
        watched.look(&metrics);
        assert!(Arc::ptr_eq(&first, &keyring.server()), "they don't belong together");
        assert_eq!(counts(), (0, 1), "one warning for one reason");
        assert!(watched.failure.as_ref().unwrap().contains("does not belong to the key"));
        replace(&key, &second.key);
        watched.look(&metrics);
        let taken = keyring.server();
        assert!(!Arc::ptr_eq(&first, &taken));
        assert_eq!(counts(), (1, 1));
        // A file that is gone changes nothing.
        std::fs::remove_file(&cert).unwrap();
        watched.look(&metrics);
        assert!(Arc::ptr_eq(&taken, &keyring.server()));
        assert!(watched.failure.as_ref().unwrap().starts_with("read the certificate "));
        put(&pair(&authority));
        watched.look(&metrics);
        assert_eq!(counts(), (2, 2));
    }
}
