//! What the log says of every sale, in the order in which it says so.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use seckill_log::{Fold, Folded};
use seckill_proto::Position;
use seckill_proto::v1::{CouponGrabbed, Event, FinishReason, Terms, event};

use crate::Violation;

/// Every sale of a log.
#[derive(Debug, Default)]
pub struct Ledger {
    sales: BTreeMap<String, Sale>,
    /// Events that count.
    events: u64,
    /// Events that do not count.
    void: u64,
    /// Times that somebody took a partition over.
    fences: u64,
}

/// One sale.
#[derive(Debug, Default)]
pub(crate) struct Sale {
    pub(crate) partition: u32,
    /// Each with the offset of the event that made it.
    states: Vec<(u64, State)>,
    /// By serial.
    pub(crate) grants: Vec<Grant>,
    of_customer: HashMap<String, Vec<usize>>,
}

/// A sale between two of its events.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) exists: bool,
    pub(crate) coupons: u32,
    pub(crate) limit: u32,
    pub(crate) granted: u32,
    pub(crate) has_end: bool,
    pub(crate) started: bool,
    pub(crate) paused: bool,
    pub(crate) finished: Option<FinishReason>,
}

/// A coupon that was given.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) serial: u32,
    pub(crate) customer_id: String,
    pub(crate) key: String,
    pub(crate) offset: u64,
}

impl State {
    fn set(&mut self, terms: Option<Terms>) -> Result<(), String> {
        let terms = terms.ok_or("it has no terms")?;
        (self.exists, self.coupons, self.limit) = (true, terms.coupons, terms.limit_per_customer);
        self.has_end |= terms.finishes_at_ms.is_some();
        Ok(())
    }
}

impl Sale {
    /// As all events up to an offset have made it.
    pub(crate) fn as_of(&self, offset: u64) -> State {
        let count = self.states.partition_point(|(at, _)| *at <= offset);
        count.checked_sub(1).map(|last| self.states[last].1.clone()).unwrap_or_default()
    }

    pub(crate) fn grant(&self, serial: u32) -> Option<&Grant> {
        self.grants.get((serial as usize).checked_sub(1)?)
    }

    pub(crate) fn of_customer(&self, customer_id: &str) -> impl Iterator<Item = &Grant> {
        let all = self.of_customer.get(customer_id).map(Vec::as_slice).unwrap_or_default();
        all.iter().map(|index| &self.grants[*index])
    }

    fn apply(&mut self, at: Position, event: Event) -> Result<(), String> {
        let mut state = self.states.last().map(|(_, state)| state.clone()).unwrap_or_default();
        let body = event.body.ok_or("it is empty")?;
        match body {
            event::Body::Scheduled(_) if state.exists => return Err("it exists already".into()),
            event::Body::Scheduled(scheduled) => state.set(scheduled.terms)?,
            event::Body::Changed(changed) => state.set(changed.terms)?,
            event::Body::Started(_) => state.started = true,
            event::Body::Grabbed(grabbed) => self.grab(at, grabbed, &mut state)?,
            event::Body::Restocked(restocked) => {
                if restocked.coupons < state.coupons {
                    return Err(format!("restocked from {} to less", state.coupons));
                }
                state.coupons = restocked.coupons;
            }
            event::Body::Finished(finished) => {
                let reason = FinishReason::try_from(finished.reason).unwrap_or_default();
                if let Some(before) = state.finished.replace(reason) {
                    return Err(format!("it was over before: {before:?}"));
                }
            }
            event::Body::SoldOut(_) if state.granted < state.coupons => {
                return Err("sold out with coupons left".into());
            }
            event::Body::SoldOut(_) => {}
            event::Body::Paused(_) => state.paused = true,
            event::Body::Resumed(_) => state.paused = false,
        }
        if state.granted > state.coupons {
            return Err(format!("{} of {} coupons are given", state.granted, state.coupons));
        }
        self.states.push((at.offset, state));
        Ok(())
    }

    fn grab(&mut self, at: Position, grab: CouponGrabbed, state: &mut State) -> Result<(), String> {
        if !state.started || state.paused || state.finished.is_some() {
            return Err(format!("a coupon is given while it is {state:?}"));
        }
        if grab.serial != state.granted + 1 {
            return Err(format!("serial {} follows {}", grab.serial, state.granted));
        }
        state.granted += 1;
        if u64::from(grab.remaining) + u64::from(state.granted) != u64::from(state.coupons) {
            return Err(format!("{} remain of {state:?}", grab.remaining));
        }
        let CouponGrabbed { serial, customer_id, idempotency_key: key, .. } = grab;
        let of_customer = self.of_customer.entry(customer_id.clone()).or_default();
        of_customer.push(self.grants.len());
        if of_customer.len() > state.limit as usize {
            return Err(format!("{customer_id} has more than {}", state.limit));
        }
        self.grants.push(Grant { serial, customer_id, key, offset: at.offset });
        Ok(())
    }
}

impl Ledger {
    /// Adds all records of a partition, from the first one on, and says what they break.
    pub fn read<'a>(
        &mut self,
        partition: u32,
        records: impl IntoIterator<Item = &'a Bytes>,
    ) -> Vec<Violation> {
        let (mut fold, mut fences, mut broken) = (Fold::default(), HashSet::new(), Vec::new());
        let mut violate = |offset: u64, what: String| {
            let what = format!("{partition}:{offset}: {what}");
            broken.push(Violation { rule: "the log keeps the rules of a sale", what });
        };
        for (offset, record) in (0..).zip(records) {
            match fold.step(offset, record) {
                Ok(Folded::Event(event)) => {
                    self.events += 1;
                    if !fences.contains(&event.term) {
                        violate(offset, format!("term {} has no fence", event.term));
                    }
                    let sale = self.sales.entry(event.promotion_id.clone()).or_default();
                    sale.partition = partition;
                    if let Err(what) = sale.apply(Position { partition, offset }, event) {
                        violate(offset, what);
                    }
                }
                Ok(Folded::Fence(_)) => {
                    self.fences += 1;
                    fences.insert(offset);
                }
                Ok(_) => self.void += 1,
                Err(error) => {
                    violate(offset, error.to_string());
                    break;
                }
            }
        }
        broken
    }

    pub(crate) fn sale(&self, promotion_id: &str) -> Option<&Sale> {
        self.sales.get(promotion_id)
    }

    pub(crate) fn sales(&self) -> impl Iterator<Item = (&String, &Sale)> {
        self.sales.iter()
    }

    /// Coupons given, events that count, those that do not, and takeovers.
    #[must_use]
    pub fn totals(&self) -> [u64; 4] {
        let coupons = self.sales.values().map(|sale| sale.grants.len() as u64).sum();
        [coupons, self.events, self.void, self.fences]
    }
}
