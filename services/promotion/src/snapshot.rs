//! What a stretch of events did, as messages of bounded size; and a book made of such stretches.
//!
//! Coupons are only ever added, and a promotion's terms are few: so what has changed since the last
//! stretch follows from its events alone, without the state before. Nobody copies a book.

use std::collections::BTreeMap;

use prost::Message;
use seckill_proto::v1::{
    CouponsGranted, Event, FinishReason, PromotionChanges, SnapshotPart, event,
};

use crate::book::Book;
use crate::promotion::{Finished, Inconsistent, Promotion};

/// A part is closed once it has about so many bytes: half of the 1 MB that a broker takes by default.
pub const MAX_PART_BYTES: usize = 512 * 1024;
/// What a coupon has beside its ids, at most.
const COUPON_BYTES: usize = 24;

/// What events did, promotion by promotion.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    promotions: BTreeMap<String, Changed>,
    coupons: u64,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Changed {
    changes: PromotionChanges,
    /// When the last of the coupons was given.
    last_at_ms: i64,
}

impl Changes {
    /// Adds what an event did; events come in their order.
    ///
    /// # Errors
    /// The event has no body.
    pub fn add(&mut self, event: &Event) -> Result<(), Inconsistent> {
        let body = event.body.as_ref().ok_or(Inconsistent("an event without a body"))?;
        let changed = self.changed(&event.promotion_id);
        let changes = &mut changed.changes;
        if changes.archived {
            return Ok(()); // its end is known, and this was before
        }
        match body {
            event::Body::Scheduled(scheduled) => changes.terms.clone_from(&scheduled.terms),
            event::Body::Changed(changed) => changes.terms.clone_from(&changed.terms),
            event::Body::Started(_) => changes.started = true,
            event::Body::Restocked(restocked) => {
                (changes.coupons, changes.sold_out_at_ms) = (Some(restocked.coupons), Some(0));
            }
            event::Body::SoldOut(_) => changes.sold_out_at_ms = Some(event.at_ms),
            event::Body::Paused(_) => changes.paused = Some(true),
            event::Body::Resumed(_) => changes.paused = Some(false),
            event::Body::Finished(finished) => {
                (changes.finished, changes.finished_at_ms) = (Some(finished.reason), event.at_ms);
            }
            event::Body::Grabbed(grabbed) => {
                let (serial, customer_id) = (grabbed.serial, &grabbed.customer_id);
                changed.grant(serial, customer_id, &grabbed.idempotency_key, event.at_ms);
                self.coupons += 1;
            }
        }
        Ok(())
    }

    /// Adds an earlier stretch, before any event that came after it.
    pub fn add_part(&mut self, part: SnapshotPart) {
        for mut later in part.promotions {
            let given = later.grants.take().unwrap_or_default();
            let changed = self.changed(&later.promotion_id);
            let before = coupons_in(changed.changes.grants.as_ref());
            changed.follow(later);
            if changed.changes.archived {
                self.coupons -= before;
                continue;
            }
            let (mut at_ms, mut serial) = (0, given.first_serial);
            let coupons = given.customers().zip(given.keys()).zip(&given.at_ms_differences);
            for ((customer_id, key), difference) in coupons {
                at_ms += difference;
                changed.grant(serial, customer_id, key, at_ms);
                serial += 1;
            }
            self.coupons += coupons_in(Some(&given));
        }
    }

    /// Coupons given.
    #[must_use]
    pub fn coupons(&self) -> u64 {
        self.coupons
    }

    /// The promotions that were touched.
    pub fn promotion_ids(&self) -> impl Iterator<Item = &str> {
        self.promotions.keys().map(String::as_str)
    }

    /// Leaves out the coupons of a promotion that is archived, and says how it ended: the stretch that
    /// the end is in may be lost.
    pub fn archive(&mut self, end: PromotionChanges) {
        if let Some(changed) = self.promotions.get_mut(&end.promotion_id) {
            self.coupons -= coupons_in(changed.changes.grants.as_ref());
            changed.changes = end;
        }
    }

    /// As parts of about [`MAX_PART_BYTES`] each.
    #[must_use]
    pub fn into_parts(self) -> Vec<SnapshotPart> {
        let (mut parts, mut open, mut bytes) = (Vec::new(), SnapshotPart::default(), 0);
        for piece in self.promotions.into_values().flat_map(|changed| pieces(changed.changes)) {
            let more = piece.encoded_len() + 8;
            if bytes + more > MAX_PART_BYTES && !open.promotions.is_empty() {
                parts.push(std::mem::take(&mut open));
                bytes = 0;
            }
            bytes += more;
            open.promotions.push(piece);
        }
        if !open.promotions.is_empty() {
            parts.push(open);
        }
        parts
    }

