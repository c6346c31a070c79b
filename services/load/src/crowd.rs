//! The customers of one run.

use rand::RngExt;
use rand::distr::Alphanumeric;

/// Customers are a prefix and a number. The prefix is random, seed or not: a customer who grabbed
/// in an earlier run would be told of the old coupon.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    prefix: String,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        let letters = rand::rng().sample_iter(Alphanumeric).take(8).map(char::from);
        Self { prefix: letters.collect() }
    }

    /// Names the run too.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// ASCII letters, digits and a dash: needs no escaping in JSON or a URL.
    pub(crate) fn customer_id(&self, number: u32) -> String {
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
        let crowd = Crowd::new();
        for number in [0, 7, u32::MAX] {
            assert_eq!(crowd.number_of(&crowd.customer_id(number)), Some(number));
        }
        for stranger in ["7", "x-7", &format!("{}-07", crowd.prefix()), crowd.prefix()] {
            assert_eq!(crowd.number_of(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn runs_do_not_collide() {
        assert_ne!(Crowd::new().prefix(), Crowd::new().prefix());
    }
}
