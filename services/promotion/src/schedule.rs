//! Scheduling: a promotion comes into being.

use seckill_proto::v1::{Accepted, PromotionScheduled, Refusal, SchedulePromotion, Terms, event};

use crate::promotion::{Decision, Inconsistent, Promotion};
use crate::terms;

/// `starts_at_ms` of 0 in the command means: at once. The event carries the time.
pub(crate) fn decide(
    promotion: Option<&Promotion>,
    command: &SchedulePromotion,
    now_ms: i64,
) -> Decision {
    let Some(asked) = &command.terms else {
        return Decision::Refuse(Refusal::InvalidTerms);
    };
    if let Some(promotion) = promotion {
        return decide_again(promotion, asked);
    }
    let terms = with_start(asked, now_ms);
    if let Some(refusal) = terms::refusal(&terms, now_ms) {
        return Decision::Refuse(refusal);
    }
    Decision::Accept(event::Body::Scheduled(PromotionScheduled { terms: Some(terms) }))
}

/// The same request again is answered as the first was; another promotion of that id is not made.
fn decide_again(promotion: &Promotion, asked: &Terms) -> Decision {
    if with_start(asked, promotion.terms.starts_at_ms) == promotion.terms {
        Decision::Repeat(Accepted { repeated: true, ..Accepted::default() })
    } else {
        Decision::Refuse(Refusal::AlreadyExists)
    }
}

fn with_start(terms: &Terms, at_once_ms: i64) -> Terms {
    let starts_at_ms = if terms.starts_at_ms == 0 { at_once_ms } else { terms.starts_at_ms };
    Terms { starts_at_ms, ..terms.clone() }
}

pub(crate) fn apply(event: &PromotionScheduled) -> Result<Promotion, Inconsistent> {
    event.terms.clone().map(Promotion::new).ok_or(Inconsistent("scheduled without terms"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Scenario, terms};

    #[test]
    fn a_promotion_is_scheduled_once() {
        Scenario::at(100)
            .schedule("p", terms(10))
            .accepted()
            .wrote(1)
            .schedule("p", terms(10))
            .repeated()
            .wrote(0)
            .schedule("p", terms(11))
            .refused(Refusal::AlreadyExists);
    }

    #[test]
    fn a_start_left_open_is_now() {
        let at_once = Terms { starts_at_ms: 0, ..terms(10) };
        Scenario::at(700)
            .schedule("p", at_once.clone())
            .accepted()
            .wrote(2) // and it starts
            .at_time(900)
            .schedule("p", at_once)
            .repeated()
            .grab("p", "c")
            .granted(1);
    }

    #[test]
    fn terms_that_nobody_can_take_up_are_refused() {
        Scenario::at(5_000)
            .schedule("p", Terms { coupons: 0, ..terms(10) })
            .refused(Refusal::InvalidTerms)
            .schedule("p", Terms { discount: 0.0, ..terms(10) })
            .refused(Refusal::InvalidTerms)
            .schedule("p", Terms { finishes_at_ms: Some(4_999), ..terms(10) })
            .refused(Refusal::EndTooEarly);
    }

    #[test]
    fn a_huge_promotion_takes_no_memory_before_it_is_grabbed() {
        Scenario::at(2_000).schedule("p", terms(u32::MAX)).accepted().grab("p", "c").granted(1);
    }
}
