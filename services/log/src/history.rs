//! Which history a partition has: a rolling hash over its records, in order, fences and void
//! records included.
//!
//! Two logs that are equally long, or end in the same fence, can still be different logs: one may
//! have lost its end and grown again. Equal hashes at equal offsets say that they are the same. The
//! hash is written into snapshots, views and the embedded log's files, so it must never change.

use std::fmt;

use twox_hash::XxHash3_64;

/// The hash of all records of a partition before an offset; 0 before the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct History(u64);

impl History {
    /// The history with one record more: XXH3-64 of its bytes, seeded with the hash before it.
    #[must_use]
    pub fn then(self, record: &[u8]) -> Self {
        Self(XxHash3_64::oneshot_with_seed(self.0, record))
    }

    /// The history whose number was stored.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number to store.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for History {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Debug for History {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(records: &[&str]) -> History {
        records.iter().fold(History::default(), |history, record| history.then(record.as_bytes()))
    }

    #[test]
    fn every_record_and_its_place_count() {
        assert_eq!(history(&["a", "b"]), history(&["a", "b"]));
        for other in [&["b", "a"][..], &["a"], &["ab"], &["a", "b", ""], &["a", "c"]] {
            assert_ne!(history(&["a", "b"]), history(other), "{other:?}");
        }
    }

    /// Pinned: another value means that no stored history is recognised any more.
    #[test]
    fn the_hash_never_changes() {
        assert_eq!(history(&["a", "b"]).to_string(), "e8b979c9572dc50c");
        let long = "x".repeat(1_000);
        assert_eq!(history(&[&long]).to_string(), "c0a4877b962cba82");
    }
}
