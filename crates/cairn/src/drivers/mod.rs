//! What carries the node's effects to the real world: threads, sockets, files, the clock.
//!
//! ```text
//!   peers' sockets ──┐  tasks of one thread              ┌────► journal thread ── fdatasync
//!                    ├───► Mailbox ──► node ──► effects ─┼────► storage worker
//!   clients' sockets ┘        ▲         │                └────► reader threads
//!    (there, or on a          │         └──► outboxes, answers         │
//!     thread of their own)    └──────────── completions ◄──────────────┘
//! ```
//!
//! To hand something over to a thread that sleeps costs some 20 µs, as much as all else that a small
//! write needs: so what the node says and hears goes through tasks of its own thread, and what may
//! block goes to others. With many processors the client port has a thread of its own, for its
//! protocols are more work than the node's.
//!
//! A driver decides nothing: what the simulation runs is what production runs. The node's thread never
//! waits for anything but its mailbox, so no other thread can hold it up or lock with it.

pub(crate) mod answers;
pub(crate) mod certificates;
pub(crate) mod clients;
pub(crate) mod clock;
pub(crate) mod entrance;
pub(crate) mod exchange;
pub(crate) mod frames;
#[cfg(test)]
mod garbage_tests;
pub(crate) mod hearing;
pub(crate) mod hello;
pub(crate) mod http;
pub(crate) mod journal_thread;
pub(crate) mod journals;
pub(crate) mod local;
pub(crate) mod mailbox;
pub(crate) mod manners;
pub(crate) mod metrics;
pub(crate) mod news;
pub(crate) mod node_loop;
pub(crate) mod os_disk;
pub(crate) mod outbox;
pub(crate) mod own_entry;
pub(crate) mod passwords;
pub(crate) mod peers;
pub(crate) mod prefixed;
pub(crate) mod published;
pub(crate) mod queue;
pub(crate) mod random;
pub(crate) mod read_disk;
pub(crate) mod readers;
pub(crate) mod refusals;
pub(crate) mod roster;
pub(crate) mod scrub_thread;
pub(crate) mod stages;
#[cfg(test)]
pub(crate) mod test_dir;
#[cfg(test)]
pub(crate) mod test_status;
pub(crate) mod threads;
pub(crate) mod worker_thread;
