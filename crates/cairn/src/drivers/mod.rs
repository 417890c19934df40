//! What carries the node's effects to the real world: threads, sockets, files, the clock.
//!
//! ```text
//!   sockets ── network runtime ──► Mailbox ──► node thread ──► journal thread ── fdatasync
//!      ▲        (main thread)         ▲         │  │  │  └───► storage worker
//!      └── answers, peers' outboxes ◄─┼─────────┘  │  └──────► reader threads
//!                                     └── completions ◄────────────┘
//! ```
//!
//! A driver decides nothing: what the simulation runs is what production runs. The node's thread never
//! waits for anything but its mailbox, so no other thread can hold it up or lock with it.

pub(crate) mod answers;
pub(crate) mod clients;
pub(crate) mod clock;
pub(crate) mod frames;
#[cfg(test)]
mod garbage_tests;
pub(crate) mod hello;
pub(crate) mod journal_thread;
pub(crate) mod local;
pub(crate) mod mailbox;
pub(crate) mod metrics;
pub(crate) mod news;
pub(crate) mod node_loop;
pub(crate) mod os_disk;
pub(crate) mod outbox;
pub(crate) mod peers;
pub(crate) mod prefixed;
pub(crate) mod published;
pub(crate) mod queue;
pub(crate) mod random;
pub(crate) mod readers;
#[cfg(test)]
pub(crate) mod test_dir;
pub(crate) mod threads;
pub(crate) mod worker_thread;
