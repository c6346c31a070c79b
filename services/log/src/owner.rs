//! The owner of a partition: decides who may serve, and when an answer may be given.
//!
//! No I/O: the caller appends the records it is handed, reports their deliveries, and feeds
//! records read. `T` is whatever waits for an answer; it comes back exactly once, [`Settled`].
//!
//! Why an answer, once released, stands for ever: an event acknowledged at offset o means that the
//! fence at t and everything in t+1..=o were reported at exactly the offsets expected. So no other
//! fence lies in between, every reader's fold accepts the event, and the log keeps acknowledged
//! prefixes. Neither clocks nor the group's assignment nor the broker's idempotence matter here.
//!
//! ```text
//!            fence()          fenced()            catch_up()
//!   Idle ──────────► Fencing ─────────► CatchingUp ────────► Serving
//!    ▲ ▲                ▲                   │ not my fence      │ a delivery that does not fit
//!    │ └────────────────┼───────────────────┘                   ▼
//!    │   foreign fence  └─────── fence(): none found ──────── Suspect (read_back)
//!    └──────────────────────────────────────────────────────────┘
//! ```
//!
//! While suspect nothing is admitted. `read_back` goes over what follows the last confirmed
//! record, up to the next fence of anybody: then every parked answer is known.
//!
//! An answer that wrote nothing, such as a refusal, rests on the owner still being the owner when it
//! was decided. It is released once an event that was stamped after it is confirmed, or while it is
//! known that nobody else had written at most [`LEASE_MS`] ago: from a confirmed append, or from a
//! look at the log's end. So a node that was replaced, or is cut off, refuses nobody for longer.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use seckill_proto::v1::{Checkpoint, Event, Fence};
use seckill_proto::{encode_event, encode_fence};

use crate::fold::{Fold, FoldError, Folded};
use crate::{Delivery, History, Skips};

/// How old the knowledge may be that a refusal rests on, in milliseconds.
pub const LEASE_MS: u64 = 250;

/// Where an owner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Owns nothing.
    Idle,
    /// Has written a fence and does not know where yet.
    Fencing,
    /// Knows its fence's offset and folds up to it.
    CatchingUp {
        /// Offset of the fence.
        fence: u64,
    },
    /// Decides commands under this term.
    Serving {
        /// Offset of the fence.
        term: u64,
    },
    /// Does not know what became of its last events.
    Suspect,
}

/// What became of something that waited.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled<T> {
    /// Durable: from its own first event to its own last one; of what wrote nothing, the last event that it
    /// rests on. A view that has reached the end of it shows what it says.
    Durable(T, RangeInclusive<u64>),
    /// Its first event, or what it rests on, counts for nobody: definitely not accepted.
    Void(T),
}

/// What a record read while catching up is for the caller.
#[derive(Debug, Clone, PartialEq)]
pub enum CaughtUp {
    /// Apply this.
    Apply(Event),
    /// The fence of somebody else, or an earlier one of the own.
    Fence(Fence),
    /// Nothing to apply.
    Void,
    /// This was the own fence: the state is complete and the owner serves.
    Serving,
    /// Where the own fence had to be is something else: fence again.
    Deposed,
}

/// The owner of one partition.
#[derive(Debug)]
pub struct Owner<T> {
    phase: Phase,
    fence_id: [u8; 16],
    /// What has been folded: while catching up what was read, while serving what was confirmed.
    fold: Fold,
    /// Events stamped in this term.
    stamped: u64,
    /// The history as it will be after each event that is stamped and not confirmed.
    ahead: VecDeque<History>,
    /// What waits, in order of its release.
    parked: VecDeque<Parked<T>>,
    /// How far what waits has been looked for in the log; `None` when nothing is in doubt.
    doubt: Option<Fold>,
    /// Until when the last proof counts that nobody else has written.
    lease_until_ms: u64,
}

/// What a look at the log's end began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    term: u64,
    next_offset: u64,
    stamped: u64,
    began_ms: u64,
}

#[derive(Debug)]
struct Parked<T> {
    /// How many events of the term must be confirmed first.
    after: u64,
    /// So many of them, the last ones, are its own. The first of those is what was asked for, the others follow from it:
    /// whoever owns the partition next decides them again.
    own: u64,
    /// Where the first and the last of those are, as far as they have been found by reading back.
    found: Option<RangeInclusive<u64>>,
    waiting: T,
}

