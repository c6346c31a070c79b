//! Grabbing: one coupon for one customer, if there is one and it is theirs to take.

use seckill_proto::v1::{Accepted, CouponGrabbed, FinishReason, GrabCoupon, Refusal, event};

use crate::holders::Coupon;
use crate::promotion::{Decision, Inconsistent, Promotion};

/// Refusals in order of precedence. A customer who holds the coupon asked for gets it again,
/// whatever has become of the promotion; one who holds none is never told "already yours".
pub(crate) fn decide(promotion: Option<&Promotion>, grab: &GrabCoupon, now_ms: i64) -> Decision {
    let Some(promotion) = promotion else { return Decision::Refuse(Refusal::NotFound) };
    let newest = promotion.holders.newest(&grab.customer_id);
    if let Some(coupon) = same_request(promotion, newest, grab) {
        return Decision::Repeat(coupon.accepted());
    }
    if let Some(reason) = promotion.finished() {
        return refuse_finished(promotion, reason);
    }
    if !promotion.started {
        return Decision::Refuse(Refusal::NotStarted);
    }
    if promotion.terms.finishes_at_ms.is_some_and(|finishes_at_ms| now_ms >= finishes_at_ms) {
        return Decision::Refuse(Refusal::Finished);
    }
    if promotion.remaining() == 0 {
        return Decision::Refuse(Refusal::SoldOut);
    }
    if newest.is_some_and(|coupon| coupon.nth >= promotion.terms.limit_per_customer) {
        return Decision::Refuse(Refusal::LimitReached);
    }
    if promotion.paused {
        return Decision::Refuse(Refusal::Paused);
    }
    Decision::Accept(event::Body::Grabbed(grabbed(promotion, grab)))
}

/// With a limit of one the customer is the request; above it, an equal Idempotency-Key is.
fn same_request<'a>(
    promotion: &'a Promotion,
    newest: Option<Coupon<'a>>,
    grab: &GrabCoupon,
) -> Option<Coupon<'a>> {
    if promotion.terms.limit_per_customer == 1 {
        return newest;
    }
    promotion.holders.of_key(&grab.customer_id, &grab.idempotency_key)
}

fn refuse_finished(promotion: &Promotion, reason: FinishReason) -> Decision {
    let refusal = match reason {
        FinishReason::SoldOut => Refusal::SoldOut,
        FinishReason::Time
        | FinishReason::Cancelled
        | FinishReason::Closed
        | FinishReason::Unspecified => Refusal::Finished,
    };
    // Above a limit of one only a key says that a request is asked again, and with keys nothing is archived.
    if promotion.archived && promotion.terms.limit_per_customer == 1 {
        Decision::RefuseUnlessHeld(refusal)
    } else {
        Decision::Refuse(refusal)
    }
}

fn grabbed(promotion: &Promotion, grab: &GrabCoupon) -> CouponGrabbed {
    let keyed = promotion.terms.limit_per_customer > 1;
    CouponGrabbed {
        serial: promotion.granted + 1,
        customer_id: grab.customer_id.clone(),
        remaining: promotion.remaining() - 1,
        idempotency_key: if keyed { grab.idempotency_key.clone() } else { String::new() },
    }
}

pub(crate) fn apply(
    promotion: &mut Promotion,
    event: &CouponGrabbed,
    at_ms: i64,
) -> Result<(), Inconsistent> {
    if !promotion.started || promotion.finished.is_some() || promotion.paused {
        return Err(Inconsistent("grabbed while the promotion was not active"));
    }
    if Some(event.serial) != promotion.granted.checked_add(1) {
        return Err(Inconsistent("the serial is not the next one"));
    }
    if promotion.terms.coupons.checked_sub(event.serial) != Some(event.remaining) {
        return Err(Inconsistent("more coupons granted than offered, or remaining is wrong"));
    }
    let limit = promotion.terms.limit_per_customer;
    promotion.holders.grant(&event.customer_id, &event.idempotency_key, at_ms, limit)?;
    promotion.granted = event.serial;
    Ok(())
}

