//! Finishing: sold out, or its time is over. Cancelling is in `cancel.rs`.

use seckill_proto::v1::{FinishReason, PromotionFinished, event};

use crate::promotion::{Finished, Inconsistent, Promotion};

/// Also repairs a log that ends between the last grab and its finish.
pub(crate) fn due(promotion: &Promotion, now_ms: i64) -> Option<event::Body> {
    if !promotion.started || promotion.finished.is_some() {
        return None;
    }
    let reason = if promotion.remaining() == 0 {
        FinishReason::SoldOut
    } else if promotion.terms.finishes_at_ms.is_some_and(|finishes_at_ms| now_ms >= finishes_at_ms)
    {
        FinishReason::Time
    } else {
        return None;
    };
    Some(event::Body::Finished(PromotionFinished { reason: reason.into() }))
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
    fn the_last_coupon_finishes_it() {
        let scenario = Scenario::at(1_000)
            .schedule("p", terms(2))
            .grab("p", "a")
            .wrote(1)
            .grab("p", "b")
            .granted(2)
            .wrote(2);
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
