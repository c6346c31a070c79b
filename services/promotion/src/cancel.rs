//! Cancelling: the operator ends a promotion. Coupons already given stay given.

use seckill_proto::v1::{Accepted, FinishReason, PromotionFinished, Refusal, event};

use crate::promotion::{Decision, Promotion};

pub(crate) fn decide(promotion: Option<&Promotion>) -> Decision {
    let Some(promotion) = promotion else { return Decision::Refuse(Refusal::NotFound) };
    match promotion.finished() {
        Some(FinishReason::Cancelled) => {
            Decision::Repeat(Accepted { repeated: true, ..Accepted::default() })
        }
        Some(_) => Decision::Refuse(Refusal::Finished),
        None => Decision::Accept(event::Body::Finished(PromotionFinished {
            reason: FinishReason::Cancelled.into(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Scenario, terms};

    #[test]
    fn a_cancelled_promotion_gives_no_more() {
        Scenario::at(1_000)
            .cancel("p")
            .refused(Refusal::NotFound)
            .schedule("p", terms(10))
            .grab("p", "early")
            .granted(1)
            .cancel("p")
            .accepted()
            .grab("p", "late")
            .refused(Refusal::Finished)
            .grab("p", "early")
            .already(1)
            .cancel("p")
            .repeated();
    }

    #[test]
    fn before_the_start_too_and_then_it_never_starts() {
        Scenario::at(0)
            .schedule("p", terms(10))
            .cancel("p")
            .accepted()
            .at_time(2_000)
            .grab("p", "c")
            .refused(Refusal::Finished)
            .wrote(0);
    }

    #[test]
    fn what_is_over_cannot_be_cancelled() {
        Scenario::at(1_000)
            .schedule("p", terms(1))
            .grab("p", "c")
            .finish("p")
            .cancel("p")
            .refused(Refusal::Finished);
    }
}
