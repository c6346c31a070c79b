//! Given/when/then for the rules, and properties of every run.

use std::collections::HashMap;

use proptest::prelude::*;
use seckill_proto::v1::{
    Accepted, CancelPromotion, ChangePromotion, Command, Event, FinishPromotion, GrabCoupon,
    PausePromotion, Refusal, RestockPromotion, ResumePromotion, SchedulePromotion, Terms, answer,
    command, event,
};

use crate::book::Book;
use crate::promotion::Promotion;

/// Terms that start at 1,000 ms.
pub(crate) fn terms(coupons: u32) -> Terms {
    Terms {
        name: "a sale".into(),
        coupons,
        discount: 0.7,
        starts_at_ms: 1_000,
        finishes_at_ms: None,
        limit_per_customer: 1,
    }
}

/// A book, a clock, and what the last step said.
pub(crate) struct Scenario {
    book: Book,
    now_ms: i64,
    outcome: Option<answer::Outcome>,
    events: Vec<Event>,
    all_events: Vec<Event>,
}

impl Scenario {
    pub(crate) fn at(now_ms: i64) -> Self {
        Self {
            book: Book::default(),
            now_ms,
            outcome: None,
            events: Vec::new(),
            all_events: Vec::new(),
        }
    }

    pub(crate) fn at_time(mut self, now_ms: i64) -> Self {
        self.now_ms = now_ms;
        self
    }

    fn step(mut self, promotion_id: &str, body: command::Body) -> Self {
        let command = Command { promotion_id: promotion_id.into(), body: Some(body) };
        let handled = self.book.handle(&command, self.now_ms);
        self.outcome = Some(handled.outcome);
        self.events = handled.events;
        self.all_events.extend(self.events.iter().cloned());
        self
    }

    pub(crate) fn schedule(self, id: &str, terms: Terms) -> Self {
        self.step(id, command::Body::Schedule(SchedulePromotion { terms: Some(terms) }))
    }

    pub(crate) fn change(self, id: &str, change: ChangePromotion) -> Self {
        self.step(id, command::Body::Change(change))
    }

    pub(crate) fn cancel(self, id: &str) -> Self {
        self.step(id, command::Body::Cancel(CancelPromotion {}))
    }

    pub(crate) fn restock(self, id: &str, coupons: u32) -> Self {
        self.step(id, command::Body::Restock(RestockPromotion { coupons }))
    }

    pub(crate) fn pause(self, id: &str) -> Self {
        self.step(id, command::Body::Pause(PausePromotion {}))
    }

    pub(crate) fn resume(self, id: &str) -> Self {
        self.step(id, command::Body::Resume(ResumePromotion {}))
    }

    pub(crate) fn finish(self, id: &str) -> Self {
        self.step(id, command::Body::Finish(FinishPromotion {}))
    }

    pub(crate) fn grab(self, id: &str, customer_id: &str) -> Self {
        self.grab_with_key(id, customer_id, "")
    }

    pub(crate) fn grab_with_key(self, id: &str, customer_id: &str, key: &str) -> Self {
        let grab = GrabCoupon { customer_id: customer_id.into(), idempotency_key: key.into() };
        self.step(id, command::Body::Grab(grab))
    }

    pub(crate) fn wake(mut self) -> Self {
        self.events = self.book.wake(self.now_ms);
        self.all_events.extend(self.events.iter().cloned());
        self
    }

    #[track_caller]
    fn expect(self, expected: &answer::Outcome) -> Self {
        assert_eq!(self.outcome.as_ref(), Some(expected));
        self
    }

    #[track_caller]
    pub(crate) fn granted(self, serial: u32) -> Self {
        let at_ms = self.now_ms;
        self.expect(&answer::Outcome::Accepted(Accepted { repeated: false, serial, at_ms }))
    }

    #[track_caller]
    pub(crate) fn already(self, expected: u32) -> Self {
        match self.outcome {
            Some(answer::Outcome::Accepted(Accepted { repeated: true, serial, .. })) => {
                assert_eq!(serial, expected);
            }
            ref other => panic!("not the same coupon again: {other:?}"),
        }
        self
    }

    #[track_caller]
    pub(crate) fn accepted(self) -> Self {
        self.accepted_with(false)
    }

    #[track_caller]
    pub(crate) fn repeated(self) -> Self {
        self.accepted_with(true)
    }

    #[track_caller]
    fn accepted_with(self, expected: bool) -> Self {
        match self.outcome {
            Some(answer::Outcome::Accepted(Accepted { repeated, .. })) => {
                assert_eq!(repeated, expected);
            }
            ref other => panic!("not accepted: {other:?}"),
        }
        self
    }

    #[track_caller]
    pub(crate) fn refused(self, refusal: Refusal) -> Self {
        self.expect(&answer::Outcome::Refused(refusal.into()))
    }

    #[track_caller]
    pub(crate) fn wrote(self, events: usize) -> Self {
        assert_eq!(self.events.len(), events, "{:?}", self.events);
        self
    }

