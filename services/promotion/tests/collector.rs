//! What a customer who may hold many coupons costs.

use std::time::{Duration, Instant};

use seckill_promotion::Book;
use seckill_proto::v1::{Command, GrabCoupon, SchedulePromotion, Terms, answer, command};

/// A list of a customer's coupons that is gone through for each new one would make the last of them
/// cost many times what the first did.
#[test]
fn many_coupons_of_one_customer_cost_the_same_each() {
    let mut book = Book::default();
    let mut handle = |body| {
        let command = Command { promotion_id: "p".into(), body: Some(body) };
        let outcome = book.handle(&command, 5).outcome;
        assert!(matches!(outcome, answer::Outcome::Accepted(_)), "{outcome:?}");
    };
    let terms = Terms {
        name: "a sale".into(),
        coupons: 1_000_000,
        discount: 0.5,
        starts_at_ms: 1,
        finishes_at_ms: None,
        limit_per_customer: 1_000_000,
    };
    handle(command::Body::Schedule(SchedulePromotion { terms: Some(terms) }));
    let mut grab = |numbers: std::ops::Range<u32>| {
        let begun = Instant::now();
        for number in numbers {
            let (customer_id, idempotency_key) = ("a collector".into(), format!("key {number}"));
            handle(command::Body::Grab(GrabCoupon { customer_id, idempotency_key }));
        }
        begun.elapsed()
    };
    let (first, _, last) = (grab(0..20_000), grab(20_000..180_000), grab(180_000..200_000));
    assert!(last < first * 5 + Duration::from_millis(100), "{first:?}, {last:?}");
}