    fn changed(&mut self, promotion_id: &str) -> &mut Changed {
        if !self.promotions.contains_key(promotion_id) {
            let promotion_id = promotion_id.to_owned();
            let changes = PromotionChanges { promotion_id, ..PromotionChanges::default() };
            let changed = Changed { changes, last_at_ms: 0 };
            self.promotions.insert(changed.changes.promotion_id.clone(), changed);
        }
        self.promotions.get_mut(promotion_id).expect("just put in")
    }
}

impl Changed {
    fn grant(&mut self, serial: u32, customer_id: &str, key: &str, at_ms: i64) {
        let first = || CouponsGranted { first_serial: serial, ..CouponsGranted::default() };
        let given = self.changes.grants.get_or_insert_with(first);
        given.push(customer_id, key, at_ms - self.last_at_ms);
        self.last_at_ms = at_ms;
    }

    /// Takes over everything but the coupons. Of one that is archived the end is known.
    fn follow(&mut self, later: PromotionChanges) {
        let changes = &mut self.changes;
        if changes.archived {
            return;
        }
        if later.archived {
            *changes = later;
            return;
        }
        if later.terms.is_some() {
            (changes.terms, changes.coupons) = (later.terms, None);
        }
        changes.coupons = later.coupons.or(changes.coupons);
        changes.started |= later.started;
        changes.paused = later.paused.or(changes.paused);
        changes.sold_out_at_ms = later.sold_out_at_ms.or(changes.sold_out_at_ms);
        if later.finished.is_some() {
            (changes.finished, changes.finished_at_ms) = (later.finished, later.finished_at_ms);
        }
    }
}

fn coupons_in(given: Option<&CouponsGranted>) -> u64 {
    given.map_or(0, |given| given.customer_id_lengths.len() as u64)
}

/// How a promotion ended, for the snapshot that leaves its coupons out; none while they are here.
#[must_use]
pub fn end_of(promotion_id: &str, promotion: &Promotion) -> Option<PromotionChanges> {
    let finished = promotion.finished.filter(|_| promotion.archived)?;
    Some(PromotionChanges {
        promotion_id: promotion_id.to_owned(),
        terms: Some(promotion.terms.clone()),
        started: promotion.started,
        finished: Some(finished.reason.into()),
        finished_at_ms: finished.at_ms,
        archived: true,
        granted: promotion.granted,
        ..PromotionChanges::default()
    })
}

/// Cuts changes with many coupons into ones of bounded size; the first has the rest too.
fn pieces(mut changes: PromotionChanges) -> Vec<PromotionChanges> {
    let Some(given) = changes.grants.take() else { return vec![changes] };
    let mut cut: Vec<CouponsGranted> = Vec::new();
    let (mut room, mut at_ms, mut before) = (0, 0, 0);
    for (index, (customer_id, key)) in given.customers().zip(given.keys()).enumerate() {
        at_ms += given.at_ms_differences.get(index).copied().unwrap_or_default();
        let bytes = customer_id.len() + key.len() + COUPON_BYTES;
        if room < bytes {
            let first_serial = given.first_serial + u32::try_from(index).unwrap_or(u32::MAX);
            cut.push(CouponsGranted { first_serial, ..CouponsGranted::default() });
            (room, before) = (MAX_PART_BYTES, 0);
        }
        room -= bytes;
        let piece = cut.last_mut().expect("there is one");
        piece.push(customer_id, key, at_ms - before);
        before = at_ms;
    }
    let id = changes.promotion_id.clone();
    let mut pieces = cut.into_iter().map(|given| PromotionChanges {
        promotion_id: id.clone(),
        grants: Some(given),
        ..PromotionChanges::default()
    });
    changes.grants = pieces.next().and_then(|first| first.grants);
    std::iter::once(changes).chain(pieces).collect()
}

/// Columns of coupons. What is not as `push` left it is cut short, and noticed by its serials.
trait Columns {
    fn push(&mut self, customer_id: &str, key: &str, at_ms_difference: i64);
    fn customers(&self) -> impl Iterator<Item = &str>;
    /// As many as customers.
    fn keys(&self) -> impl Iterator<Item = &str>;
}