    pub(crate) fn written(&self) -> Vec<String> {
        let kind = |event: &Event| match event.body.as_ref().expect("a body") {
            event::Body::Scheduled(_) => "scheduled",
            event::Body::Changed(_) => "changed",
            event::Body::Started(_) => "started",
            event::Body::Grabbed(_) => "grabbed",
            event::Body::Restocked(_) => "restocked",
            event::Body::Finished(_) => "finished",
            event::Body::SoldOut(_) => "sold out",
            event::Body::Paused(_) => "paused",
            event::Body::Resumed(_) => "resumed",
        };
        self.events.iter().map(|event| format!("{} {}", event.promotion_id, kind(event))).collect()
    }

    pub(crate) fn next_due(&self) -> Option<i64> {
        self.book.next_due_ms()
    }

    pub(crate) fn promotion(&self, id: &str) -> &Promotion {
        self.book.get(id).expect("a promotion")
    }

    pub(crate) fn all_events(&self) -> &[Event] {
        &self.all_events
    }

    pub(crate) fn book(&self) -> &Book {
        &self.book
    }
}

/// A step of a random run: two promotions, few customers, small numbers, so that they collide.
#[derive(Debug, Clone)]
enum Step {
    Command(command::Body),
    Wake,
    /// What was sold out for so long.
    FinishIdle(i64),
}

fn any_terms() -> impl Strategy<Value = Terms> {
    (0_u32..6, 0_i64..300, proptest::option::of(0_i64..600), 0_u32..4).prop_map(
        |(coupons, starts_at_ms, finishes_at_ms, limit_per_customer)| Terms {
            name: "a sale".into(),
            coupons,
            discount: 0.5,
            starts_at_ms,
            finishes_at_ms,
            limit_per_customer,
        },
    )
}

fn any_change() -> impl Strategy<Value = ChangePromotion> {
    any_terms().prop_map(|terms| ChangePromotion {
        coupons: Some(terms.coupons),
        starts_at_ms: Some(terms.starts_at_ms),
        finishes_at_ms: terms.finishes_at_ms,
        limit_per_customer: Some(terms.limit_per_customer),
        ..ChangePromotion::default()
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let grab = (0..5, 0..3).prop_map(|(customer, key)| {
        command::Body::Grab(GrabCoupon {
            customer_id: format!("c{customer}"),
            idempotency_key: if key == 0 { String::new() } else { format!("k{key}") },
        })
    });
    prop_oneof![
        12 => grab.prop_map(Step::Command),
        3 => any_terms().prop_map(|terms| {
            Step::Command(command::Body::Schedule(SchedulePromotion { terms: Some(terms) }))
        }),
        1 => any_change().prop_map(|change| Step::Command(command::Body::Change(change))),
        1 => (0_u32..9).prop_map(|coupons| {
            Step::Command(command::Body::Restock(RestockPromotion { coupons }))
        }),
        1 => Just(Step::Command(command::Body::Cancel(CancelPromotion {}))),
        1 => Just(Step::Command(command::Body::Pause(PausePromotion {}))),
        1 => Just(Step::Command(command::Body::Resume(ResumePromotion {}))),
        1 => Just(Step::Command(command::Body::Finish(FinishPromotion {}))),
        1 => (0_i64..30).prop_map(Step::FinishIdle),
        1 => Just(Step::Wake),
    ]
}

fn take(book: &mut Book, step: Step, promotion: bool, now_ms: i64) -> Vec<Event> {
    match step {
        Step::Wake => book.wake(now_ms),
        Step::FinishIdle(retain_ms) => book.finish_idle(now_ms - retain_ms, now_ms),
        Step::Command(body) => {
            let promotion_id = if promotion { "p" } else { "q" }.into();
            book.handle(&Command { promotion_id, body: Some(body) }, now_ms).events
        }
    }
}

fn check_promotion(promotion: &Promotion) {
    assert!(promotion.granted <= promotion.terms.coupons, "oversold: {promotion:?}");
    let mut held: HashMap<&str, u32> = HashMap::new();
    let mut serials = Vec::new();
    for (serial, holder) in promotion.holders() {
        serials.push(serial);
        *held.entry(holder).or_default() += 1;
    }
    assert!(held.values().all(|coupons| *coupons <= promotion.terms.limit_per_customer));
    let dense: Vec<u32> = (1..=promotion.granted).collect();
    assert_eq!(serials, dense, "serials are not dense");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// At every prefix of every run: nothing oversold, serials dense, nobody over the limit, and
    /// the fold of the events is the live state.
    #[test]
    fn every_prefix_keeps_the_promises(
        steps in prop::collection::vec((any_step(), any::<bool>(), 0_i64..40), 1..120)
    ) {
        let (mut live, mut folded, mut now_ms) = (Book::default(), Book::default(), 0);
        for (step, promotion, wait_ms) in steps {
            now_ms += wait_ms - 5; // clocks go back at times
            for event in take(&mut live, step, promotion, now_ms) {
                prop_assert!(event.at_ms >= folded.at_ms());
                prop_assert_eq!(folded.apply(&event), Ok(()));
                folded.iter().for_each(|(_, promotion)| check_promotion(promotion));
            }
            prop_assert_eq!(&folded, &live);
        }
    }
}
