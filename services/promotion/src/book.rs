//! All promotions of one partition, and what is due when.

use std::collections::{BTreeSet, HashMap};

use seckill_proto::v1::{Accepted, Command, Event, FinishReason, Refusal, answer, event};

use crate::finish;
use crate::holders::Holders;
use crate::promotion::{self, Decision, Inconsistent, Promotion};

/// The state of one partition: a fold of its events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Book {
    promotions: HashMap<String, Promotion>,
    /// (when, promotion) of everything that the clock alone will do.
    due: BTreeSet<(i64, String)>,
    /// (when it was over, promotion) of everything that can be archived.
    over: BTreeSet<(i64, String)>,
    /// (since when, promotion) of everything that is sold out and has no end.
    idle: BTreeSet<(i64, String)>,
    /// Time of the newest event: time never goes back within a partition.
    at_ms: i64,
    /// Coupons whose holders are known here.
    coupons: u64,
}

/// What was archived, to be dropped where that may take a moment.
#[must_use]
#[derive(Debug, Default)]
pub struct Archived(Vec<Holders>);

impl Archived {
    /// Whether nothing was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What became of a command: the events to write, in order, and the answer once they are durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Handled {
    /// Already applied to the book; `term` and `seq` are the log's to set.
    pub events: Vec<Event>,
    /// What to tell, but only once all these events and all before them are durable.
    pub outcome: answer::Outcome,
    /// The promotion is archived: the outcome is right only where its views show no coupon of the
    /// customer.
    pub unless_held: bool,
}

impl Book {
    /// Decides a command and applies what it decided.
    ///
    /// # Panics
    /// When a rule decides an event that the state does not take: a bug, not an input.
    pub fn handle(&mut self, command: &Command, now_ms: i64) -> Handled {
        let now_ms = now_ms.max(self.at_ms);
        let mut events = Vec::with_capacity(1);
        let id = command.promotion_id.as_str();
        self.settle(id, now_ms, &mut events);
        let Some(body) = &command.body else {
            let outcome = answer::Outcome::Refused(Refusal::NotFound.into());
            return Handled { events, outcome, unless_held: false };
        };
        let mut unless_held = false;
        let outcome = match promotion::decide(self.promotions.get(id), body, now_ms) {
            Decision::Accept(body) => {
                let accepted = accepted(&body, now_ms);
                self.write(id, body, now_ms, &mut events);
                self.settle(id, now_ms, &mut events);
                answer::Outcome::Accepted(accepted)
            }
            Decision::Repeat(accepted) => answer::Outcome::Accepted(accepted),
            Decision::Refuse(refusal) => answer::Outcome::Refused(refusal.into()),
            Decision::RefuseUnlessHeld(refusal) => {
                unless_held = true;
                answer::Outcome::Refused(refusal.into())
            }
        };
        Handled { events, outcome, unless_held }
    }

    /// Does what the clock asks for, in the order of its times.
    pub fn wake(&mut self, now_ms: i64) -> Vec<Event> {
        let now_ms = now_ms.max(self.at_ms);
        let mut events = Vec::new();
        while let Some((at_ms, id)) = self.due.first().cloned() {
            if at_ms > now_ms {
                break;
            }
            let body = self.promotions.get(&id).and_then(|promotion| promotion.due(now_ms));
            self.write(&id, body.expect("an entry of the agenda is due"), now_ms, &mut events);
        }
        events
    }