impl Columns for CouponsGranted {
    fn push(&mut self, customer_id: &str, key: &str, at_ms_difference: i64) {
        let length = |text: &str| u32::try_from(text.len()).expect("an id is short");
        if !key.is_empty() {
            self.key_lengths.resize(self.customer_id_lengths.len(), 0);
            self.key_lengths.push(length(key));
            self.keys.extend_from_slice(key.as_bytes());
        } else if !self.key_lengths.is_empty() {
            self.key_lengths.push(0);
        }
        self.customer_ids.extend_from_slice(customer_id.as_bytes());
        self.customer_id_lengths.push(length(customer_id));
        self.at_ms_differences.push(at_ms_difference);
    }

    fn customers(&self) -> impl Iterator<Item = &str> {
        cut(&self.customer_ids, self.customer_id_lengths.iter())
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        let none = &0;
        let missing = self.customer_id_lengths.len().saturating_sub(self.key_lengths.len());
        cut(&self.keys, self.key_lengths.iter().chain(std::iter::repeat_n(none, missing)))
    }
}

fn cut<'a>(
    mut bytes: &'a [u8],
    lengths: impl Iterator<Item = &'a u32>,
) -> impl Iterator<Item = &'a str> {
    lengths.map_while(move |length| {
        let (text, rest) = bytes.split_at_checked(*length as usize)?;
        bytes = rest;
        std::str::from_utf8(text).ok()
    })
}

/// A book that is put together from stretches, in their order.
#[derive(Debug, Default)]
pub struct Restore {
    book: Book,
}

impl Restore {
    /// Adds the next part.
    ///
    /// # Errors
    /// It does not fit what was added before: nothing that was restored counts.
    pub fn add(&mut self, part: &SnapshotPart) -> Result<(), Inconsistent> {
        part.promotions.iter().try_for_each(|changes| {
            let id = changes.promotion_id.as_str();
            match self.book.promotion_to_restore(id) {
                Some(promotion) => change(promotion, changes),
                None => {
                    let terms = changes.terms.clone();
                    let terms = terms.ok_or(Inconsistent("a promotion without terms"))?;
                    let mut promotion = Promotion::new(terms);
                    change(&mut promotion, changes)?;
                    self.book.restore(id.to_owned(), promotion);
                    Ok(())
                }
            }
        })
    }

    /// The book, with its clock at `at_ms`.
    #[must_use]
    pub fn finish(self, at_ms: i64) -> Book {
        let mut book = self.book;
        book.finish_restoring(at_ms);
        book
    }
}

fn change(promotion: &mut Promotion, changes: &PromotionChanges) -> Result<(), Inconsistent> {
    if promotion.archived {
        return Ok(()); // its end is known, and this was before
    }
    if let Some(terms) = &changes.terms {
        promotion.terms.clone_from(terms);
    }
    promotion.terms.coupons = changes.coupons.unwrap_or(promotion.terms.coupons);
    promotion.started |= changes.started;
    promotion.paused = changes.paused.unwrap_or(promotion.paused);
    if let Some(at_ms) = changes.sold_out_at_ms {
        promotion.sold_out_at_ms = Some(at_ms).filter(|at_ms| *at_ms != 0);
    }
    if let Some(reason) = changes.finished {
        let reason = FinishReason::try_from(reason);
        let reason = reason.map_err(|_| Inconsistent("an unknown reason to finish"))?;
        promotion.finished = Some(Finished { reason, at_ms: changes.finished_at_ms });
    }
    if changes.archived {
        if promotion.finished.is_none() || changes.granted > promotion.terms.coupons {
            return Err(Inconsistent("an archived promotion without its end"));
        }
        promotion.archive(changes.granted);
    }
    match &changes.grants {
        Some(given) if !promotion.archived => grant(promotion, given),
        Some(_) | None => Ok(()),
    }
}

