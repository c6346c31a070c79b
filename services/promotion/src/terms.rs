//! What an operator may offer.

use seckill_proto::v1::{Refusal, Terms};

/// Checks terms on their own, without a clock.
///
/// # Errors
/// What is wrong, as words for a person.
pub fn check(terms: &Terms) -> Result<(), &'static str> {
    if terms.coupons == 0 {
        return Err("coupons must be from 1 to 4294967295");
    }
    if !(terms.discount > 0.0 && terms.discount <= 1.0) {
        return Err("discount must be more than 0 and at most 1");
    }
    if terms.limit_per_customer == 0 {
        return Err("limit_per_customer must be from 1 to 4294967295");
    }
    if terms.finishes_at_ms.is_some_and(|finishes_at_ms| finishes_at_ms <= terms.starts_at_ms) {
        return Err("finishes_at must be later than starts_at");
    }
    Ok(())
}

/// Why a promotion may not be offered on these terms from now on; none where it may.
pub(crate) fn refusal(terms: &Terms, now_ms: i64) -> Option<Refusal> {
    let earliest = terms.starts_at_ms.max(now_ms);
    if terms.finishes_at_ms.is_some_and(|finishes_at_ms| finishes_at_ms <= earliest) {
        return Some(Refusal::EndTooEarly);
    }
    check(terms).err().map(|_| Refusal::InvalidTerms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::terms;

    #[test]
    fn each_term_has_its_range() {
        let good = terms(10);
        assert_eq!(check(&good), Ok(()));
        let bad = [
            Terms { coupons: 0, ..good.clone() },
            Terms { discount: 0.0, ..good.clone() },
            Terms { discount: 1.01, ..good.clone() },
            Terms { discount: -0.5, ..good.clone() },
            Terms { discount: f64::NAN, ..good.clone() },
            Terms { limit_per_customer: 0, ..good.clone() },
            Terms { finishes_at_ms: Some(good.starts_at_ms), ..good.clone() },
        ];
        for terms in bad {
            assert!(check(&terms).is_err(), "{terms:?}");
        }
    }

    #[test]
    fn an_end_that_has_passed_is_no_offer() {
        let terms = Terms { finishes_at_ms: Some(2_000), ..terms(10) };
        assert_eq!(refusal(&terms, 1_999), None);
        assert_eq!(refusal(&terms, 2_000), Some(Refusal::EndTooEarly));
        let never = Terms { finishes_at_ms: Some(1_000), ..terms.clone() };
        assert_eq!(refusal(&never, 0), Some(Refusal::EndTooEarly));
        assert_eq!(refusal(&Terms { coupons: 0, ..terms }, 0), Some(Refusal::InvalidTerms));
    }
}
