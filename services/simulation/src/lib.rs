//! A whole cluster in one thread: command nodes, projectors and clients as they are, on a broker, a database,
//! a network and clocks that fail as badly as real ones may.
//!
//! Time is tokio's paused time, so minutes pass in milliseconds, and chance comes from one seed: the same
//! seed gives the same run, line by line. What clients were told is held against the log by
//! `seckill-checker`, and the views by `seckill-projector`'s own `verify`.

mod clients;
mod cluster;
mod feed;
mod log;
mod panics;
mod run;
mod world;

pub use run::{Failed, Run, Totals, shortest, simulate};