fn grant(promotion: &mut Promotion, given: &CouponsGranted) -> Result<(), Inconsistent> {
    let count = given.customer_id_lengths.len();
    let begin = promotion.granted;
    if begin.checked_add(1) != Some(given.first_serial) || given.at_ms_differences.len() != count {
        return Err(Inconsistent("a snapshot without all its coupons"));
    }
    let (mut at_ms, limit) = (0, promotion.terms.limit_per_customer);
    let coupons = given.customers().zip(given.keys()).zip(&given.at_ms_differences);
    for ((customer_id, key), difference) in coupons {
        at_ms += difference;
        promotion.holders.grant_again(customer_id, key, at_ms, limit)?;
    }
    promotion.granted = promotion.holders.len();
    if (promotion.granted - begin) as usize != count || promotion.granted > promotion.terms.coupons
    {
        return Err(Inconsistent("a snapshot without all its coupons, or with too many"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::{Accepted, Command, GrabCoupon, Terms, answer, command};

    use super::*;
    use crate::scenario::{Scenario, terms};

    fn scenario() -> Scenario {
        let mut scenario = Scenario::at(1_000)
            .schedule("large", terms(60_000))
            .schedule("limit", Terms { limit_per_customer: 3, ..terms(10) })
            .schedule("later", Terms { starts_at_ms: 9_000, ..terms(10) })
            .schedule("over", terms(1))
            .grab("over", "c")
            .finish("over")
            .grab("limit", "c")
            .grab_with_key("limit", "c", "k1")
            .grab("limit", "d")
            .grab_with_key("limit", "c", "k2");
        for number in 0..40_000 {
            let customer = format!("customer-with-a-long-name-{number}");
            scenario = scenario.at_time(1_000 + number / 7).grab("large", &customer);
        }
        scenario.restock("large", 70_000).grab("large", "one more")
    }

    fn changes(events: &[Event]) -> Changes {
        let mut changes = Changes::default();
        events.iter().for_each(|event| changes.add(event).expect("an event"));
        changes
    }

    fn restored(stretches: Vec<Changes>, at_ms: i64) -> Result<Book, Inconsistent> {
        let mut restore = Restore::default();
        for part in stretches.into_iter().flat_map(Changes::into_parts) {
            restore.add(&part)?;
        }
        Ok(restore.finish(at_ms))
    }

    #[test]
    fn a_book_comes_back_whole_from_stretches_however_they_are_cut() {
        let scenario = scenario();
        let (book, events) = (scenario.book(), scenario.all_events());
        for stretch in [events.len(), 7, 10_000] {
            let stretches: Vec<Changes> = events.chunks(stretch).map(changes).collect();
            let parts = stretches.iter().cloned().flat_map(Changes::into_parts);
            assert!(parts.clone().all(|part| part.encoded_len() < MAX_PART_BYTES + 4_096));
            assert_eq!(restored(stretches, book.at_ms()).as_ref(), Ok(book), "{stretch}");
        }
    }

    /// There are as few parts as their size allows, and who grabs again is given the same coupon.
    #[test]
    fn holders_are_found_again() {
        let scenario = scenario();
        let changes = changes(scenario.all_events());
        assert_eq!(
            changes.promotion_ids().collect::<Vec<_>>(),
            ["large", "later", "limit", "over"]
        );
        let parts = changes.clone().into_parts();
        let bytes: usize = parts.iter().map(Message::encoded_len).sum();
        assert!(parts.len() <= bytes / (256 * 1_024) + 1, "{} parts", parts.len());
        let mut book = restored(vec![changes], scenario.book().at_ms()).expect("a book");
        for number in [0, 4_095, 4_096, 39_999] {
            let customer_id = format!("customer-with-a-long-name-{number}");
            let grab = GrabCoupon { customer_id, idempotency_key: String::new() };
            let body = Some(command::Body::Grab(grab));
            let handled = book.handle(&Command { promotion_id: "large".into(), body }, 9_000);
            let Some(accepted) = accepted(&handled.outcome) else { panic!("{handled:?}") };
            assert_eq!((accepted.repeated, accepted.serial), (true, number + 1));
        }
    }

    fn accepted(outcome: &answer::Outcome) -> Option<&Accepted> {
        match outcome {
            answer::Outcome::Accepted(accepted) => Some(accepted),
            answer::Outcome::Refused(_) => None,
        }
    }

    /// Of a promotion whose end is known, coupons that came before do not count.
    #[test]
    fn coupons_of_what_is_archived_later_are_taken_off() {
        let scenario = scenario();
        let mut book = scenario.book().clone();
        drop(book.archive(i64::MAX));
        let end = end_of("over", book.get("over").expect("one")).expect("it is archived");
        let end = SnapshotPart { promotions: vec![end] };
        let mut both = Changes::default();
        for part in changes(scenario.all_events()).into_parts() {
            both.add_part(part);
        }
        let before = both.coupons();
        both.add_part(end);
        assert_eq!((before, both.coupons()), (40_006, 40_005));
    }

    #[test]
    fn two_stretches_are_made_one() {
        let scenario = scenario();
        let (first, second) = scenario.all_events().split_at(13_000);
        let mut both = Changes::default();
        for part in changes(first).into_parts() {
            both.add_part(part);
        }
        second.iter().for_each(|event| both.add(event).expect("an event"));
        let book = scenario.book();
        assert_eq!(both.coupons(), 40_006);
        assert_eq!(restored(vec![both], book.at_ms()).as_ref(), Ok(book));
    }

    #[test]
    fn any_stretches_before_a_loss_and_the_log_from_there_make_the_same_book() {
        let scenario = Scenario::at(1_000)
            .schedule("sold out", terms(3))
            .schedule("cancelled", Terms { finishes_at_ms: None, ..terms(5) })
            .schedule("timed", Terms { finishes_at_ms: Some(3_000), ..terms(5) })
            .grab("sold out", "a")
            .grab("cancelled", "a")
            .grab("timed", "a")
            .restock("sold out", 5)
            .grab("sold out", "b")
            .grab("cancelled", "b")
            .at_time(2_000)
            .grab("sold out", "c")
            .grab("sold out", "d")
            .grab("sold out", "e")
            .cancel("cancelled")
            .pause("timed")
            .resume("timed")
            .pause("timed")
            .restock("sold out", 6)
            .grab("sold out", "f")
            .finish("sold out")
            .at_time(3_000)
            .wake()
            .at_time(4_000)
            .schedule("on sale", terms(5))
            .grab("on sale", "a")
            .pause("on sale")
            .schedule("sold out for now", terms(1))
            .grab("sold out for now", "a")
            .schedule("restocked", terms(1))
            .grab("restocked", "a")
            .restock("restocked", 2);
        let (mut book, events) = (scenario.book().clone(), scenario.all_events());
        drop(book.archive(i64::MAX));
        let ends: Vec<_> = book.iter().filter_map(|(id, over)| end_of(id, over)).collect();
        assert_eq!(ends.len(), 3);
        for stretch in 1..=events.len() {
            let mut stretches: Vec<Changes> = events.chunks(stretch).map(changes).collect();
            for trimmed in 0..stretches.len() {
                ends.iter().cloned().for_each(|end| stretches[trimmed].archive(end));
                for kept in 1..=stretches.len() {
                    let from = events.len().min(kept * stretch);
                    let at_ms = events[..from].last().map_or(0, |event| event.at_ms);
                    let mut again = restored(stretches[..kept].to_vec(), at_ms).expect("a book");
                    for event in &events[from..] {
                        again.apply(event).expect("it fits");
                    }
                    assert!(again.agrees_with(&book), "{stretch}, {trimmed}, {kept}");
                    assert!(again.iter().all(|(id, promotion)| {
                        let right = book.get(id).expect("the same promotions");
                        (promotion.granted(), promotion.terms()) == (right.granted(), right.terms())
                    }));
                    assert_eq!(again.at_ms(), book.at_ms());
                    assert_eq!(again.wake(9_000), [], "{stretch}, {trimmed}, {kept}");
                }
            }
        }
    }

    #[test]
    fn a_missing_part_is_noticed() {
        let scenario = scenario();
        let parts = changes(scenario.all_events()).into_parts();
        assert!(parts.len() > 2);
        for missing in 0..parts.len() - 1 {
            let mut restore = Restore::default();
            let mut there = (0..parts.len()).filter(|part| *part != missing);
            let added = there.try_for_each(|part| restore.add(&parts[part]));
            assert!(added.is_err(), "{missing}");
        }
    }

    #[test]
    fn what_is_archived_is_left_out_and_keeps_its_head() {
        let scenario = scenario();
        let mut book = scenario.book().clone();
        let mut changes = changes(scenario.all_events());
        drop(book.archive(i64::MAX));
        assert!(book.get("over").is_some_and(Promotion::is_archived));
        let over = book.get("over").expect("it was offered");
        let before = changes.coupons();
        changes.archive(end_of("over", over).expect("it is archived"));
        assert_eq!(changes.coupons(), before - 1);
        let restored = restored(vec![changes], book.at_ms());
        assert_eq!(restored.as_ref(), Ok(&book));
        assert!(restored.is_ok_and(|restored| restored.agrees_with(scenario.book())));
    }
}
