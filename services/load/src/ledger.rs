//! What the crowd was told: every answer, how long it took, and what went wrong on the way.
//!
//! An answer is written here before the customer goes on, so the audit forgets nobody.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::{Mutex, MutexGuard};
use seckill_proto::Position;

/// Microseconds; an hour is the longest a customer is followed.
const LONGEST_US: u64 = 3_600_000_000;
const SURPRISES_KEPT: usize = 10;
const CONTRADICTIONS_KEPT: usize = 20;

/// Why a grab was refused, definitely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    SoldOut,
    LimitReached,
    NotStarted,
    Finished,
    NotFound,
    /// Any other answer from 400 to 499.
    Invalid,
}

/// The last word a customer got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Yours. The original's routes tell no serial.
    Granted(Option<NonZeroU32>),
    /// You already had it.
    AlreadyYours(Option<NonZeroU32>),
    Refused(Refusal),
    /// No definite word until the customer gave up.
    GaveUp,
}

impl Answer {
    pub(crate) const fn is_yours(self) -> bool {
        matches!(self, Self::Granted(_) | Self::AlreadyYours(_))
    }
}

/// Why a request has to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// 503: definitely not accepted.
    Unavailable,
    /// 429: turned away before anything was decided.
    Overloaded,
    /// 504: the outcome is unknown.
    TimedOut,
    /// The connection was lost, or nothing came in time: the outcome is unknown.
    Lost,
    /// The request never left.
    Unsent,
    /// A status that the contract does not have: the outcome is unknown.
    Unexpected,
}

impl Trouble {
    /// Whether the request may have been acted on.
    pub(crate) const fn leaves_doubt(self) -> bool {
        match self {
            Self::Unavailable | Self::Overloaded | Self::Unsent => false,
            Self::TimedOut | Self::Lost | Self::Unexpected => true,
        }
    }
}

/// One customer's grab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) customer: u32,
    /// Index of the sale in this run.
    pub(crate) sale: u16,
    /// Whether an earlier request of the customer may have been acted on.
    pub(crate) doubted: bool,
    pub(crate) answer: Answer,
}

/// A read of the original model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    List,
    OwnCoupons,
}

/// Latencies in microseconds.
pub(crate) struct Timings {
    /// Every grab, those given up too.
    pub(crate) all: Histogram<u64>,
    pub(crate) granted: Histogram<u64>,
    pub(crate) refused: Histogram<u64>,
    pub(crate) list: Histogram<u64>,
    pub(crate) own_coupons: Histogram<u64>,
}

impl Timings {
    fn new() -> Self {
        let empty = || {
            Histogram::new_with_bounds(1, LONGEST_US, 3).expect("these bounds are valid constants")
        };
        Self {
            all: empty(),
            granted: empty(),
            refused: empty(),
            list: empty(),
            own_coupons: empty(),
        }
    }
}

/// How often each thing was said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) granted: u64,
    pub(crate) already_yours: u64,
    pub(crate) refused: BTreeMap<Refusal, u64>,
    pub(crate) gave_up: u64,
    pub(crate) unavailable: u64,
    pub(crate) overloaded: u64,
    pub(crate) timed_out: u64,
    pub(crate) lost: u64,
    pub(crate) unsent: u64,
    pub(crate) unexpected: u64,
}

impl Counts {
    pub(crate) fn refused_in_all(&self) -> u64 {
        self.refused.values().sum()
    }

    pub(crate) fn answered(&self) -> u64 {
        self.granted + self.already_yours + self.refused_in_all()
    }

    fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Granted(_) => self.granted += 1,
            Answer::AlreadyYours(_) => self.already_yours += 1,
            Answer::Refused(refusal) => *self.refused.entry(refusal).or_default() += 1,
            Answer::GaveUp => self.gave_up += 1,
        }
    }

    fn trouble(&mut self, trouble: Trouble) {
        let count = match trouble {
            Trouble::Unavailable => &mut self.unavailable,
            Trouble::Overloaded => &mut self.overloaded,
            Trouble::TimedOut => &mut self.timed_out,
            Trouble::Lost => &mut self.lost,
            Trouble::Unsent => &mut self.unsent,
            Trouble::Unexpected => &mut self.unexpected,
        };
        *count += 1;
    }
}

/// The pages of the ledger.
pub(crate) struct Book {
    pub(crate) told: Vec<Told>,
    pub(crate) counts: Counts,
    pub(crate) timings: Timings,
    /// Highest offset told, by partition.
    pub(crate) highest: BTreeMap<u32, u64>,
    /// Answers that do not fit the request, or themselves: how many, and the first of them.
    pub(crate) contradicted: u64,
    pub(crate) contradictions: Vec<String>,
    /// The first few answers and failures that deserve a look.
    pub(crate) surprises: Vec<String>,
    pub(crate) last_answer: Option<Instant>,
}

impl Book {
    fn new() -> Self {
        Self {
            told: Vec::new(),
            counts: Counts::default(),
            timings: Timings::new(),
            highest: BTreeMap::new(),
            contradicted: 0,
            contradictions: Vec::new(),
            surprises: Vec::new(),
            last_answer: None,
        }
    }
}

/// Shared by everybody who asks.
pub(crate) struct Ledger {
    came: AtomicU64,
    requests: AtomicU64,
    book: Mutex<Book>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        let book = Mutex::new(Book::new());
        Self { came: AtomicU64::new(0), requests: AtomicU64::new(0), book }
    }

    /// Hands the book over once everybody was answered.
    pub(crate) fn close(&self) -> Book {
        std::mem::replace(&mut self.book.lock(), Book::new())
    }

    /// Customers who came.
    pub(crate) fn came(&self) -> u64 {
        self.came.load(Ordering::Relaxed)
    }

    /// Grab requests sent, repeated ones too.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock()
    }

    pub(crate) fn customer_came(&self) {
        self.came.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request_sent(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn trouble(&self, trouble: Trouble) {
        self.book.lock().counts.trouble(trouble);
    }

    pub(crate) fn told(&self, told: Told, latency: Duration) {
        let latency_us = micros(latency);
        let mut book = self.book.lock();
        book.counts.answer(told.answer);
        book.timings.all.saturating_record(latency_us);
        match told.answer {
            Answer::Granted(_) | Answer::AlreadyYours(_) => {
                book.timings.granted.saturating_record(latency_us);
            }
            Answer::Refused(_) => book.timings.refused.saturating_record(latency_us),
            Answer::GaveUp => {}
        }
        book.told.push(told);
        book.last_answer = Some(Instant::now());
    }

    pub(crate) fn looked(&self, look: Look, latency: Duration) {
        let mut book = self.book.lock();
        let histogram = match look {
            Look::List => &mut book.timings.list,
            Look::OwnCoupons => &mut book.timings.own_coupons,
        };
        histogram.saturating_record(micros(latency));
        book.last_answer = Some(Instant::now());
    }

    pub(crate) fn position(&self, position: Position) {
        let mut book = self.book.lock();
        let highest = book.highest.entry(position.partition).or_default();
        *highest = position.offset.max(*highest);
    }

    pub(crate) fn contradiction(&self, text: String) {
        let mut book = self.book.lock();
        book.contradicted += 1;
        if book.contradictions.len() < CONTRADICTIONS_KEPT {
            book.contradictions.push(text);
        }
    }

    pub(crate) fn surprise(&self, text: &str) {
        let mut book = self.book.lock();
        if book.surprises.len() < SURPRISES_KEPT && !book.surprises.iter().any(|seen| seen == text)
        {
            book.surprises.push(text.chars().take(300).collect());
        }
    }
}

fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}