impl Coupon<'_> {
    fn accepted(&self) -> Accepted {
        Accepted { repeated: true, serial: self.serial, at_ms: self.at_ms }
    }
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::Terms;

    use super::*;
    use crate::scenario::{Scenario, terms};

    #[test]
    fn five_customers_in_turn_get_serials_one_to_five() {
        let mut scenario = Scenario::at(1_000).schedule("p", terms(10));
        for serial in 1..=5 {
            scenario = scenario.grab("p", &format!("c{serial}")).granted(serial);
        }
    }

    #[test]
    fn the_eleventh_of_ten_is_refused_and_stays_sold_out_on_retry() {
        let mut scenario = Scenario::at(1_000).schedule("p", terms(10));
        for serial in 1..=10 {
            scenario = scenario.grab("p", &format!("c{serial}")).granted(serial);
        }
        scenario
            .grab("p", "eleventh")
            .refused(Refusal::SoldOut)
            .grab("p", "eleventh")
            .refused(Refusal::SoldOut)
            .grab("p", "c10")
            .already(10);
    }

    #[test]
    fn the_same_customer_again_gets_the_same_coupon() {
        Scenario::at(1_000)
            .schedule("p", terms(10))
            .grab("p", "c")
            .granted(1)
            .wrote(1)
            .at_time(5_000)
            .grab("p", "c")
            .already(1)
            .wrote(0);
    }

    #[test]
    fn one_customer_holds_a_coupon_of_each_promotion() {
        Scenario::at(1_000)
            .schedule("p", terms(10))
            .schedule("q", terms(10))
            .grab("p", "c")
            .granted(1)
            .grab("q", "c")
            .granted(1);
    }

    #[test]
    fn unknown_and_not_started() {
        Scenario::at(0)
            .grab("p", "c")
            .refused(Refusal::NotFound)
            .schedule("p", terms(10))
            .grab("p", "c")
            .refused(Refusal::NotStarted);
    }

    #[test]
    fn above_a_limit_of_one_the_key_tells_a_retry_from_another_wish() {
        Scenario::at(1_000)
            .schedule("p", Terms { limit_per_customer: 2, ..terms(10) })
            .grab_with_key("p", "c", "k1")
            .granted(1)
            .grab_with_key("p", "c", "k1")
            .already(1)
            .grab_with_key("p", "c", "k2")
            .granted(2)
            .grab_with_key("p", "c", "k3")
            .refused(Refusal::LimitReached)
            .grab_with_key("p", "c", "k2")
            .already(2)
            .grab("p", "c")
            .refused(Refusal::LimitReached)
            .grab("p", "d")
            .granted(3)
            .grab("p", "d")
            .granted(4);
    }

    #[test]
    fn a_grab_that_does_not_fit_is_not_applied() {
        let event = |serial, customer: &str, remaining| CouponGrabbed {
            serial,
            customer_id: customer.into(),
            remaining,
            idempotency_key: String::new(),
        };
        let mut promotion = Promotion::new(terms(2));
        assert!(apply(&mut promotion, &event(1, "a", 1), 5).is_err(), "not started");
        promotion.started = true;
        assert_eq!(apply(&mut promotion, &event(1, "a", 1), 5), Ok(()));
        assert!(apply(&mut promotion, &event(1, "b", 1), 5).is_err(), "serial twice");
        assert!(apply(&mut promotion, &event(3, "b", 0), 5).is_err(), "serial left out");
        assert!(apply(&mut promotion, &event(2, "b", 1), 5).is_err(), "remaining wrong");
        assert!(apply(&mut promotion, &event(2, "a", 0), 5).is_err(), "over the limit");
        assert_eq!(apply(&mut promotion, &event(2, "b", 0), 5), Ok(()));
        assert!(apply(&mut promotion, &event(3, "c", 0), 5).is_err(), "more than offered");
    }
}