    /// When [`Book::wake`] has something to do next, in milliseconds since the epoch.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<i64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
    }

    /// Applies an event of the log.
    ///
    /// # Errors
    /// The event does not fit: the log is damaged, and nothing after it means anything.
    pub fn apply(&mut self, event: &Event) -> Result<(), Inconsistent> {
        let body = event.body.as_ref().ok_or(Inconsistent("an event without a body"))?;
        let id = event.promotion_id.as_str();
        let before = self.promotions.get(id).map(Agenda::of).unwrap_or_default();
        self.at_ms = self.at_ms.max(event.at_ms);
        match self.promotions.get_mut(id) {
            // A snapshot that knows the end of it, and the log from before that.
            Some(promotion) if promotion.archived => return Ok(()),
            Some(promotion) => promotion::apply(promotion, body, event.at_ms)?,
            None => {
                self.promotions.insert(id.to_owned(), promotion::apply_first(body)?);
            }
        }
        self.coupons += u64::from(matches!(body, event::Body::Grabbed(_)));
        self.reschedule(id, before);
        Ok(())
    }

    /// Forgets who holds the coupons of promotions that were over at `before_ms`: only the log and the
    /// views know then. Where requests had keys, which the views do not show, all is kept.
    pub fn archive(&mut self, before_ms: i64) -> Archived {
        let mut archived = Vec::new();
        while self.over.first().is_some_and(|(at_ms, _)| *at_ms < before_ms) {
            let (_, id) = self.over.pop_first().expect("there is one");
            let promotion = self.promotions.get_mut(&id).expect("what is over was offered");
            self.coupons -= u64::from(promotion.holders.len());
            archived.push(promotion.archive(promotion.granted));
        }
        Archived(archived)
    }

    /// Ends what was sold out before `before_ms` and has no end of its own: nobody has restocked it.
    pub fn finish_idle(&mut self, before_ms: i64, now_ms: i64) -> Vec<Event> {
        let (now_ms, mut events) = (now_ms.max(self.at_ms), Vec::new());
        while let Some((_, id)) = self.idle.first().filter(|(at_ms, _)| *at_ms < before_ms).cloned()
        {
            let promotion = self.promotions.get(&id).expect("what is sold out was offered");
            let body = finish::finished(promotion, FinishReason::SoldOut);
            self.write(&id, body, now_ms, &mut events);
        }
        events
    }

    /// Whether two books are of the same events, though one may have archived more.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        let same = |(id, promotion): (&String, &Promotion)| {
            other.get(id).is_some_and(|other| promotion.agrees_with(other))
        };
        self.at_ms == other.at_ms
            && self.promotions.len() == other.promotions.len()
            && self.promotions.iter().all(same)
    }

    /// Goes on from another time: the one way in which time goes back, by an operator's word in the
    /// log.
    pub fn reset_clock(&mut self, at_ms: i64) {
        self.at_ms = at_ms;
    }

    /// Time of the newest event, in milliseconds since the epoch; 0 when there is none.
    #[must_use]
    pub fn at_ms(&self) -> i64 {
        self.at_ms
    }

    /// A promotion by its id.
    #[must_use]
    pub fn get(&self, promotion_id: &str) -> Option<&Promotion> {
        self.promotions.get(promotion_id)
    }

    /// All promotions, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Promotion)> {
        self.promotions.iter().map(|(id, promotion)| (id.as_str(), promotion))
    }

    /// How much there is to hold in memory and in a snapshot: promotions and coupons given.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.promotions.len() as u64 + self.coupons
    }

    /// Puts a promotion in as a snapshot had it.
    pub(crate) fn restore(&mut self, id: String, promotion: Promotion) {
        self.promotions.insert(id, promotion);
    }

    pub(crate) fn promotion_to_restore(&mut self, id: &str) -> Option<&mut Promotion> {
        self.promotions.get_mut(id)
    }

    /// Makes what follows from the promotions, once they are all there.
    pub(crate) fn finish_restoring(&mut self, at_ms: i64) {
        self.at_ms = at_ms;
        let ids: Vec<String> = self.promotions.keys().cloned().collect();
        for id in ids {
            let Some(promotion) = self.promotions.get_mut(&id) else { continue };
            promotion.holders.restored();
            self.coupons += u64::from(promotion.holders.len());
            self.reschedule(&id, Agenda::default());
        }
    }

    fn settle(&mut self, id: &str, now_ms: i64, events: &mut Vec<Event>) {
        while let Some(body) = self.promotions.get(id).and_then(|promotion| promotion.due(now_ms)) {
            self.write(id, body, now_ms, events);
        }
    }

    fn write(&mut self, id: &str, body: event::Body, at_ms: i64, events: &mut Vec<Event>) {
        let event = Event { term: 0, seq: 0, at_ms, promotion_id: id.to_owned(), body: Some(body) };
        self.apply(&event).expect("a decided event fits the state it was decided on");
        events.push(event);
    }

    fn reschedule(&mut self, id: &str, before: Agenda) {
        let now = self.promotions.get(id).map(Agenda::of).unwrap_or_default();
        let sets = [&mut self.due, &mut self.over, &mut self.idle];
        for ((set, before), now) in sets.into_iter().zip(before.0).zip(now.0) {
            if before != now {
                if let Some(at_ms) = before {
                    set.remove(&(at_ms, id.to_owned()));
                }
                set.extend(now.map(|at_ms| (at_ms, id.to_owned())));
            }
        }
    }
}

