//! Changing the terms: all of them until the start, after it the end alone, until that has come.

use seckill_proto::v1::{Accepted, ChangePromotion, PromotionChanged, Refusal, Terms, event};

use crate::promotion::{Decision, Inconsistent, Promotion};
use crate::terms;

pub(crate) fn decide(
    promotion: Option<&Promotion>,
    command: &ChangePromotion,
    now_ms: i64,
) -> Decision {
    let Some(promotion) = promotion else { return Decision::Refuse(Refusal::NotFound) };
    let terms = merge(&promotion.terms, command);
    if promotion.started && !differs_in_its_end_alone(&promotion.terms, &terms) {
        return Decision::Refuse(Refusal::AlreadyStarted);
    }
    if promotion.finished.is_some() {
        return Decision::Refuse(Refusal::Finished);
    }
    if terms == promotion.terms {
        return Decision::Repeat(Accepted { repeated: true, ..Accepted::default() });
    }
    if let Some(refusal) = terms::refusal(&terms, now_ms) {
        return Decision::Refuse(refusal);
    }
    Decision::Accept(event::Body::Changed(PromotionChanged { terms: Some(terms) }))
}

fn differs_in_its_end_alone(before: &Terms, after: &Terms) -> bool {
    Terms { finishes_at_ms: before.finishes_at_ms, ..after.clone() } == *before
}

fn merge(terms: &Terms, change: &ChangePromotion) -> Terms {
    Terms {
        name: change.name.clone().unwrap_or_else(|| terms.name.clone()),
        coupons: change.coupons.unwrap_or(terms.coupons),
        discount: change.discount.unwrap_or(terms.discount),
        starts_at_ms: change.starts_at_ms.unwrap_or(terms.starts_at_ms),
        finishes_at_ms: if change.open_end {
            None
        } else {
            change.finishes_at_ms.or(terms.finishes_at_ms)
        },
        limit_per_customer: change.limit_per_customer.unwrap_or(terms.limit_per_customer),
    }
}

pub(crate) fn apply(
    promotion: &mut Promotion,
    event: &PromotionChanged,
) -> Result<(), Inconsistent> {
    let terms = event.terms.clone().ok_or(Inconsistent("changed without terms"))?;
    let its_end = differs_in_its_end_alone(&promotion.terms, &terms);
    if promotion.finished.is_some() || (promotion.started && !its_end) {
        return Err(Inconsistent("changed after the start"));
    }
    promotion.terms = terms;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Scenario, terms};

    fn discount(discount: f64) -> ChangePromotion {
        ChangePromotion { discount: Some(discount), ..ChangePromotion::default() }
    }

    #[test]
    fn every_term_can_be_changed_before_the_start() {
        let change = ChangePromotion {
            name: Some("other".into()),
            coupons: Some(3),
            discount: Some(0.25),
            starts_at_ms: Some(2_000),
            finishes_at_ms: Some(3_000),
            open_end: false,
            limit_per_customer: Some(2),
        };
        let scenario =
            Scenario::at(0).schedule("p", terms(10)).change("p", change.clone()).accepted();
        let changed = scenario.promotion("p").terms.clone();
        assert_eq!(merge(&terms(10), &change), changed);
        assert_eq!((changed.coupons, changed.starts_at_ms), (3, 2_000));
        scenario
            .change("p", change)
            .repeated()
            .at_time(1_500)
            .grab("p", "c")
            .refused(Refusal::NotStarted)
            .at_time(2_000)
            .grab("p", "c")
            .granted(1);
    }

    #[test]
    fn the_end_can_be_taken_away() {
        let open = ChangePromotion { open_end: true, ..ChangePromotion::default() };
        Scenario::at(0)
            .schedule("p", Terms { finishes_at_ms: Some(1_500), ..terms(10) })
            .change("p", open)
            .accepted()
            .at_time(9_000)
            .grab("p", "c")
            .granted(1);
    }

    #[test]
    fn after_the_start_the_end_can_be_moved_until_it_comes() {
        let end = |finishes_at_ms| ChangePromotion {
            finishes_at_ms: Some(finishes_at_ms),
            ..ChangePromotion::default()
        };
        let scenario = Scenario::at(1_000)
            .schedule("p", Terms { finishes_at_ms: Some(2_000), ..terms(2) })
            .at_time(1_500)
            .change("p", end(3_000))
            .accepted()
            .change("p", end(1_500))
            .refused(Refusal::EndTooEarly)
            .at_time(2_500)
            .grab("p", "a")
            .granted(1)
            .grab("p", "b")
            .granted(2)
            .change("p", end(4_000))
            .accepted()
            .at_time(3_999)
            .restock("p", 3)
            .accepted()
            .at_time(4_000)
            .change("p", end(9_000))
            .refused(Refusal::Finished)
            .grab("p", "late")
            .refused(Refusal::Finished);
        assert_eq!(scenario.promotion("p").remaining(), 1);
    }

    #[test]
    fn not_after_the_start() {
        Scenario::at(0)
            .change("p", discount(0.5))
            .refused(Refusal::NotFound)
            .schedule("p", terms(10))
            .change("p", discount(2.0))
            .refused(Refusal::InvalidTerms)
            .at_time(1_000)
            .change("p", discount(0.5))
            .refused(Refusal::AlreadyStarted);
    }
}
