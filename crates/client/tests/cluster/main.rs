//! The client against a model of a cluster: by script and in paused time, over TCP, and as the
//! source and the target of backups.

mod backup;
mod fake;
mod operations;
mod tcp;
