//! What every engine must do: each case gets empty views of [`PARTITIONS`] partitions.
//!
//! `embedded.rs` and `cql.rs` run all of them; a case that is missing in one of the two is
//! reported as dead code there.

pub(crate) mod order;
pub(crate) mod pages;
pub(crate) mod progress;
pub(crate) mod reads;
pub(crate) mod rebuild;
pub(crate) mod samples;

/// Partitions of the log that the samples are of.
pub(crate) const PARTITIONS: u32 = 4;
