//! What a drill showed.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;

use crate::html;
use crate::timeline::{Requests, Timeline};

/// Broken promises of a kind that are printed; the files have all.
const SHOWN: usize = 5;

/// The report of a drill; what `report.json` has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The version of the program.
    pub version: String,
    /// When the crowd came, RFC 3339.
    pub began_at: Timestamp,
    /// Plans the same faults again.
    pub command: String,
    /// What decided which faults came when.
    pub seed: u64,
    /// Only faults in whose description one of these stands; all, where there is none.
    pub only: Vec<String>,
    /// What it ran on.
    pub system: String,
    /// How long crowd and faults came.
    pub duration_seconds: f64,
    /// Customers a second.
    pub rate_per_second: u32,
    /// Every promise was kept.
    pub passed: bool,
    /// Each promise, and what broke it.
    pub promises: Vec<Promise>,
    /// What customers were told.
    pub requests: Requests,
    /// What stands in the log.
    pub of_log: OfLog,
    /// What was done.
    pub faults: Vec<Happened>,
    /// When the first event of a new owner was decided, since the crowd came: some time after it has taken over.
    pub first_events_of_owners_at_seconds: Vec<f64>,
    /// Moment by moment.
    pub timeline: Timeline,
}

/// A promise, and what broke it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promise {
    /// In words.
    pub promise: String,
    /// Nothing where it was kept.
    pub broken: Vec<String>,
}

impl Promise {
    pub(crate) fn of(promise: &str, broken: Vec<String>) -> Self {
        Self { promise: promise.to_owned(), broken }
    }
}

/// What stands in the log at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OfLog {
    /// Coupons given.
    pub coupons: u64,
    /// Events that count.
    pub events: u64,
    /// Records that count for nobody.
    pub void_records: u64,
    /// Fences: a node took a partition over, or a stranger wrote one.
    pub takeovers: u64,
}

/// A fault that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Happened {
    /// Since the crowd came.
    pub at_seconds: f64,
    /// Until it was over, and what was hurt was started again.
    pub lasted_seconds: f64,
    /// In words.
    pub fault: String,
}

impl Report {
    /// What was tried, on what, and when.
    pub(crate) fn what(&self) -> String {
        let faults = match self.only.as_slice() {
            [] => "all faults".to_owned(),
            only => format!("only faults of {}", only.join(", ")),
        };
        let Self { version, began_at, system, rate_per_second, duration_seconds, .. } = self;
        let within_seconds = self.requests.came_within_ms as f64 / 1_000.0;
        format!(
            "seckill {version}, {began_at:.0}, {system}; {faults}; {rate_per_second} customers a second planned for \
             {duration_seconds} s, who came within {within_seconds:.0} s"
        )
    }

    /// What was counted, with its name.
    pub(crate) fn counts(&self) -> [(u64, &'static str); 11] {
        let Requests { customers, sent, granted, refused, turned_away, unknown, .. } =
            self.requests;
        let OfLog { coupons, events, void_records, takeovers } = self.of_log;
        [
            (customers, "customers"),
            (sent, "requests"),
            (granted, "answered with a coupon"),
            (refused, "refused"),
            (turned_away, "turned away, and asked again"),
            (unknown, "cut off or timed out, so that nobody knew, and asked again"),
            (coupons, "coupons given"),
            (events, "events"),
            (void_records, "records that count for nobody"),
            (takeovers, "takeovers of a partition"),
            (self.faults.len() as u64, "faults"),
        ]
    }

    /// Writes it to a folder, for programs and for people.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        let written = fs::write(folder.join("report.json"), json)
            .and_then(|()| fs::write(folder.join("report.html"), html::page(self)));
        written.context("the report cannot be written")
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promise, broken } = self;
        let verdict = if broken.is_empty() { "kept" } else { "BROKEN" };
        writeln!(f, "{verdict:>12}  {promise}")?;
        for broken in broken.iter().take(SHOWN) {
            writeln!(f, "{:>14}{broken}", "")?;
        }
        match broken.len().checked_sub(SHOWN) {
            Some(more @ 1..) => writeln!(f, "{:>14}and {more} more", ""),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}; {}", self.seed, self.what())?;
        let counts = self.counts();
        counts.iter().try_for_each(|(count, what)| writeln!(f, "{count:>12}  {what}"))?;
        self.promises.iter().try_for_each(|promise| write!(f, "{promise}"))?;
        write!(f, "{}", if self.passed { "drill passed" } else { "drill FAILED" })
    }
}
