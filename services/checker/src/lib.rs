//! Checks the answers that clients got in a run against the log of that run, on any engine and after any fault.
//!
//! [`Ledger`] reads the log and keeps what it says of every sale, with promises that need no client: nothing
//! oversold, serials without a gap, nobody over the limit. [`check`] reads the [`Attempt`]s of a run and
//! holds each against the ledger. Both take time and memory in proportion to what they read.
//!
//! Nothing here knows the rules of `seckill-promotion`, which decide: what is checked is written down a
//! second time, from what was promised.

mod check;
mod history;
mod ledger;

#[cfg(test)]
mod tests;

pub use check::{PROMISES, REFUSALS_OLD_US, check};
pub use history::{Attempt, Outcome, Reason, Violation, history_name, now_us, read_history};
pub use ledger::{Ledger, ReadError, Reading};
