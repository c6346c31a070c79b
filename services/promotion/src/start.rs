//! Starting: the clock lets the grabs in.

use seckill_proto::v1::{PromotionStarted, event};

use crate::promotion::{Inconsistent, Promotion};

pub(crate) fn due(promotion: &Promotion, now_ms: i64) -> Option<event::Body> {
    let waiting = !promotion.started && promotion.finished.is_none();
    (waiting && now_ms >= promotion.terms.starts_at_ms)
        .then_some(event::Body::Started(PromotionStarted {}))
}

pub(crate) fn apply(promotion: &mut Promotion) -> Result<(), Inconsistent> {
    if promotion.started || promotion.finished.is_some() {
        return Err(Inconsistent("started a second time, or after the end"));
    }
    promotion.started = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::{Refusal, Terms};

    use crate::scenario::{Scenario, terms};

    #[test]
    fn before_the_start_no_after_it_yes() {
        Scenario::at(0)
            .schedule("p", terms(10))
            .wrote(1)
            .at_time(999)
            .grab("p", "c")
            .refused(Refusal::NotStarted)
            .at_time(1_000)
            .grab("p", "c")
            .wrote(2)
            .granted(1);
    }

    /// The original's scheduler died when the first of several scheduled promotions opened.
    #[test]
    fn any_number_of_waiting_promotions_start_each_at_its_time() {
        let starting = |starts_at_ms| Terms { starts_at_ms, ..terms(10) };
        let mut scenario = Scenario::at(0)
            .schedule("third", starting(3_000))
            .schedule("first", starting(1_000))
            .schedule("second", starting(2_000));
        for (at_ms, started) in [(1_000, "first"), (2_000, "second"), (3_000, "third")] {
            assert_eq!(scenario.next_due(), Some(at_ms));
            scenario = scenario.at_time(at_ms).wake().wrote(1);
            assert!(scenario.promotion(started).is_started());
        }
        assert_eq!(scenario.next_due(), None);
    }

    #[test]
    fn a_late_wake_starts_and_finishes_in_the_order_of_their_times() {
        let lasting = |starts_at_ms, finishes_at_ms| Terms {
            starts_at_ms,
            finishes_at_ms: Some(finishes_at_ms),
            ..terms(10)
        };
        let scenario = Scenario::at(0)
            .schedule("a", lasting(10, 40))
            .schedule("b", lasting(20, 30))
            .at_time(50)
            .wake();
        assert_eq!(scenario.written(), ["a started", "b started", "b finished", "a finished"]);
    }
}
