//! Every rule is broken once.

use bytes::Bytes;
use seckill_log::Fold;
use seckill_proto::v1::{
    CouponGrabbed, Event, Fence, PromotionPaused, PromotionScheduled, PromotionStarted, Terms,
    event::Body,
};
use seckill_proto::{Position, encode_event, encode_fence};

use crate::{Attempt, Ledger, Outcome, Reason, Violation, check};

/// A log of one partition with a sale of two coupons.
struct Log {
    records: Vec<Bytes>,
    seq: u64,
    serial: u32,
}

impl Log {
    fn open(limit: u32) -> Self {
        let fence = encode_fence(Fence { fence_id: vec![7; 16], ..Fence::default() });
        let mut log = Self { records: vec![fence.into()], seq: 0, serial: 0 };
        let terms =
            Terms { coupons: 2, discount: 0.5, limit_per_customer: limit, ..Terms::default() };
        log.event(Body::Scheduled(PromotionScheduled { terms: Some(terms) }));
        log.event(Body::Started(PromotionStarted {}));
        log
    }

    fn event(&mut self, body: Body) -> u64 {
        let promotion_id = "p".to_owned();
        let event = Event { seq: self.seq, promotion_id, body: Some(body), ..Event::default() };
        self.seq += 1;
        self.records.push(encode_event(event).into());
        self.records.len() as u64 - 1
    }

    fn grab(&mut self, customer: &str) -> u64 {
        self.serial += 1;
        self.grab_as(self.serial, customer, 2_u32.saturating_sub(self.serial))
    }

    fn grab_as(&mut self, serial: u32, customer: &str, remaining: u32) -> u64 {
        let (customer_id, idempotency_key) = (customer.to_owned(), String::new());
        self.event(Body::Grabbed(CouponGrabbed { serial, customer_id, remaining, idempotency_key }))
    }

    fn read(&self) -> (Ledger, Vec<Violation>) {
        let mut ledger = Ledger::default();
        let mut reading = ledger.reading(0, Fold::default());
        for (offset, record) in (0..).zip(&self.records) {
            reading.add(offset, record).expect("it can be folded");
        }
        let broken = reading.end();
        (ledger, broken)
    }

    fn broken_by(&self, attempts: &[Attempt]) -> Vec<&'static str> {
        let (ledger, broken) = self.read();
        assert_eq!(broken, [], "the log itself is right");
        check(&ledger, attempts, 5).into_iter().map(|broken| broken.rule).collect()
    }
}

fn at(offset: u64) -> Position {
    Position { partition: 0, offset }
}

fn attempt(customer: &str, asked: u64, outcome: Outcome) -> Attempt {
    Attempt {
        promotion_id: "p".into(),
        customer_id: customer.into(),
        key: String::new(),
        asked,
        answered: Some(asked + 5),
        outcome,
    }
}

fn granted(serial: u32, offset: u64) -> Outcome {
    Outcome::Granted { serial, position: at(offset), repeated: false }
}

fn repeated(serial: u32, offset: u64) -> Outcome {
    Outcome::Granted { serial, position: at(offset), repeated: true }
}

fn refused(reason: Reason, offset: u64) -> Outcome {
    Outcome::Refused { reason, position: at(offset) }
}

const HELD: &str = "what was granted is in the log, once, where it was said to be";
const TRUE: &str = "a refusal was true at the place that it names";
const RECENT: &str = "an answer is no older than what was known before it was asked";
const PLACE: &str = "an answer names a place that its sale has in the log";
const ASKED: &str = "every coupon of the sales in these histories was asked for";
const ONE: &str = "a wish has one answer";
const TWICE: &str = "a wish is granted once";
const UNWANTED: &str = "what was definitely not accepted is not in the log";

