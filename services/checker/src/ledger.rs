//! What the log says of every sale, in the order in which it says so.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use seckill_log::{Fold, FoldError, Folded, Log, LogError, Stretch, fold_from};
use seckill_proto::v1::{Checkpoint, CouponGrabbed, Event, FinishReason, Terms, event};
use seckill_proto::{Position, partition_of};

use crate::Violation;

/// What a log promises without any client.
pub(crate) const RULES_OF_A_SALE: &str = "the log keeps the rules of a sale: nothing is oversold, serials are dense, nobody is over the limit";

/// Why a log could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It cannot be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
}

/// Every sale of a log.
#[derive(Debug, Default)]
pub struct Ledger {
    sales: BTreeMap<String, Sale>,
    /// Of every partition, the offset after its last record.
    ends: HashMap<u32, u64>,
    /// Events that count.
    events: u64,
    /// Events that do not count.
    void: u64,
    /// Takeovers of a partition.
    fences: u64,
    /// Of the first event of each term.
    terms_began_ms: Vec<i64>,
    /// The first and the last date of an event.
    dated_ms: Option<(i64, i64)>,
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
    pub(crate) starts_at_ms: i64,
    pub(crate) finishes_at_ms: Option<i64>,
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

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exists, coupons, limit, granted, started, paused, finished, .. } = self;
        if !exists {
            return f.write_str("there was no such sale");
        }
        let stands = match (finished, paused, started) {
            (Some(reason), ..) => format!("finished ({reason:?})"),
            (None, true, _) => "paused".to_owned(),
            (None, false, true) => "on sale".to_owned(),
            (None, false, false) => "not started".to_owned(),
        };
        write!(
            f,
            "{granted} of {coupons} coupons were given, at most {limit} each; it was {stands}"
        )
    }
}

impl State {
    fn change(&mut self, body: event::Body) -> Result<(), String> {
        match body {
            event::Body::Scheduled(_) if self.exists => return Err("it exists already".into()),
            event::Body::Scheduled(scheduled) => self.set(scheduled.terms)?,
            event::Body::Changed(changed) => self.set(changed.terms)?,
            event::Body::Started(_) => self.started = true,
            event::Body::Restocked(restocked) if restocked.coupons < self.coupons => {
                return Err(format!("restocked from {} to less", self.coupons));
            }
            event::Body::Restocked(restocked) => self.coupons = restocked.coupons,
            event::Body::Finished(finished) => {
                let reason = FinishReason::try_from(finished.reason).unwrap_or_default();
                if let Some(before) = self.finished.replace(reason) {
                    return Err(format!("it was over before: {before:?}"));
                }
            }
            event::Body::SoldOut(_) if self.granted < self.coupons => {
                return Err("sold out with coupons left".into());
            }
            event::Body::SoldOut(_) | event::Body::Grabbed(_) => {}
            event::Body::Paused(_) => self.paused = true,
            event::Body::Resumed(_) => self.paused = false,
        }
        Ok(())
    }

    fn set(&mut self, terms: Option<Terms>) -> Result<(), String> {
        let terms = terms.ok_or("it has no terms")?;
        (self.exists, self.coupons, self.limit) = (true, terms.coupons, terms.limit_per_customer);
        (self.starts_at_ms, self.finishes_at_ms) = (terms.starts_at_ms, terms.finishes_at_ms);
        Ok(())
    }

    /// Checks an event by its own time, which the owner that decided it has set.
    fn is_in_time(&self, body: &event::Body, at_ms: i64) -> Result<(), String> {
        let ended = self.finishes_at_ms.is_some_and(|end_ms| at_ms >= end_ms);
        let by_time = |reason| FinishReason::try_from(reason) == Ok(FinishReason::Time);
        let right = match body {
            event::Body::Grabbed(_) => !ended,
            event::Body::Started(_) => at_ms >= self.starts_at_ms,
            event::Body::Finished(finished) => ended || !by_time(finished.reason),
            _ => true,
        };
        if right { Ok(()) } else { Err(format!("at {at_ms} it is not time for it: {self:?}")) }
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

    /// Goes on also after what is wrong, so that it is told once.
    fn apply(&mut self, at: Position, event: Event) -> Result<(), String> {
        let mut state = self.states.last().map(|(_, state)| state.clone()).unwrap_or_default();
        let Event { at_ms, body, .. } = event;
        let in_time = body.as_ref().map_or(Ok(()), |body| state.is_in_time(body, at_ms));
        let applied = match body {
            Some(event::Body::Grabbed(grabbed)) => self.grab(at, grabbed, &mut state),
            Some(body) => state.change(body),
            None => Err("it is empty".to_owned()),
        };
        let (granted, coupons) = (state.granted, state.coupons);
        self.states.push((at.offset, state));
        in_time.and(applied)?;
        if granted > coupons {
            return Err(format!("{granted} of {coupons} coupons are given"));
        }
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
        let held = of_customer.len();
        self.grants.push(Grant { serial, customer_id, key, offset: at.offset });
        if held > state.limit as usize {
            return Err(format!("its customer has {held} of at most {}", state.limit));
        }
        Ok(())
    }
}

/// Reads one partition into a ledger.
pub struct Reading<'a> {
    ledger: &'a mut Ledger,
    partition: u32,
    fold: Fold,
    fences: HashSet<u64>,
    term: Option<u64>,
    broken: Vec<Violation>,
}

