//! Real encodings to begin from, written by the code that writes them in production.

mod messages;
mod peers;
mod storage;
mod texts;

pub(crate) use messages::{
    answers, commands, frames, hellos, requests, restore, retried_writes, some_writes,
};
pub(crate) use peers::{follow, lead, peers, stand};
pub(crate) use storage::{backups, checkpoints, journals, node_states, rows};
pub(crate) use texts::{configurations, http, json, node_files, toml};