#[test]
fn a_run_that_kept_its_word_breaks_nothing() {
    let mut log = Log::open(1);
    let (first, second) = (log.grab("ann"), log.grab("bob"));
    let attempts = [
        attempt("ann", 10, Outcome::Unknown),
        attempt("ann", 20, repeated(1, first)),
        attempt("bob", 22, Outcome::NotAccepted),
        attempt("bob", 30, granted(2, second)),
        attempt("cid", 40, refused(Reason::SoldOut, second)),
        attempt("dot", 1, refused(Reason::NotFound, 0)),
        attempt("eve", 2, refused(Reason::NotStarted, 1)),
    ];
    assert_eq!(log.broken_by(&attempts), [""; 0]);
}

#[test]
fn a_word_that_was_not_kept_is_found() {
    let mut log = Log::open(1);
    let (first, second) = (log.grab("ann"), log.grab("bob"));
    let paused = log.event(Body::Paused(PromotionPaused {}));
    let ann = || attempt("ann", 10, granted(1, first));
    let bob = || attempt("bob", 11, granted(2, second));
    let again = || attempt("ann", 20, repeated(1, first));
    let not_accepted = || attempt("ann", 10, Outcome::NotAccepted);
    let position = Position { partition: 1, offset: second };
    let elsewhere = Outcome::Refused { reason: Reason::SoldOut, position };
    let cases: [(&[Attempt], &[&str]); 17] = [
        (&[ann(), bob(), attempt("cid", 12, granted(3, paused))], &[HELD]),
        (&[ann(), bob(), attempt("cid", 12, granted(2, second))], &[HELD]),
        (&[ann(), attempt("bob", 11, granted(2, paused))], &[HELD]),
        (&[ann(), bob(), attempt("ann", 12, repeated(1, 2))], &[HELD]),
        (&[ann(), bob(), attempt("cid", 12, refused(Reason::SoldOut, first))], &[TRUE]),
        (&[ann(), bob(), attempt("cid", 12, refused(Reason::NotFound, paused))], &[TRUE]),
        (&[ann(), bob(), attempt("cid", 12, refused(Reason::LimitReached, paused))], &[TRUE]),
        (&[ann(), bob(), attempt("ann", 12, refused(Reason::SoldOut, paused))], &[TRUE]),
        (&[ann(), bob(), attempt("cid", 90, refused(Reason::NotStarted, 1))], &[RECENT]),
        (&[bob(), attempt("ann", 90, granted(1, first))], &[RECENT]),
        (&[ann(), bob(), attempt("ann", 12, granted(1, first))], &[ONE]),
        (&[bob(), not_accepted()], &[UNWANTED]),
        (&[bob(), not_accepted(), again()], &[UNWANTED]),
        (&[bob()], &[ASKED]),
        (&[ann(), bob(), attempt("cid", 12, elsewhere)], &[PLACE]),
        (&[ann(), bob(), attempt("cid", 12, refused(Reason::SoldOut, paused + 1))], &[PLACE]),
        (&[ann(), bob(), attempt("ann", 12, repeated(1, paused + 1))], &[PLACE]),
    ];
    for (attempts, expected) in cases {
        assert_eq!(log.broken_by(attempts), expected, "{attempts:?}");
    }
}

#[test]
fn a_wish_that_was_granted_twice_is_found() {
    let mut log = Log::open(2);
    let first = log.grab("ann");
    log.grab("ann");
    let attempts = [attempt("ann", 10, granted(1, first)), attempt("ann", 20, Outcome::Unknown)];
    assert_eq!(log.broken_by(&attempts), [TWICE]);
}

#[test]
fn a_log_that_breaks_the_rules_of_a_sale_is_found() {
    let breaks: [fn(&mut Log) -> u64; 5] = [
        |log| log.grab_as(2, "ann", 0),
        |log| ["ann", "bob", "cid"].into_iter().map(|customer| log.grab(customer)).sum(),
        |log| ["ann", "ann"].into_iter().map(|customer| log.grab(customer)).sum(),
        |log| log.event(Body::Paused(PromotionPaused {})) + log.grab("ann"),
        |log| log.grab_as(1, "ann", 2),
    ];
    for (number, break_it) in breaks.into_iter().enumerate() {
        let mut log = Log::open(1);
        break_it(&mut log);
        assert_eq!(log.read().1.len(), 1, "{number}");
    }
}