impl Reading<'_> {
    /// Adds the next record.
    ///
    /// # Errors
    /// It cannot be folded, and so can none after it.
    pub fn add(&mut self, offset: u64, record: &[u8]) -> Result<(), FoldError> {
        self.ledger.ends.insert(self.partition, offset + 1);
        match self.fold.step(offset, record)? {
            Folded::Event(event) => {
                self.ledger.events += 1;
                self.ledger.note_date(event.at_ms);
                if self.term.replace(event.term) != Some(event.term) {
                    self.ledger.terms_began_ms.push(event.at_ms);
                }
                if !self.fences.contains(&event.term) {
                    self.violate(offset, format!("term {} has no fence", event.term));
                }
                if let Err(what) = self.apply(offset, event) {
                    self.violate(offset, what);
                }
            }
            Folded::Fence(_) => {
                self.ledger.fences += 1;
                self.fences.insert(offset);
            }
            Folded::Void | Folded::Skipped(_) | Folded::Skip(_) => self.ledger.void += 1,
        }
        Ok(())
    }

    fn apply(&mut self, offset: u64, event: Event) -> Result<(), String> {
        let partition = self.partition;
        let sale = self.ledger.sales.entry(event.promotion_id.clone()).or_default();
        sale.partition = partition;
        sale.apply(Position { partition, offset }, event)
    }

    fn violate(&mut self, offset: u64, what: String) {
        let what = format!("{}:{offset}: {what}", self.partition);
        self.broken.push(Violation { rule: RULES_OF_A_SALE, what });
    }

    /// What the records break.
    #[must_use]
    pub fn end(self) -> Vec<Violation> {
        self.broken
    }
}

impl Ledger {
    /// Begins to read a partition, which is folded from its first record on.
    pub fn reading(&mut self, partition: u32, fold: Fold) -> Reading<'_> {
        self.ends.entry(partition).or_default();
        Reading {
            ledger: self,
            partition,
            fold,
            fences: HashSet::new(),
            term: None,
            broken: Vec::new(),
        }
    }

    /// Reads the whole log, and says what it breaks.
    ///
    /// # Errors
    /// It cannot be read, or not be folded.
    pub async fn read_log(&mut self, log: &dyn Log) -> Result<Vec<Violation>, ReadError> {
        let mut broken = Vec::new();
        for partition in 0..log.partitions() {
            let fold = fold_from(log, partition, &Checkpoint::default()).await?;
            let mut reading = self.reading(partition, fold);
            let mut stretch = Stretch::from(log, partition, 0).await?;
            loop {
                let records = stretch.next().await?;
                if records.is_empty() {
                    break;
                }
                for (offset, record) in records {
                    reading.add(offset, &record)?;
                }
            }
            broken.extend(reading.end());
        }
        Ok(broken)
    }

    /// When the first event of each term was decided, in milliseconds since 1970, in no order.
    #[must_use]
    pub fn terms_began_ms(&self) -> &[i64] {
        &self.terms_began_ms
    }

    fn note_date(&mut self, at_ms: i64) {
        let (first, last) = self.dated_ms.unwrap_or((at_ms, at_ms));
        self.dated_ms = Some((first.min(at_ms), last.max(at_ms)));
    }

    /// The earliest and the latest date of an event, in milliseconds since 1970.
    #[must_use]
    pub fn dated_ms(&self) -> Option<(i64, i64)> {
        self.dated_ms
    }

    /// Where a sale is, whether or not there is one.
    pub(crate) fn partition_of(&self, promotion_id: &str) -> u32 {
        partition_of(promotion_id, u32::try_from(self.ends.len()).unwrap_or(u32::MAX))
    }

    /// The offset after the last record of a partition.
    pub(crate) fn end(&self, partition: u32) -> u64 {
        self.ends.get(&partition).copied().unwrap_or_default()
    }

    pub(crate) fn sale(&self, promotion_id: &str) -> Option<&Sale> {
        self.sales.get(promotion_id)
    }

    /// Coupons given, events that count, those that do not, and takeovers.
    #[must_use]
    pub fn totals(&self) -> [u64; 4] {
        let coupons = self.sales.values().map(|sale| sale.grants.len() as u64).sum();
        [coupons, self.events, self.void, self.fences]
    }
}
