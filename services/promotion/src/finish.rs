//! Finishing: it is over for good, because its time is over or an operator says so. Cancelling is in
//! `cancel.rs`.

use seckill_proto::v1::{Accepted, FinishReason, PromotionFinished, Refusal, event};

use crate::promotion::{Decision, Finished, Inconsistent, Promotion};

pub(crate) fn due(promotion: &Promotion, now_ms: i64) -> Option<event::Body> {
    let on_sale = promotion.started && promotion.finished.is_none();
    let ended = promotion.terms.finishes_at_ms.is_some_and(|end_ms| now_ms >= end_ms);
    (on_sale && ended).then(|| finished(promotion, FinishReason::Time))
}

/// That nothing was left says more than who ended it.
pub(crate) fn finished(promotion: &Promotion, reason: FinishReason) -> event::Body {
    let reason = if promotion.remaining() == 0 { FinishReason::SoldOut } else { reason };
    event::Body::Finished(PromotionFinished { reason: reason.into() })
}

pub(crate) fn decide(promotion: Option<&Promotion>) -> Decision {
    let Some(promotion) = promotion else { return Decision::Refuse(Refusal::NotFound) };
    if promotion.finished.is_some() {
        return Decision::Repeat(Accepted { repeated: true, ..Accepted::default() });
    }
    if !promotion.started {
        return Decision::Refuse(Refusal::NotStarted);
    }
    Decision::Accept(finished(promotion, FinishReason::Closed))
}

pub(crate) fn apply(
    promotion: &mut Promotion,
    event: &PromotionFinished,
    at_ms: i64,
) -> Result<(), Inconsistent> {
    if promotion.finished.is_some() {
        return Err(Inconsistent("finished a second time"));
    }
    promotion.finished = Some(Finished { reason: event.reason(), at_ms });
    Ok(())
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::{FinishReason, Refusal, Terms};

    use crate::scenario::{Scenario, terms};

    #[test]
    fn an_operator_ends_it_before_its_time() {
        let scenario = Scenario::at(0)
            .finish("p")
            .refused(Refusal::NotFound)
            .schedule("p", terms(3))
            .finish("p")
            .refused(Refusal::NotStarted)
            .at_time(1_000)
            .grab("p", "a")
            .finish("p")
            .accepted()
            .grab("p", "b")
            .refused(Refusal::Finished)
            .grab("p", "a")
            .already(1)
            .finish("p")
            .repeated()
            .restock("p", 9)
            .refused(Refusal::Finished);
        assert_eq!(scenario.promotion("p").finished(), Some(FinishReason::Closed));
    }

    /// Whoever was told "sold out" is told so for ever.
    #[test]
    fn what_was_sold_out_is_ended_as_such() {
        let scenario = Scenario::at(1_000)
            .schedule("p", terms(1))
            .grab("p", "a")
            .finish("p")
            .accepted()
            .wrote(1)
            .grab("p", "b")
            .refused(Refusal::SoldOut);
        assert_eq!(scenario.promotion("p").finished(), Some(FinishReason::SoldOut));
    }

    /// The original answered 200 to grabs after the end, and gave nothing.
    #[test]
    fn a_grab_at_or_after_the_end_is_refused_and_coupons_given_stay() {
        let scenario = Scenario::at(1_000)
            .schedule("p", Terms { finishes_at_ms: Some(2_000), ..terms(10) })
            .at_time(1_999)
            .grab("p", "in time")
            .granted(1)
            .at_time(2_000)
            .grab("p", "late")
            .refused(Refusal::Finished)
            .grab("p", "in time")
            .already(1);
        assert_eq!(scenario.promotion("p").finished(), Some(FinishReason::Time));
    }

    #[test]
    fn the_clock_alone_finishes_it() {
        Scenario::at(1_000)
            .schedule("p", Terms { finishes_at_ms: Some(2_000), ..terms(10) })
            .at_time(1_999)
            .wake()
            .wrote(0)
            .at_time(2_000)
            .wake()
            .wrote(1);
    }
}