/// When something is due by the clock, since when it is over and can be archived, since when it is sold
/// out and waits for no end.
#[derive(Clone, Copy, Default)]
struct Agenda([Option<i64>; 3]);

impl Agenda {
    fn of(promotion: &Promotion) -> Self {
        let over = promotion.finished.filter(|_| !promotion.archived);
        let over = over.filter(|_| !promotion.holders.has_keys()).map(|finished| finished.at_ms);
        let open_end = promotion.finished.is_none() && promotion.terms.finishes_at_ms.is_none();
        let idle = promotion.sold_out_at_ms.filter(|_| open_end);
        Self([promotion.due_at_ms(), over, idle])
    }
}

fn accepted(body: &event::Body, at_ms: i64) -> Accepted {
    let serial = if let event::Body::Grabbed(grabbed) = body { grabbed.serial } else { 0 };
    Accepted { repeated: false, serial, at_ms }
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::{
        CouponGrabbed, GrabCoupon, PromotionChanged, PromotionStarted, Terms, command,
    };

    use super::*;
    use crate::scenario::{Scenario, terms};

    /// One promotion ended at 1,000 ms, and one on sale.
    fn scenario() -> Scenario {
        Scenario::at(1_000)
            .schedule("over", terms(1))
            .schedule("open", terms(5))
            .grab("over", "a")
            .finish("over")
            .grab("open", "a")
            .grab("open", "b")
    }

    fn grab(book: &mut Book, id: &str, customer_id: &str, key: &str) -> Handled {
        let grab = GrabCoupon { customer_id: customer_id.into(), idempotency_key: key.into() };
        let command = Command { promotion_id: id.into(), body: Some(command::Body::Grab(grab)) };
        book.handle(&command, 1_000)
    }

    #[test]
    fn who_holds_a_promotion_that_was_over_before_is_forgotten() {
        let mut book = scenario().book().clone();
        assert_eq!(book.size(), 2 + 3);
        assert!(book.archive(1_000).is_empty(), "it was over then, and not before");
        assert!(!book.get("over").expect("one").is_archived());
        assert!(!book.archive(1_001).is_empty());
        let over = book.get("over").expect("one");
        assert!(over.is_archived() && over.holders().next().is_none());
        assert_eq!((over.granted(), over.terms().coupons, book.size()), (1, 1, 2 + 2));
        let open = book.get("open").expect("one");
        assert_eq!((open.is_archived(), open.granted()), (false, 2));
    }

    #[test]
    fn a_promotion_is_started_once_it_is() {
        let mut book = Scenario::at(0).schedule("p", terms(2)).book().clone();
        assert!(!book.get("p").expect("one").is_started());
        assert_eq!(book.wake(1_000).len(), 1);
        assert!(book.get("p").expect("one").is_started());
    }

    /// Only of one that is archived, and where the views could show it, the views are asked.
    #[test]
    fn a_refusal_rests_on_the_views_only_where_holders_are_forgotten() {
        let limit = Terms { limit_per_customer: 2, ..terms(1) };
        let mut book = scenario().schedule("two", limit).grab("two", "a").book().clone();
        assert!(!grab(&mut book, "over", "z", "").unless_held);
        drop(book.archive(i64::MAX));
        assert!(grab(&mut book, "over", "z", "").unless_held);
        assert!(!grab(&mut book, "two", "z", "").unless_held);
    }

    #[test]
    fn a_key_is_kept_only_where_it_says_something() {
        let limit = Terms { limit_per_customer: 2, ..terms(3) };
        let mut book = scenario().schedule("two", limit).book().clone();
        let key_of = |handled: Handled| match handled.events.last().and_then(|e| e.body.clone()) {
            Some(event::Body::Grabbed(CouponGrabbed { idempotency_key, .. })) => idempotency_key,
            other => panic!("not granted: {other:?}"),
        };
        assert_eq!(key_of(grab(&mut book, "open", "c", "k")), "");
        assert_eq!(key_of(grab(&mut book, "two", "c", "k")), "k");
    }

    #[test]
    fn books_agree_that_are_of_the_same_events() {
        let whole = scenario().book().clone();
        let mut archived = whole.clone();
        drop(archived.archive(i64::MAX));
        let before = Scenario::at(1_000)
            .schedule("over", terms(1))
            .schedule("open", terms(5))
            .grab("open", "a")
            .grab("open", "b");
        let before = before.book();
        for (one, other) in [(&whole, &whole), (&whole, &archived), (before, &archived)] {
            assert!(one.agrees_with(other) && other.agrees_with(one));
        }
        assert!(!whole.agrees_with(before) && !before.agrees_with(&whole), "over, and not over");

        let later = Book { at_ms: 1_001, ..whole.clone() };
        let more = scenario().schedule("another", terms(1)).book().clone();
        let holders = Scenario::at(1_000)
            .schedule("over", terms(1))
            .schedule("open", terms(5))
            .grab("over", "a")
            .finish("over")
            .grab("open", "a")
            .grab("open", "c");
        let granted = scenario().grab("open", "c");
        let mut other_terms = Scenario::at(1_000)
            .schedule("over", Terms { discount: 0.1, ..terms(1) })
            .schedule("open", terms(5))
            .grab("over", "a")
            .finish("over")
            .grab("open", "a")
            .grab("open", "b")
            .book()
            .clone();
        for other in [&later, &more, holders.book(), granted.book(), &other_terms] {
            assert!(!whole.agrees_with(other) && !other.agrees_with(&whole));
        }
        drop(other_terms.archive(i64::MAX));
        assert!(!other_terms.agrees_with(&archived) && !whole.agrees_with(&other_terms));
    }

    /// Nobody has restocked it for so long.
    #[test]
    fn what_is_sold_out_and_has_no_end_is_ended_after_a_while() {
        let end = Terms { finishes_at_ms: Some(9_000), ..terms(1) };
        let scenario = Scenario::at(1_000)
            .schedule("open end", terms(1))
            .schedule("restocked", terms(1))
            .schedule("has an end", end)
            .grab("open end", "a")
            .grab("restocked", "a")
            .grab("has an end", "a")
            .at_time(1_500)
            .restock("restocked", 2)
            .grab("restocked", "b");
        let mut book = scenario.book().clone();
        assert!(book.finish_idle(1_000, 2_000).is_empty());
        let events = book.finish_idle(1_001, 2_000);
        assert_eq!((events.len(), events[0].promotion_id.as_str()), (1, "open end"));
        let reason = |book: &Book, id: &str| book.get(id).expect("one").finished();
        assert_eq!(reason(&book, "open end"), Some(FinishReason::SoldOut));
        assert_eq!(book.finish_idle(i64::MAX, 2_000).len(), 1);
        assert_eq!(reason(&book, "has an end"), None);
        assert!(book.finish_idle(i64::MAX, 2_000).is_empty());
    }

    #[test]
    fn an_operator_may_set_the_clock_back() {
        let mut book = scenario().book().clone();
        book.reset_clock(7);
        assert_eq!(book.at_ms(), 7);
    }

    #[test]
    fn terms_change_only_before_the_start_and_before_the_end() {
        let changed = |id: &str| Event {
            promotion_id: id.into(),
            body: Some(event::Body::Changed(PromotionChanged { terms: Some(terms(9)) })),
            ..Event::default()
        };
        let scenario = Scenario::at(0).schedule("cancelled", terms(1)).cancel("cancelled");
        let scenario = scenario.at_time(1_000).schedule("open", terms(1)).grab("open", "a");
        let mut book = scenario.book().clone();
        for id in ["cancelled", "open"] {
            let error = book.apply(&changed(id)).expect_err(id);
            assert!(error.to_string().contains("changed after the start"), "{error}");
        }
    }

    #[test]
    fn a_promotion_starts_once_and_not_after_its_end() {
        let scenario = Scenario::at(0).schedule("cancelled", terms(1)).cancel("cancelled");
        let scenario = scenario.at_time(1_000).schedule("open", terms(2)).grab("open", "a");
        for id in ["cancelled", "open"] {
            let body = Some(event::Body::Started(PromotionStarted {}));
            let again = Event { promotion_id: id.into(), body, ..Event::default() };
            assert!(scenario.book().clone().apply(&again).is_err(), "{id}");
        }
    }

    #[test]
    fn a_promotion_without_a_start_starts_at_once() {
        let at_once = Terms { starts_at_ms: 0, ..terms(1) };
        let scenario = Scenario::at(100).schedule("p", at_once);
        assert_eq!(scenario.promotion("p").terms().starts_at_ms, 100);
    }
}
