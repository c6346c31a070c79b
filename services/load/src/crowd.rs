//! The customers of one run.

use std::sync::atomic::{AtomicU32, Ordering};

use rand::RngExt;
use rand::distr::Alphanumeric;

/// Customers are a prefix and a number. The prefix is random, seed or not: a customer who grabbed
/// in an earlier run would be told of the old coupon.
#[derive(Debug)]
pub struct Crowd {
    prefix: String,
    next: AtomicU32,
}

impl Crowd {
    /// Customers who have not been here before.
    #[must_use]
    pub fn fresh() -> Self {
        let letters = rand::rng().sample_iter(Alphanumeric).take(8).map(char::from);
        Self::named(letters.collect())
    }

    /// The customers of this prefix, whether or not they have been here before.
    #[must_use]
    pub fn named(prefix: String) -> Self {
        Self { prefix, next: AtomicU32::new(0) }
    }

    /// The number of the next customer of at most so many, never one twice.
    pub fn next(&self, most: u32) -> Option<u32> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < most).then_some(number)
    }

    /// Names the run too.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// ASCII letters, digits and a dash: needs no escaping in JSON or a URL.
    #[must_use]
    pub fn customer_id(&self, number: u32) -> String {
        format!("{}-{number}", self.prefix)
    }

    /// The number in an id of this run.
    pub(crate) fn number_of(&self, customer_id: &str) -> Option<u32> {
        let number = customer_id.strip_prefix(&self.prefix)?.strip_prefix('-')?;
        let canonical = number == "0" || !number.starts_with(['0', '+']);
        number.parse().ok().filter(|_| canonical)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_known_again() {
        let crowd = Crowd::fresh();
        for number in [0, 7, u32::MAX] {
            assert_eq!(crowd.number_of(&crowd.customer_id(number)), Some(number));
        }
        for stranger in ["7", "x-7", &format!("{}-07", crowd.prefix()), crowd.prefix()] {
            assert_eq!(crowd.number_of(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn runs_do_not_collide() {
        assert_ne!(Crowd::fresh().prefix(), Crowd::fresh().prefix());
    }
}
