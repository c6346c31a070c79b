//! Restocking: more coupons until the promotion is over, also after it was sold out.
//!
//! The command names the new total, so that repeating it does no harm.

use seckill_proto::v1::{Accepted, PromotionRestocked, Refusal, RestockPromotion, event};

use crate::promotion::{Decision, Inconsistent, Promotion};

pub(crate) fn decide(
    promotion: Option<&Promotion>,
    command: &RestockPromotion,
    now_ms: i64,
) -> Decision {
    let Some(promotion) = promotion else { return Decision::Refuse(Refusal::NotFound) };
    if promotion.terms.coupons == command.coupons {
        return Decision::Repeat(Accepted { repeated: true, ..Accepted::default() });
    }
    let ended = promotion.terms.finishes_at_ms.is_some_and(|end_ms| now_ms >= end_ms);
    if promotion.finished.is_some() || ended {
        return Decision::Refuse(Refusal::Finished);
    }
    if !promotion.started {
        return Decision::Refuse(Refusal::NotStarted);
    }
    if command.coupons < promotion.terms.coupons {
        return Decision::Refuse(Refusal::TotalTooLow);
    }
    Decision::Accept(event::Body::Restocked(PromotionRestocked {
        coupons: command.coupons,
        remaining: command.coupons - promotion.granted,
    }))
}

pub(crate) fn apply(
    promotion: &mut Promotion,
    event: &PromotionRestocked,
) -> Result<(), Inconsistent> {
    if event.coupons.checked_sub(promotion.granted) != Some(event.remaining) {
        return Err(Inconsistent("restocked to a total that does not fit what was granted"));
    }
    promotion.terms.coupons = event.coupons;
    if event.remaining > 0 {
        promotion.sold_out_at_ms = None;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Scenario, terms};

    #[test]
    fn more_coupons_while_it_is_active() {
        Scenario::at(0)
            .restock("p", 3)
            .refused(Refusal::NotFound)
            .schedule("p", terms(2))
            .restock("p", 3)
            .refused(Refusal::NotStarted)
            .at_time(1_000)
            .grab("p", "a")
            .restock("p", 3)
            .accepted()
            .restock("p", 3)
            .repeated()
            .restock("p", 2)
            .refused(Refusal::TotalTooLow)
            .grab("p", "b")
            .granted(2)
            .grab("p", "c")
            .granted(3)
            .grab("p", "d")
            .refused(Refusal::SoldOut)
            .restock("p", 4)
            .accepted()
            .grab("p", "d")
            .granted(4);
    }
}
