//! Certificates of CAs that nobody else trusts.

#[path = "../../../src/tls/make.rs"]
mod make;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use make::{Authority, Pair, Purpose};

use super::TestDir;

/// For each CA: `NAME.crt`, `NAME-node.crt` with its key, `NAME-client.crt` and
/// `NAME-root.crt` with theirs, for the users `alice` and `root`.
#[derive(Debug)]
pub(crate) struct Certificates {
    dir: TestDir,
}

impl Certificates {
    /// Of CAs with these names.
    pub(crate) fn of(names: &[&str]) -> Self {
        let certificates = Self { dir: TestDir::new() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        for name in names {
            let authority = Authority::new(name, now).unwrap();
            certificates.put(name, authority.own());
            let hosts = ["localhost", "127.0.0.1"];
            let node = authority.issue("node", Purpose::Node(&hosts)).unwrap();
            certificates.put(&format!("{name}-node"), &node);
            for (suffix, user) in [("client", "alice"), ("root", "root")] {
                let client = authority.issue(user, Purpose::Client).unwrap();
                certificates.put(&format!("{name}-{suffix}"), &client);
            }
        }
        certificates
    }

    fn put(&self, name: &str, pair: &Pair) {
        std::fs::write(self.path(&format!("{name}.crt")), &pair.cert).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), &pair.key).unwrap();
    }

    /// A file.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// The same, as a word of a command.
    pub(crate) fn word(&self, file: &str) -> String {
        self.path(file).to_str().unwrap().to_owned()
    }

    /// Puts one file into another's place, as renewals do it.
    pub(crate) fn replace(&self, old: &str, new: &str) {
        let part = self.path("part");
        std::fs::copy(self.path(new), &part).unwrap();
        std::fs::rename(part, self.path(old)).unwrap();
    }
}
