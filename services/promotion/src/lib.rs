//! The rules of a flash sale: what a command does to a promotion, decided on its state alone.
//!
//! Pure: no clock, no I/O, no async. [`Book`] holds the promotions of one partition; a command
//! goes through [`Book::handle`], an event of the log through [`Book::apply`], and both leave the
//! same state, because `handle` only ever changes state by applying the events it returns.
//!
//! Kept by every rule: granted coupons never exceed the coupons offered, serials are 1, 2, 3, ...
//! without a gap, and nobody holds more than the limit. `apply` refuses an event that would break
//! one of these, so a damaged log is noticed and never obeyed.
//!
//! One file per noun: the rule, what it changes, and its given/when/then tests.

mod book;
mod cancel;
mod change;
mod finish;
mod grab;
mod holders;
mod index;
mod pause;
mod promotion;
mod restock;
mod schedule;
mod snapshot;
mod sold_out;
mod start;
mod terms;

#[cfg(test)]
mod scenario;

pub use book::{Archived, Book, Handled};
pub use promotion::{Decision, Inconsistent, Promotion};
pub use snapshot::{Changes, MAX_PART_BYTES, Restore, end_of};
pub use terms::check as check_terms;
