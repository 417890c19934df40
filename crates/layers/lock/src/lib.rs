//! Locks, elections and sessions: a layer that keeps all its state in keys and leases.
//!
//! A lock is a queue of keys below one prefix (`queue`): whoever entered first holds it. Who waits
//! watches the one key before its own, so that a release wakes one waiter and not the herd. The key
//! hangs on the holder's lease, so a holder that dies lets go when its time is over. The keys are those
//! of etcd's own concurrency library, `NAME/LEASE` with the lease in hexadecimal: its users and ours
//! exclude one another, and stand in one queue.
//!
//! # A lock alone is advisory
//!
//! Nothing on earth keeps a process that was paused (a debugger, a swapped-out page, a virtual machine
//! moved) from writing after its lease has ended and the lock is another's. So each lock and each
//! leadership comes with a [`Sequencer`], the fencing token: the key, and the revision that created it.
//! Bear it in every write ([`wire::Txn::fences`]), and the store itself refuses the write of whoever has
//! lost the lock, in the very transaction. A lock whose token nobody checks keeps honest, lively
//! processes out of one another's way, and promises nothing more. The same goes for resources outside of
//! the store: they must remember the highest token seen, and refuse lower ones.
//!
//! # Invariants
//!
//! * At one revision at most one key is the head of a queue; of two holders the later one has the
//!   higher token.
//! * Every state that a process can leave behind is cleaned up by its lease: it may be killed at any
//!   line.
//! * [`Session`] says that it is lost before the cluster can have ended the lease, as long as the
//!   machine's monotonic clock is no slower than the leader's and the holder gets to run.
//!
//! # Reference
//!
//! Burrows, *The Chubby lock service* (2006), §2.4 (sequencers). Hunt et al., *ZooKeeper* (2010), §2.4
//! (locks without the herd effect).

mod election;
mod error;
mod lock;
mod queue;
mod sequencer;
mod session;

pub use election::{Election, Leadership, Observed, Observer};
pub use error::Error;
pub use lock::{Held, Lock};
pub use sequencer::{ParseSequencerError, Sequencer};
pub use session::{Lost, Session};
