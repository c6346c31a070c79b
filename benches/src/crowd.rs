//! Customers who have not been here before.

use std::sync::atomic::{AtomicU32, Ordering};

/// All customers of a run. The owner remembers each of them, so there is a bound.
pub(crate) const MOST: u32 = 10_000_000;

/// Hands out customers, never one twice.
pub(crate) struct Crowd {
    prefix: String,
    next: AtomicU32,
}

impl Crowd {
    pub(crate) fn new(run: &str) -> Self {
        Self { prefix: run.to_owned(), next: AtomicU32::new(0) }
    }

    /// The number of the next customer, while there is one.
    pub(crate) fn next(&self) -> Option<u32> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < MOST).then_some(number)
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= MOST
    }

    /// All ids are equally long, and plain in JSON.
    pub(crate) fn customer_id(&self, number: u32) -> String {
        format!("{}-{number:08}", self.prefix)
    }
}