impl<T> Parked<T> {
    /// Whether so many confirmed events settle it, however old they are.
    fn is_settled(&self, confirmed: u64) -> bool {
        self.after < confirmed || (self.wrote() && self.after == confirmed)
    }

    fn wrote(&self) -> bool {
        self.own > 0
    }

    /// Its own first event in the term, or the last one before it where it has none, counted from 1; 0 for
    /// the fence.
    fn place(&self) -> u64 {
        self.after - self.own + u64::from(self.wrote())
    }
}

impl<T> Default for Owner<T> {
    fn default() -> Self {
        Self {
            phase: Phase::Idle,
            fence_id: [0; 16],
            fold: Fold::default(),
            stamped: 0,
            ahead: VecDeque::new(),
            parked: VecDeque::new(),
            doubt: None,
            lease_until_ms: 0,
        }
    }
}

impl<T> Owner<T> {
    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Of its last fence: nobody else has the same.
    #[must_use]
    pub fn fence_id(&self) -> [u8; 16] {
        self.fence_id
    }

    /// Answers that wait.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// The first offset not known to be confirmed, while serving.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.fold.next_offset()
    }

    /// How far the log is known to be confirmed, and which history that is.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        self.fold.checkpoint()
    }

    /// Begins to take the partition over: the record to append. `fence_id` must be fresh.
    pub fn fence(&mut self, fence_id: [u8; 16], node: &str, endpoint: &str) -> Vec<u8> {
        self.phase = Phase::Fencing;
        self.fence_id = fence_id;
        encode_fence(Fence {
            fence_id: fence_id.to_vec(),
            node: node.to_owned(),
            endpoint: endpoint.to_owned(),
            ..Fence::default()
        })
    }

    /// Says where the fence went. Where that is unknown, write another: a stray one is harmless.
    pub fn fenced(&mut self, delivery: Delivery) {
        debug_assert_eq!(self.phase, Phase::Fencing);
        self.phase = match delivery {
            Delivery::At(fence) => Phase::CatchingUp { fence },
            Delivery::Unknown => Phase::Idle,
        };
    }

    /// Begins to fold, from where a snapshot ends; through [`Owner::catch_up`] the rest.
    ///
    /// # Panics
    /// While anything is in doubt: that is read back first.
    pub fn begin_catch_up(&mut self, from: Fold) {
        assert!(self.doubt.is_none(), "read back before catching up");
        self.fold = from;
    }

    /// Folds the next record up to the own fence, which is the point of takeover.
    ///
    /// # Errors
    /// The log cannot be folded: nobody can own this partition.
    ///
    /// # Panics
    /// When called in another phase than [`Phase::CatchingUp`].
    pub fn catch_up(&mut self, offset: u64, record: &[u8]) -> Result<CaughtUp, FoldError> {
        let Phase::CatchingUp { fence } = self.phase else {
            panic!("catching up while {:?}", self.phase)
        };
        let folded = self.fold.step(offset, record)?;
        if offset == fence {
            return Ok(self.reach_fence(&folded, fence));
        }
        Ok(match folded {
            Folded::Event(event) => CaughtUp::Apply(event),
            Folded::Fence(fence) => CaughtUp::Fence(fence),
            Folded::Void | Folded::Skipped(_) | Folded::Skip(_) => CaughtUp::Void,
        })
    }

    fn reach_fence(&mut self, folded: &Folded, term: u64) -> CaughtUp {
        let mine = matches!(folded, Folded::Fence(fence) if fence.fence_id == self.fence_id);
        if !mine {
            self.phase = Phase::Idle;
            return CaughtUp::Deposed;
        }
        self.serve(term);
        CaughtUp::Serving
    }

    fn serve(&mut self, term: u64) {
        self.phase = Phase::Serving { term };
        self.stamped = 0;
        self.ahead.clear();
        self.lease_until_ms = 0;
    }

    /// Stamps events that were just decided and parks what waits for them: the records to append.
    /// Without events it waits for all that was decided before it.
    ///
    /// # Panics
    /// When called in another phase than [`Phase::Serving`].
    pub fn submit(&mut self, events: Vec<Event>, waiting: T) -> Vec<Vec<u8>> {
        let own = events.len() as u64;
        let records = self.stamp(events);
        self.parked.push_back(Parked { after: self.stamped, own, found: None, waiting });
        records
    }

    /// Stamps events that nobody waits for.
    ///
    /// # Panics
    /// When called in another phase than [`Phase::Serving`].
    pub fn stamp(&mut self, events: Vec<Event>) -> Vec<Vec<u8>> {
        let Phase::Serving { term } = self.phase else { panic!("deciding while {:?}", self.phase) };
        let mut history = self.ahead.back().copied().unwrap_or(self.fold.history());
        let stamped = events.into_iter().map(|event| {
            let record = encode_event(Event { term, seq: self.stamped, ..event });
            self.stamped += 1;
            history = history.then(&record);
            self.ahead.push_back(history);
            record
        });
        stamped.collect()
    }

    /// Takes the deliveries of records appended under `term` at `sent_ms`, in the order of the
    /// appends. Anything but the offset expected makes the owner suspect, and what is reported for a
    /// term after that means nothing.
    pub fn delivered(&mut self, term: u64, deliveries: &[Delivery], sent_ms: u64) {
        for delivery in deliveries {
            if self.phase != (Phase::Serving { term }) {
                return;
            }
            let expected = Delivery::At(self.fold.next_offset());
            match self.ahead.pop_front() {
                Some(history) if *delivery == expected => self.fold.confirm(history),
                Some(_) | None => self.suspect(),
            }
        }
        if !deliveries.is_empty() && self.phase == (Phase::Serving { term }) {
            self.renew_lease(sent_ms);
        }
    }

    fn renew_lease(&mut self, known_at_ms: u64) {
        self.lease_until_ms = self.lease_until_ms.max(known_at_ms + LEASE_MS);
    }

    /// Whether an answer waits for nothing but a look at the log's end.
    #[must_use]
    pub fn wants_look(&self, now_ms: u64) -> bool {
        let waits = self.parked.front().is_some_and(|parked| parked.after <= self.fold.next_seq());
        matches!(self.phase, Phase::Serving { .. })
            && waits
            && self.ahead.is_empty()
            && now_ms >= self.lease_until_ms
    }

    /// Begins to look at the log's end; `None` while events are on their way, which say more.
    #[must_use]
    pub fn look(&self, now_ms: u64) -> Option<Look> {
        let Phase::Serving { term } = self.phase else { return None };
        self.ahead.is_empty().then_some(Look {
            term,
            next_offset: self.fold.next_offset(),
            stamped: self.stamped,
            began_ms: now_ms,
        })
    }

    /// Takes the end of the log, asked for after the look began. Where records have come that are
    /// not the own ones, or some are gone, the owner is suspect.
    pub fn looked(&mut self, look: Look, end: u64) {
        if self.phase != (Phase::Serving { term: look.term }) {
            return;
        }
        if end == look.next_offset {
            self.renew_lease(look.began_ms);
        } else if end < look.next_offset || self.stamped == look.stamped {
            self.suspect();
        }
    }

    /// Takes back the answers that wrote nothing and cannot be given for want of a look, or, once
    /// the owner is suspect, at all: none of them has changed anything.
    pub fn withdraw_unproven(&mut self) -> Vec<T> {
        let serving = matches!(self.phase, Phase::Serving { .. });
        let confirmed = self.fold.next_seq();
        let unproven =
            |parked: &Parked<T>| !parked.wrote() && (!serving || parked.after <= confirmed);
        let (withdrawn, parked): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.parked).into_iter().partition(unproven);
        self.parked = parked;
        withdrawn.into_iter().map(|parked| parked.waiting).collect()
    }

    /// Stops serving: what has been appended and not confirmed is in doubt.
    pub fn suspect(&mut self) {
        if matches!(self.phase, Phase::Serving { .. }) {
            self.phase = Phase::Suspect;
            self.doubt = Some(self.fold.clone());
        }
    }

    /// The next answer that may be given now, in order. To be called until there is none after
    /// every [`Owner::delivered`], [`Owner::looked`] and [`Owner::submit`].
    pub fn next_settled(&mut self, now_ms: u64) -> Option<Settled<T>> {
        let confirmed = self.fold.next_seq();
        let fence = self.fence_of_confirmed();
        let serving = matches!(self.phase, Phase::Serving { .. });
        let fresh = serving && now_ms < self.lease_until_ms;
        let parked = self.pop_if(|parked| {
            parked.is_settled(confirmed) || (fresh && parked.after == confirmed)
        })?;
        let place = fence + parked.place()..=fence + parked.after;
        Some(Settled::Durable(parked.waiting, place))
    }

    /// The offset of the own fence, as what is confirmed of a term follows it without a gap.
    fn fence_of_confirmed(&self) -> u64 {
        self.fold.next_offset().saturating_sub(self.fold.next_seq() + 1)
    }

    fn pop_if(&mut self, ready: impl Fn(&Parked<T>) -> bool) -> Option<Parked<T>> {
        let ready = self.parked.front().is_some_and(ready);
        if ready { self.parked.pop_front() } else { None }
    }

    /// From where to read back; `None` when nothing is in doubt.
    #[must_use]
    pub fn read_back_from(&self) -> Option<u64> {
        self.doubt.as_ref().map(Fold::next_offset)
    }

    /// Lets what is in doubt be read past these.
    pub fn honour(&mut self, skips: &Skips) {
        let doubt = self.doubt.take();
        self.doubt = doubt.map(|fold| fold.honouring(skips.clone()));
    }

    /// Looks at the next record after the last confirmed one, and says what that settles. At the
    /// first fence all is known: what has not been found by then can never count.
    ///
    /// # Errors
    /// The log cannot be folded. What waits stays in doubt.
    ///
    /// # Panics
    /// When nothing is in doubt.
    pub fn read_back(&mut self, offset: u64, record: &[u8]) -> Result<Vec<Settled<T>>, FoldError> {
        let doubt = self.doubt.as_mut().expect("something is in doubt");
        let folded = doubt.step(offset, record)?;
        let confirmed = doubt.next_seq();
        match folded {
            Folded::Void | Folded::Skip(_) => Ok(Vec::new()),
            Folded::Event(_) => Ok(self.found(confirmed, offset)),
            Folded::Skipped(_) => Ok(self.displaced(confirmed)),
            Folded::Fence(_) => Ok(self.end_of_doubt()),
        }
    }

    fn found(&mut self, confirmed: u64, offset: u64) -> Vec<Settled<T>> {
        let fence = self.fence_of_confirmed();
        for parked in &mut self.parked {
            if (parked.place()..=parked.after).contains(&confirmed) {
                // Its first event may have been confirmed before the doubt began.
                let first =
                    if confirmed == parked.place() { offset } else { fence + parked.place() };
                let first = parked.found.as_ref().map_or(first, |found| *found.start());
                parked.found = Some(first..=offset);
            }
        }
        let ready = std::iter::from_fn(|| self.pop_if(|parked| parked.is_settled(confirmed)));
        let ready: Vec<_> = ready.collect();
        ready.into_iter().map(|parked| self.settled(parked)).collect()
    }

    /// What became of something once nothing more of it will be found: it is accepted where its first event
    /// counts.
    fn settled(&self, parked: Parked<T>) -> Settled<T> {
        let (fence, confirmed) = (self.fence_of_confirmed(), self.fold.next_seq());
        let place = parked.place();
        match parked.found {
            Some(found) if parked.wrote() => Settled::Durable(parked.waiting, found),
            Some(found) => Settled::Durable(parked.waiting, *found.start()..=*found.start()),
            None if place > confirmed => Settled::Void(parked.waiting),
            None => {
                let last = confirmed.min(parked.after);
                Settled::Durable(parked.waiting, fence + place..=fence + last)
            }
        }
    }

    /// What is skipped took the place of an own event, if of any: that one counts for nobody. Where it was what was
    /// asked for, so does what followed from it.
    fn displaced(&mut self, confirmed: u64) -> Vec<Settled<T>> {
        let is_it = |parked: &Parked<T>| {
            parked.wrote() && [parked.place(), parked.after].contains(&confirmed)
        };
        let displaced = self.pop_if(is_it);
        displaced.map(|parked| self.settled(parked)).into_iter().collect()
    }

    /// What was not found by now can never count.
    fn end_of_doubt(&mut self) -> Vec<Settled<T>> {
        self.doubt = None;
        if self.phase == Phase::Suspect {
            self.phase = Phase::Idle;
        }
        let parked = std::mem::take(&mut self.parked);
        let settled = |parked: Parked<T>| match parked.wrote() {
            true => self.settled(parked),
            false => Settled::Void(parked.waiting),
        };
        parked.into_iter().map(settled).collect()
    }

    /// Gives everything up, whatever its outcome: what waits is handed back unanswered.
    pub fn abandon(&mut self) -> Vec<T> {
        let parked = std::mem::take(&mut self.parked);
        *self = Self::default();
        parked.into_iter().map(|parked| parked.waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use seckill_proto::decode_record;
    use seckill_proto::v1::{PromotionStarted, Skip, event, record};

    use super::*;

    fn event() -> Event {
        let body = Some(event::Body::Started(PromotionStarted {}));
        Event { promotion_id: "p".into(), body, ..Event::default() }
    }

    /// An owner that serves under a fence at offset 0, and what it has appended.
    fn serving() -> (Owner<&'static str>, Vec<Vec<u8>>) {
        let mut owner = Owner::default();
        let fence = owner.fence([7; 16], "node", "http://node");
        owner.fenced(Delivery::At(0));
        owner.begin_catch_up(Fold::default());
        assert_eq!(owner.catch_up(0, &fence), Ok(CaughtUp::Serving));
        (owner, vec![fence])
    }

    /// Has it decide an event, which is delivered where it should be.
    fn decide(owner: &mut Owner<&'static str>, waiting: &'static str, sent_ms: u64) {
        let records = owner.submit(vec![event()], waiting);
        assert_eq!(records.len(), 1);
        let delivery = Delivery::At(owner.next_offset());
        owner.delivered(0, &[delivery], sent_ms);
    }

    #[test]
    fn a_fence_says_who_and_where() {
        let record = Owner::<()>::default().fence([9; 16], "node", "http://node");
        let Ok(record::Kind::Fence(fence)) = decode_record(&record) else { panic!("no fence") };
        assert_eq!((fence.fence_id, fence.node), (vec![9; 16], "node".into()));
        assert_eq!(fence.endpoint, "http://node");
    }

    #[test]
    fn what_is_confirmed_is_its_checkpoint() {
        let (mut owner, records) = serving();
        let mut fold = Fold::default();
        fold.step(0, &records[0]).expect("a fence");
        assert_eq!(owner.checkpoint(), fold.checkpoint());
        let record = owner.submit(vec![event()], "a").remove(0);
        assert_eq!((owner.checkpoint(), owner.parked()), (fold.checkpoint(), 1));
        owner.delivered(0, &[Delivery::At(1)], 5);
        fold.step(1, &record).expect("an event");
        assert_eq!(owner.checkpoint(), fold.checkpoint());
        assert_eq!(owner.next_settled(5), Some(Settled::Durable("a", 1..=1)));
        assert_eq!((owner.parked(), owner.next_settled(5)), (0, None));
    }

    /// A refusal is given while a confirmed append is young, and not for nothing.
    #[test]
    fn a_refusal_rests_on_a_confirmed_append() {
        let (mut owner, _) = serving();
        assert!(owner.submit(vec![], "first").is_empty());
        owner.delivered(0, &[], 1_000);
        assert_eq!(owner.next_settled(1_000), None, "nothing was confirmed");
        decide(&mut owner, "event", 1_000);
        assert_eq!(
            owner.next_settled(9_999),
            Some(Settled::Durable("first", 0..=0)),
            "a later event"
        );
        assert_eq!(owner.next_settled(9_999), Some(Settled::Durable("event", 1..=1)));
        owner.submit(vec![], "young");
        assert_eq!(
            owner.next_settled(1_000 + LEASE_MS - 1),
            Some(Settled::Durable("young", 1..=1))
        );
        owner.submit(vec![], "old");
        assert_eq!(owner.next_settled(1_000 + LEASE_MS), None);
        assert_eq!(owner.withdraw_unproven(), ["old"]);
    }

    /// The offset is that of the own event, also where a whole burst is confirmed at once.
    #[test]
    fn an_answer_names_the_place_of_its_own_event() {
        let (mut owner, _) = serving();
        owner.submit(vec![event()], "one");
        owner.submit(vec![event(), event()], "two at once");
        owner.submit(vec![], "refusal");
        owner.submit(vec![event()], "last");
        owner.delivered(0, &[1, 2, 3, 4].map(Delivery::At), 0);
        let settled: Vec<_> = std::iter::from_fn(|| owner.next_settled(0)).collect();
        let places = [("one", 1..=1), ("two at once", 2..=3), ("refusal", 3..=3), ("last", 4..=4)];
        assert_eq!(settled, places.map(|(waiting, at)| Settled::Durable(waiting, at)));
    }

    /// Also where it has to be looked for, between what counts for nobody, or was confirmed in part.
    #[test]
    fn what_is_read_back_names_the_place_of_its_first_event() {
        let (mut owner, records) = serving();
        let first = owner.submit(vec![event(), event()], "in part").remove(1);
        let second = owner.submit(vec![event(), event()], "not at all");
        owner.delivered(0, &[Delivery::At(1), Delivery::Unknown], 0);
        let mut read = |offset, record: &[u8]| owner.read_back(offset, record).expect("readable");
        assert_eq!(read(2, &first), [Settled::Durable("in part", 1..=2)]);
        assert_eq!(read(3, &first), [], "once more");
        assert_eq!(read(4, &second[0]), []);
        assert_eq!(read(5, &first), []);
        assert_eq!(read(6, &second[1]), [Settled::Durable("not at all", 4..=6)]);
        assert_eq!(read(7, &records[0]), []);
    }

    #[test]
    fn a_look_is_wanted_when_nothing_else_would_tell() {
        let (mut owner, _) = serving();
        assert!(!owner.wants_look(9_999), "nobody waits");
        owner.submit(vec![], "refusal");
        assert!(owner.wants_look(9_999));
        let look = owner.look(9_999).expect("nothing is on its way");
        owner.looked(look, 1);
        assert!(!owner.wants_look(9_999), "it was looked just now");
        assert!(owner.wants_look(9_999 + LEASE_MS));
        owner.submit(vec![event()], "event");
        assert!(!owner.wants_look(99_999) && owner.look(99_999).is_none(), "an event tells more");
        owner.delivered(0, &[Delivery::Unknown], 99_999);
        assert_eq!(owner.phase(), Phase::Suspect);
        assert!(!owner.wants_look(99_999) && owner.look(99_999).is_none());
    }

    /// A refusal behind an event that is not confirmed waits for that, not for a look.
    #[test]
    fn a_refusal_behind_an_event_wants_no_look() {
        let (mut owner, _) = serving();
        owner.submit(vec![event()], "event");
        owner.submit(vec![], "refusal");
        assert!(!owner.wants_look(9_999));
        assert!(owner.withdraw_unproven().is_empty(), "it is proven with the event");
    }

    #[test]
    fn a_look_that_finds_another_end_makes_it_suspect() {
        for (end, phase) in
            [(0, Phase::Suspect), (2, Phase::Suspect), (1, Phase::Serving { term: 0 })]
        {
            let (mut owner, _) = serving();
            let look = owner.look(5).expect("a look");
            owner.looked(look, end);
            assert_eq!(owner.phase(), phase, "{end}");
        }
        // Its own record may have come in between.
        let (mut owner, _) = serving();
        let look = owner.look(5).expect("a look");
        owner.submit(vec![event()], "event");
        owner.looked(look, 2);
        assert_eq!(owner.phase(), Phase::Serving { term: 0 });
        owner.looked(look, 0);
        assert_eq!(owner.phase(), Phase::Suspect);
        // And of another term it means nothing.
        owner.looked(Look { term: 9, ..look }, 0);
        assert_eq!(owner.phase(), Phase::Suspect);
    }

    #[test]
    fn one_delivery_more_than_was_appended_does_not_fit() {
        let (mut owner, _) = serving();
        owner.submit(vec![event()], "event");
        owner.delivered(0, &[Delivery::At(1), Delivery::At(2)], 5);
        assert_eq!((owner.phase(), owner.next_offset()), (Phase::Suspect, 2));
        assert_eq!(owner.next_settled(5), Some(Settled::Durable("event", 1..=1)));
    }

    #[test]
    fn deliveries_of_another_term_mean_nothing() {
        let (mut owner, _) = serving();
        owner.submit(vec![event()], "event");
        owner.delivered(7, &[Delivery::Unknown], 5);
        assert_eq!(owner.phase(), Phase::Serving { term: 0 });
    }

    #[test]
    fn what_is_given_up_is_handed_back() {
        let (mut owner, _) = serving();
        owner.submit(vec![event()], "event");
        owner.submit(vec![], "refusal");
        assert_eq!(owner.abandon(), ["event", "refusal"]);
        assert_eq!((owner.phase(), owner.parked()), (Phase::Idle, 0));
    }

    #[test]
    fn reading_back_tells_what_became_of_it() {
        let (mut owner, _) = serving();
        assert_eq!(owner.read_back_from(), None);
        let one = owner.submit(vec![event()], "one").remove(0);
        owner.submit(vec![event()], "two");
        owner.submit(vec![], "refusal");
        owner.suspect();
        assert_eq!(owner.read_back_from(), Some(1));
        assert_eq!(owner.read_back(1, &one), Ok(vec![Settled::Durable("one", 1..=1)]));
        let foreign = Owner::<()>::default().fence([8; 16], "other", "");
        let void = vec![Settled::Void("two"), Settled::Void("refusal")];
        assert_eq!(owner.read_back(2, &foreign), Ok(void));
        assert_eq!((owner.phase(), owner.read_back_from()), (Phase::Idle, None));
    }

    /// Records that were sent together may come apart: the last coupon is there, and not that it was the last.
    #[test]
    fn what_was_asked_for_counts_where_its_first_event_does() {
        let foreign = Owner::<()>::default().fence([8; 16], "other", "");
        let both = || {
            let (mut owner, _) = serving();
            let records = owner.submit(vec![event(), event()], "last");
            owner.submit(vec![], "refusal");
            (owner, records)
        };
        let durable = vec![Settled::Durable("last", 1..=1), Settled::Void("refusal")];
        // Found by reading back.
        let (mut owner, records) = both();
        owner.suspect();
        assert_eq!(owner.read_back(1, &records[0]), Ok(vec![]));
        assert_eq!(owner.read_back(2, &foreign).as_ref(), Ok(&durable));
        // Confirmed before.
        let (mut owner, _) = both();
        owner.delivered(0, &[Delivery::At(1), Delivery::Unknown], 5);
        assert_eq!((owner.phase(), owner.next_settled(5)), (Phase::Suspect, None));
        assert_eq!(owner.read_back(2, &foreign), Ok(durable));
        // Both of them there.
        let (mut owner, records) = both();
        owner.suspect();
        assert_eq!(owner.read_back(1, &records[0]), Ok(vec![]));
        assert_eq!(owner.read_back(2, &records[1]), Ok(vec![Settled::Durable("last", 1..=2)]));
        // The second alone counts for nobody.
        let (mut owner, records) = both();
        owner.suspect();
        assert_eq!(owner.read_back(1, &records[1]), Ok(vec![]));
        let void = vec![Settled::Void("last"), Settled::Void("refusal")];
        assert_eq!(owner.read_back(2, &foreign), Ok(void));
    }

    #[test]
    fn reading_back_passes_over_what_is_skipped() {
        let skip = |record: &[u8]| Skip {
            offset: 1,
            hash: crate::hash_of(record),
            by: "ann".into(),
            reason: "junk".into(),
            at_ms: 1,
        };
        let mut forged = event();
        forged.seq = 0;
        let mut forged = encode_event(forged);
        forged.extend([0xA0, 0x06, 0x01]); // field 100, varint 1
        for (foreign, settled) in [
            (b"junk".to_vec(), Settled::Durable("one", 2..=2)),
            (forged, Settled::Void("one")), // in the place of the own one
        ] {
            let (mut owner, _) = serving();
            let one = owner.submit(vec![event()], "one").remove(0);
            owner.suspect();
            assert!(owner.read_back(1, &foreign).is_err());
            owner.honour(&[skip(&foreign)].into_iter().collect());
            let mut told = owner.read_back(1, &foreign).expect("it is skipped");
            told.extend(owner.read_back(2, &one).expect("readable"));
            assert_eq!(told, [settled]);
        }
    }

    #[test]
    fn another_fence_where_the_own_one_should_be_deposes() {
        let mut owner = Owner::<()>::default();
        owner.fence([7; 16], "node", "");
        owner.fenced(Delivery::At(0));
        owner.begin_catch_up(Fold::default());
        let foreign = Owner::<()>::default().fence([8; 16], "other", "");
        assert_eq!(owner.catch_up(0, &foreign), Ok(CaughtUp::Deposed));
        assert_eq!(owner.phase(), Phase::Idle);
    }
}
