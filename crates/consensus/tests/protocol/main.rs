//! The protocols, message by message: golden scripts that show whole traces, and one test for each claim
//! of the papers. Both drive the same small cluster, where each message and each write is moved
//! by hand.

mod cluster;
mod golden;
mod paper;
mod print;
mod zab;
