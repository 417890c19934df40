//! The protocols, message by message: golden scripts that show whole traces, and one test for each claim
//! of the papers. Both drive the same small cluster, where each message and each write is moved
//! by hand. A Paxos replica alone is also sent garbage.

mod cluster;
mod golden;
mod leases;
mod paper;
mod paxos;
mod print;
mod reads;
mod zab;
