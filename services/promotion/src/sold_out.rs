//! Sold out: the last coupon is given. More may come until the promotion is over.

use seckill_proto::v1::{PromotionSoldOut, event};

use crate::promotion::{Inconsistent, Promotion};

/// Also repairs a log that ends right after the last grab.
pub(crate) fn due(promotion: &Promotion) -> Option<event::Body> {
    let on_sale = promotion.started && promotion.finished.is_none();
    let untold = promotion.remaining() == 0 && promotion.sold_out_at_ms.is_none();
    (on_sale && untold).then_some(event::Body::SoldOut(PromotionSoldOut {}))
}

pub(crate) fn apply(promotion: &mut Promotion, at_ms: i64) -> Result<(), Inconsistent> {
    let on_sale = promotion.started && promotion.finished.is_none();
    if !on_sale || promotion.remaining() > 0 || promotion.sold_out_at_ms.is_some() {
        return Err(Inconsistent("sold out a second time, or with coupons left"));
    }
    promotion.sold_out_at_ms = Some(at_ms);
    Ok(())
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::{FinishReason, Refusal, Terms};

    use crate::scenario::{Scenario, terms};

    #[test]
    fn the_last_coupon_sells_it_out_and_it_stays_open_for_more() {
        let scenario = Scenario::at(1_000)
            .schedule("p", terms(2))
            .grab("p", "a")
            .wrote(1)
            .grab("p", "b")
            .granted(2)
            .wrote(2)
            .grab("p", "c")
            .refused(Refusal::SoldOut)
            .wake()
            .wrote(0);
        assert_eq!(scenario.promotion("p").finished(), None);
        let scenario = scenario.restock("p", 3).accepted().grab("p", "c").granted(3);
        assert_eq!(scenario.written(), ["p grabbed", "p sold out"]);
    }

    #[test]
    fn its_end_comes_all_the_same_and_says_that_it_was_sold_out() {
        let scenario = Scenario::at(1_000)
            .schedule("p", Terms { finishes_at_ms: Some(2_000), ..terms(1) })
            .grab("p", "a")
            .at_time(1_999)
            .wake()
            .wrote(0)
            .at_time(2_000)
            .wake()
            .wrote(1)
            .grab("p", "late")
            .refused(Refusal::SoldOut)
            .restock("p", 2)
            .refused(Refusal::Finished);
        assert_eq!(scenario.promotion("p").finished(), Some(FinishReason::SoldOut));
    }
}
