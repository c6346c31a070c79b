//! One promotion: its state, which rule decides which command, which applies which event.

use seckill_proto::v1::{Accepted, FinishReason, Refusal, Terms, command, event};

use crate::holders::Holders;
use crate::{cancel, change, finish, grab, pause, restock, schedule, sold_out, start};

/// The state of a promotion, as the events so far have made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Promotion {
    pub(crate) terms: Terms,
    pub(crate) started: bool,
    pub(crate) finished: Option<Finished>,
    /// No coupon is given until it is resumed.
    pub(crate) paused: bool,
    /// When the last coupon was given; none while there is one.
    pub(crate) sold_out_at_ms: Option<i64>,
    /// Coupons given so far, and the serial of the last one.
    pub(crate) granted: u32,
    /// Who holds what. Kept after the end, because a customer may ask again at any time; until it is
    /// archived.
    pub(crate) holders: Holders,
    /// It is over for so long that its holders are known to the log and the views only.
    pub(crate) archived: bool,
}

/// Why and when a promotion was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) reason: FinishReason,
    pub(crate) at_ms: i64,
}

/// What a rule says to a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Write this event; it is the answer.
    Accept(event::Body),
    /// What was asked for is so already.
    Repeat(Accepted),
    /// No, and why.
    Refuse(Refusal),
    /// No, and why; unless the customer holds a coupon of this promotion, which is archived.
    RefuseUnlessHeld(Refusal),
}

/// An event that does not fit the state it is applied to: the log is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inconsistent(pub &'static str);

impl std::fmt::Display for Inconsistent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "the event does not fit the log before it: {}", self.0)
    }
}

impl std::error::Error for Inconsistent {}

impl Promotion {
    pub(crate) fn new(terms: Terms) -> Self {
        let holders = Holders::default();
        let (started, finished, paused, sold_out_at_ms) = (false, None, false, None);
        let (granted, archived) = (0, false);
        Self { terms, started, finished, paused, sold_out_at_ms, granted, holders, archived }
    }

    /// The terms now in force.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Whether grabs have been let in, be it over or not.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// Whether grabs are turned away until it is resumed.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Why it is over; `None` while it is not.
    #[must_use]
    pub fn finished(&self) -> Option<FinishReason> {
        self.finished.map(|finished| finished.reason)
    }

    /// Coupons given so far.
    #[must_use]
    pub fn granted(&self) -> u32 {
        self.granted
    }

    /// Every coupon given, by its serial, and who holds it; none once it is archived.
    pub fn holders(&self) -> impl Iterator<Item = (u32, &str)> {
        let holder = |id| std::str::from_utf8(id).expect("it was a string");
        self.holders.iter().map(move |coupon| (coupon.serial, holder(coupon.customer_id)))
    }

    /// Whether its holders are known to the log and the views only.
    #[must_use]
    pub fn is_archived(&self) -> bool {
        self.archived
    }

    /// Forgets its holders, of whom there were so many.
    pub(crate) fn archive(&mut self, granted: u32) -> Holders {
        (self.archived, self.paused, self.sold_out_at_ms) = (true, false, None);
        self.granted = self.granted.max(granted);
        std::mem::take(&mut self.holders)
    }

    /// Whether two states are of the same events, one of which may be archived. One that is archived is
    /// known by its end, so that any state before that is before it.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        if (self.archived && other.finished.is_none())
            || (other.archived && self.finished.is_none())
        {
            return true;
        }
        let heads = |promotion: &Self| {
            let Self { terms, started, finished, granted, .. } = promotion;
            (terms.clone(), *started, *finished, *granted)
        };
        let until_its_end = |promotion: &Self| (promotion.paused, promotion.sold_out_at_ms);
        let archived = self.archived || other.archived;
        let same = until_its_end(self) == until_its_end(other) && self.holders == other.holders;
        heads(self) == heads(other) && (archived || same)
    }

    /// Coupons left.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.terms.coupons - self.granted
    }

    /// What the clock alone makes of it: the event that is due at `now_ms`, if any.
    #[must_use]
    pub fn due(&self, now_ms: i64) -> Option<event::Body> {
        let due = start::due(self, now_ms).or_else(|| sold_out::due(self));
        due.or_else(|| finish::due(self, now_ms))
    }

    /// When [`Promotion::due`] will have something to say, if ever.
    #[must_use]
    pub fn due_at_ms(&self) -> Option<i64> {
        if self.finished.is_some() {
            None
        } else if !self.started {
            Some(self.terms.starts_at_ms)
        } else if self.remaining() == 0 && self.sold_out_at_ms.is_none() {
            Some(i64::MIN)
        } else {
            self.terms.finishes_at_ms
        }
    }
}

/// Decides a command on the state before it. Deterministic in its arguments.
#[must_use]
pub(crate) fn decide(
    promotion: Option<&Promotion>,
    command: &command::Body,
    now_ms: i64,
) -> Decision {
    match command {
        command::Body::Schedule(schedule) => schedule::decide(promotion, schedule, now_ms),
        command::Body::Change(change) => change::decide(promotion, change, now_ms),
        command::Body::Cancel(_) => cancel::decide(promotion),
        command::Body::Restock(restock) => restock::decide(promotion, restock, now_ms),
        command::Body::Pause(_) => pause::decide(promotion),
        command::Body::Resume(_) => pause::decide_resume(promotion),
        command::Body::Finish(_) => finish::decide(promotion),
        command::Body::Grab(grab) => grab::decide(promotion, grab, now_ms),
    }
}

/// Applies an event to a promotion that has been scheduled.
pub(crate) fn apply(
    promotion: &mut Promotion,
    body: &event::Body,
    at_ms: i64,
) -> Result<(), Inconsistent> {
    match body {
        event::Body::Scheduled(_) => Err(Inconsistent("scheduled a second time")),
        event::Body::Changed(changed) => change::apply(promotion, changed),
        event::Body::Started(_) => start::apply(promotion),
        event::Body::Grabbed(grabbed) => grab::apply(promotion, grabbed, at_ms),
        event::Body::Restocked(restocked) => restock::apply(promotion, restocked),
        event::Body::Finished(finished) => finish::apply(promotion, finished, at_ms),
        event::Body::SoldOut(_) => sold_out::apply(promotion, at_ms),
        event::Body::Paused(_) => pause::apply(promotion, true),
        event::Body::Resumed(_) => pause::apply(promotion, false),
    }
}

/// Applies the first event of a promotion, which must be that it was scheduled.
pub(crate) fn apply_first(body: &event::Body) -> Result<Promotion, Inconsistent> {
    match body {
        event::Body::Scheduled(scheduled) => schedule::apply(scheduled),
        event::Body::Changed(_)
        | event::Body::Started(_)
        | event::Body::Grabbed(_)
        | event::Body::Restocked(_)
        | event::Body::SoldOut(_)
        | event::Body::Paused(_)
        | event::Body::Resumed(_)
        | event::Body::Finished(_) => Err(Inconsistent("the promotion was never scheduled")),
    }
}
