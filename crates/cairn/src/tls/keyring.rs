//! What one port shows and trusts, and may take anew while the node runs.
//!
//! A handshake takes what is there at its beginning, so connections that live go on with what they
//! began with. Files that can't be used change nothing.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustls::{ClientConfig, ServerConfig};

use super::files::{Callers, TlsFault, TlsFiles, client_config, read_roots, server_config};
use super::words::{self, Names};

/// What is spoken inside TLS on the client port, the dearest first, for those who ask for one of
/// several; frames do not ask. To name one here that is not served would break every client that
/// prefers it, as curl does `h2`.
const CLIENT_PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Whose keyring it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ring {
    /// The client port's.
    Clients,
    /// That of the nodes among themselves: it also opens doors.
    Peers,
}

/// A certificate, its key, and whom to trust.
pub(crate) struct Keyring {
    ring: Ring,
    files: TlsFiles,
    current: Mutex<Current>,
}

#[derive(Clone)]
struct Current {
    server: Arc<ServerConfig>,
    client: Option<Arc<ClientConfig>>,
}

/// What the system says of files: another one, and they may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<Option<(Option<SystemTime>, u64, u64)>>);

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Reads the files.
    pub(crate) fn load(ring: Ring, files: TlsFiles) -> Result<Self, TlsFault> {
        let current = Mutex::new(read(ring, &files)?);
        Ok(Self { ring, files, current })
    }

    /// Reads the files again. If they can't be used, nothing changes.
    pub(crate) fn reload(&self) -> Result<(), TlsFault> {
        let current = read(self.ring, &self.files)?;
        *self.current() = current;
        Ok(())
    }

    /// For who is called.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().server)
    }

    /// For who calls. Only nodes call with what they show.
    pub(crate) fn client(&self) -> Option<Arc<ClientConfig>> {
        self.current().client.clone()
    }

    /// How its settings are called.
    pub(crate) fn names(&self) -> Names {
        match self.ring {
            Ring::Clients => words::CLIENT_PORT,
            Ring::Peers => words::PEER_PORT,
        }
    }

    /// What the system says of the files now.
    pub(crate) fn stamp(&self) -> Stamp {
        let of = |metadata: Metadata| (metadata.modified().ok(), metadata.len(), metadata.ino());
        Stamp(self.files.paths().map(|path| std::fs::metadata(path).ok().map(of)).collect())
    }

    /// The files, for a log.
    pub(crate) fn describe(&self) -> String {
        self.files.cert.display().to_string()
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // Nothing in here can panic half-way through a change.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(ring: Ring, files: &TlsFiles) -> Result<Current, TlsFault> {
    let protocols = match ring {
        Ring::Clients => CLIENT_PROTOCOLS,
        Ring::Peers => &[],
    };
    let server = Arc::new(server_config(files, protocols)?);
    let client = match (ring, &files.callers) {
        (Ring::Peers, Callers::MayShow(ca) | Callers::MustShow(ca)) => {
            Some(Arc::new(client_config(read_roots(ca)?, Some((&files.cert, &files.key)))?))
        }
        (Ring::Peers, Callers::Unknown) | (Ring::Clients, _) => None,
    };
    Ok(Current { server, client })
}
