//! A book as messages of bounded size, and back.

use std::collections::HashMap;

use prost::Message;
use seckill_proto::v1::{FinishReason, HeldCoupon, PromotionState, SnapshotPart};

use crate::book::Book;
use crate::promotion::{Coupon, Inconsistent, Promotion};

/// A part is closed once it has this many bytes: half of the 1 MB that a broker takes by default.
pub const MAX_PART_BYTES: usize = 512 * 1024;

/// Splits a book into parts, and puts one together again.
pub struct Parts;

impl Parts {
    /// The book as parts of at most about [`MAX_PART_BYTES`] each.
    #[must_use]
    pub fn of(book: &Book) -> Vec<SnapshotPart> {
        let mut parts = Splitter::default();
        for (id, promotion) in book.iter() {
            parts.add(id, promotion);
        }
        parts.finish()
    }

    /// The book that the parts were made of, with its clock at `at_ms`.
    ///
    /// # Errors
    /// The parts contradict themselves or leave something out.
    pub fn into_book(parts: Vec<SnapshotPart>, at_ms: i64) -> Result<Book, Inconsistent> {
        let mut promotions = HashMap::<String, Promotion>::new();
        for state in parts.into_iter().flat_map(|part| part.promotions) {
            add_state(&mut promotions, state)?;
        }
        let mut book = Book::default();
        for (id, promotion) in promotions {
            let held: usize = promotion.held.values().map(|held| held.coupons().len()).sum();
            if held != promotion.granted as usize {
                return Err(Inconsistent("a snapshot without all its coupons"));
            }
            book.restore(id, promotion);
        }
        book.reset_clock(at_ms);
        Ok(book)
    }
}

#[derive(Default)]
struct Splitter {
    full: Vec<SnapshotPart>,
    open: SnapshotPart,
    open_bytes: usize,
}

impl Splitter {
    fn add(&mut self, id: &str, promotion: &Promotion) {
        self.push_head(id, promotion);
        for (customer_id, held) in &promotion.held {
            for coupon in held.coupons() {
                if self.open_bytes >= MAX_PART_BYTES {
                    self.push_head(id, promotion);
                }
                self.push_coupon(customer_id, coupon);
            }
        }
    }

    fn push_head(&mut self, id: &str, promotion: &Promotion) {
        if self.open_bytes >= MAX_PART_BYTES {
            self.full.push(std::mem::take(&mut self.open));
            self.open_bytes = 0;
        }
        let head = PromotionState {
            promotion_id: id.to_owned(),
            terms: Some(promotion.terms.clone()),
            started: promotion.started,
            finished: promotion.finished.map(Into::into),
            granted: promotion.granted,
            held: Vec::new(),
        };
        self.open_bytes += head.encoded_len() + 8;
        self.open.promotions.push(head);
    }

    fn push_coupon(&mut self, customer_id: &str, coupon: &Coupon) {
        let held = HeldCoupon {
            serial: coupon.serial,
            customer_id: customer_id.to_owned(),
            at_ms: coupon.at_ms,
            idempotency_key: coupon.idempotency_key.as_deref().unwrap_or_default().to_owned(),
        };
        self.open_bytes += held.encoded_len() + 4;
        self.open.promotions.last_mut().expect("the head comes first").held.push(held);
    }

    fn finish(mut self) -> Vec<SnapshotPart> {
        if !self.open.promotions.is_empty() {
            self.full.push(self.open);
        }
        self.full
    }
}

fn add_state(
    promotions: &mut HashMap<String, Promotion>,
    state: PromotionState,
) -> Result<(), Inconsistent> {
    let finished = state.finished.map(FinishReason::try_from).transpose();
    let finished = finished.map_err(|_| Inconsistent("an unknown reason to finish"))?;
    let terms = state.terms.ok_or(Inconsistent("a promotion without terms"))?;
    let promotion = promotions.entry(state.promotion_id).or_insert_with(|| Promotion {
        started: state.started,
        finished,
        granted: state.granted,
        ..Promotion::new(terms)
    });
    for held in state.held {
        let key = Some(held.idempotency_key).filter(|key| !key.is_empty());
        let coupon = Coupon {
            serial: held.serial,
            at_ms: held.at_ms,
            idempotency_key: key.map(String::into_boxed_str),
        };
        promotion.hold(&held.customer_id, coupon)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::Terms;

    use super::*;
    use crate::scenario::{Scenario, terms};

    #[test]
    fn a_book_comes_back_whole_from_parts_of_bounded_size() {
        let mut scenario = Scenario::at(1_000)
            .schedule("large", terms(40_000))
            .schedule("limit", Terms { limit_per_customer: 3, ..terms(10) })
            .schedule("later", Terms { starts_at_ms: 9_000, ..terms(10) })
            .schedule("over", terms(1))
            .grab("over", "c")
            .grab_with_key("limit", "c", "k1")
            .grab_with_key("limit", "c", "k2");
        for number in 0..20_000 {
            scenario = scenario.grab("large", &format!("customer-with-a-long-name-{number}"));
        }
        let book = scenario.book();
        let parts = Parts::of(book);
        assert!(parts.len() > 1);
        assert!(parts.iter().all(|part| part.encoded_len() < MAX_PART_BYTES + 1_024));
        assert_eq!(Parts::into_book(parts, book.at_ms()).as_ref(), Ok(book));
    }

    #[test]
    fn a_missing_part_is_noticed() {
        let mut scenario = Scenario::at(1_000).schedule("p", terms(40_000));
        for number in 0..20_000 {
            scenario = scenario.grab("p", &format!("customer-with-a-long-name-{number}"));
        }
        let mut parts = Parts::of(scenario.book());
        parts.pop();
        assert!(Parts::into_book(parts, 1_000).is_err());
    }
}
