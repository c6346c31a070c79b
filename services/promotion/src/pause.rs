//! Pausing and resuming: the operator keeps coupons back for a while. The end comes all the same.

use seckill_proto::v1::{Accepted, PromotionPaused, PromotionResumed, Refusal, event};

use crate::promotion::{Decision, Inconsistent, Promotion};

pub(crate) fn decide(promotion: Option<&Promotion>) -> Decision {
    match promotion {
        // Nothing is given then anyway.
        Some(sold_out) if sold_out.sold_out_at_ms.is_some() && sold_out.finished.is_none() => {
            Decision::Refuse(Refusal::SoldOut)
        }
        _ => to(promotion, true, event::Body::Paused(PromotionPaused {})),
    }
}

pub(crate) fn decide_resume(promotion: Option<&Promotion>) -> Decision {
    to(promotion, false, event::Body::Resumed(PromotionResumed {}))
}

fn to(promotion: Option<&Promotion>, paused: bool, event: event::Body) -> Decision {
    let Some(promotion) = promotion else { return Decision::Refuse(Refusal::NotFound) };
    if promotion.finished.is_some() {
        return Decision::Refuse(Refusal::Finished);
    }
    if !promotion.started {
        return Decision::Refuse(Refusal::NotStarted);
    }
    if promotion.paused == paused {
        return Decision::Repeat(Accepted { repeated: true, ..Accepted::default() });
    }
    Decision::Accept(event)
}

pub(crate) fn apply(promotion: &mut Promotion, paused: bool) -> Result<(), Inconsistent> {
    let on_sale = promotion.started && promotion.finished.is_none();
    if !on_sale || promotion.paused == paused || promotion.sold_out_at_ms.is_some() {
        return Err(Inconsistent("paused or resumed a second time, or while it was not on sale"));
    }
    promotion.paused = paused;
    Ok(())
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::{FinishReason, Terms};

    use super::*;
    use crate::scenario::{Scenario, terms};

    #[test]
    fn while_it_is_paused_nobody_is_given_a_coupon() {
        Scenario::at(0)
            .pause("p")
            .refused(Refusal::NotFound)
            .schedule("p", terms(2))
            .pause("p")
            .refused(Refusal::NotStarted)
            .at_time(1_000)
            .resume("p")
            .repeated()
            .grab("p", "a")
            .pause("p")
            .accepted()
            .pause("p")
            .repeated()
            .grab("p", "b")
            .refused(Refusal::Paused)
            .grab("p", "a")
            .already(1)
            .resume("p")
            .accepted()
            .grab("p", "b")
            .granted(2)
            .pause("p")
            .refused(Refusal::SoldOut)
            .resume("p")
            .repeated();
    }

    #[test]
    fn the_end_comes_all_the_same() {
        let scenario = Scenario::at(1_000)
            .schedule("p", Terms { finishes_at_ms: Some(2_000), ..terms(2) })
            .pause("p")
            .accepted()
            .restock("p", 3)
            .accepted()
            .grab("p", "a")
            .refused(Refusal::Paused)
            .at_time(2_000)
            .resume("p")
            .refused(Refusal::Finished);
        assert_eq!(scenario.promotion("p").finished(), Some(FinishReason::Time));
    }
}
