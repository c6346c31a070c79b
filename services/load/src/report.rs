//! What a run showed, for people as a table and for programs as JSON.
//!
//! Field names carry their units; one without counts things.

use std::fmt;
use std::time::Instant;

use comfy_table::{Cell, CellAlignment, Row, Table, presets};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::args::{LoadArgs, Model};
use crate::audit::{Audit, NOT_JUDGED_WHEN_SHARED};
use crate::ledger::{Book, Counts, Refusal};
use crate::promotion::{Claim, Offer};
use crate::run::Verdict;

/// The report of a run; what `--json` writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Prefix of the run's customer ids.
    pub run: String,
    /// Repeats arrival times and choices with `--seed`.
    pub seed: u64,
    /// `grab` or `original`.
    pub model: String,
    /// Nodes that took the grabs.
    pub target: Vec<String>,
    /// Ids of the promotions grabbed from.
    pub promotions: Vec<String>,
    /// Whether Ctrl-C ended it early.
    pub interrupted: bool,
    /// From the first customer's coming to the last answer.
    pub elapsed_seconds: f64,
    /// What customers were told.
    pub grabs: GrabCounts,
    /// Answers per second.
    pub throughput: Throughput,
    /// From when a customer came to the definite answer; of reads, to the answer.
    pub latency: Latencies,
    /// The first few answers and failures that deserve a look.
    pub surprises: Vec<String>,
    /// Absent with `--no-audit`.
    pub audit: Option<AuditReport>,
    /// `failed` when the audit found something, or nobody was answered.
    pub verdict: Verdict,
}

/// What customers were told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrabCounts {
    /// Customers who came, each with one grab: granted + already yours + refused + gave up.
    pub sent: u64,
    /// Requests sent for them, repeated ones too.
    pub requests: u64,
    /// 201: durable and yours.
    pub granted: u64,
    /// 200: an earlier request with unknown outcome had succeeded.
    pub already_yours: u64,
    /// Refused definitely.
    pub refused: RefusedCounts,
    /// No definite answer before `--give-up`.
    pub gave_up: u64,
    /// Requests answered 503, then repeated.
    pub unavailable: u64,
    /// Requests answered 429 before anything was decided, then repeated.
    pub overloaded: u64,
    /// Requests answered 504, then repeated.
    pub unknown_timed_out: u64,
    /// Requests whose connection was lost or that were not answered in time, then repeated.
    pub unknown_connection_lost: u64,
    /// Requests answered with a status that the contract does not have, then repeated.
    pub unknown_unexpected: u64,
    /// Requests that never left because nobody listened, then repeated.
    pub not_sent: u64,
}

/// Refused definitely, by reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCounts {
    /// For all reasons.
    pub all: u64,
    /// No coupon is left.
    pub sold_out: u64,
    /// The customer has as many as the limit allows.
    pub limit_reached: u64,
    /// Not yet open.
    pub not_started: u64,
    /// Over. In the original model also what it says of an unknown promotion.
    pub finished: u64,
    /// No such promotion.
    pub not_found: u64,
    /// Any other answer from 400 to 499.
    pub invalid: u64,
}

/// Per second of `elapsed_seconds`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Grabs answered definitely.
    pub answered_per_second: f64,
    /// Coupons given.
    pub granted_per_second: f64,
    /// Lists read, in the original model.
    pub lists_per_second: f64,
}

/// How long answers took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// Every grab, with those given up at the time they were.
    pub all: Quantiles,
    /// Granted or already yours.
    pub granted: Quantiles,
    /// Refused definitely.
    pub refused: Quantiles,
    /// Lists of promotions; only in the original model.
    pub list: Option<Quantiles>,
    /// Customers' own coupons; only in the original model.
    pub own_coupons: Option<Quantiles>,
}

/// Quantiles in milliseconds, to three digits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many were measured.
    pub count: u64,
    /// Half were faster.
    pub p50_ms: f64,
    /// Nine of ten were faster.
    pub p90_ms: f64,
    /// 99 % were faster.
    pub p99_ms: f64,
    /// 99.9 % were faster.
    pub p99_9_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// What the audit found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditReport {
    /// No rule was broken.
    pub passed: bool,
    /// How long it took, waiting for the views included.
    pub took_seconds: f64,
    /// Rows read of the promotions' coupons.
    pub coupons_read: u64,
    /// Customers whose own view was read: all of those granted, a sample of those refused.
    pub customers_looked_up: u64,
    /// What could not be judged, and why.
    pub not_judged: Option<String>,
    /// The rules broken.
    pub findings: Vec<FindingReport>,
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingReport {
    /// Name of the rule.
    pub rule: String,
    /// What was seen that must not be.
    pub meaning: String,
    /// How often.
    pub count: u64,
    /// The first 20.
    pub evidence: Vec<String>,
}

/// What a report says of its run beside what was told.
pub(crate) struct Occasion<'a> {
    pub(crate) args: &'a LoadArgs,
    pub(crate) run: &'a str,
    pub(crate) seed: u64,
    pub(crate) started: Instant,
    pub(crate) requests: u64,
    pub(crate) interrupted: bool,
}

impl Report {
    pub(crate) fn new(
        occasion: &Occasion<'_>,
        book: &Book,
        sales: &[impl AsRef<Offer>],
        audit: Option<&Audit>,
    ) -> Self {
        let ended = book.last_answer.unwrap_or(occasion.started);
        let elapsed_seconds = ended.duration_since(occasion.started).as_secs_f64();
        let shared = sales.iter().any(|sale| sale.as_ref().claim == Claim::Shared);
        let audit = audit.map(|audit| AuditReport::new(audit, shared));
        let failed = audit.as_ref().is_some_and(|audit| !audit.passed) || nobody_answered(book);
        Self {
            run: occasion.run.to_owned(),
            seed: occasion.seed,
            model: match occasion.args.model {
                Model::Grab => String::from("grab"),
                Model::Original => String::from("original"),
            },
            target: occasion.args.target.clone(),
            promotions: sales.iter().map(|sale| sale.as_ref().id.clone()).collect(),
            interrupted: occasion.interrupted,
            elapsed_seconds,
            grabs: GrabCounts::new(&book.counts, book.told.len() as u64, occasion.requests),
            throughput: Throughput::new(book, elapsed_seconds),
            latency: Latencies::new(book),
            surprises: book.surprises.clone(),
            audit,
            verdict: if failed { Verdict::Failed } else { Verdict::Passed },
        }
    }
}

fn nobody_answered(book: &Book) -> bool {
    !book.told.is_empty() && book.counts.answered() == 0
}

impl GrabCounts {
    fn new(counts: &Counts, sent: u64, requests: u64) -> Self {
        Self {
            sent,
            requests,
            granted: counts.granted,
            already_yours: counts.already_yours,
            refused: RefusedCounts::new(counts),
            gave_up: counts.gave_up,
            unavailable: counts.unavailable,
            overloaded: counts.overloaded,
            unknown_timed_out: counts.timed_out,
            unknown_connection_lost: counts.lost,
            unknown_unexpected: counts.unexpected,
            not_sent: counts.unsent,
        }
    }

    fn rows(&self) -> [(&'static str, u64); 17] {
        let refused = &self.refused;
        [
            ("grabs sent", self.sent),
            ("granted (201)", self.granted),
            ("already yours (200)", self.already_yours),
            ("refused", refused.all),
            ("  sold out", refused.sold_out),
            ("  limit reached", refused.limit_reached),
            ("  not started", refused.not_started),
            ("  finished", refused.finished),
            ("  not found", refused.not_found),
            ("  invalid", refused.invalid),
            ("gave up", self.gave_up),
            ("requests, repeated ones too", self.requests),
            ("  unavailable (503)", self.unavailable),
            ("  overloaded (429)", self.overloaded),
            ("  unknown (504)", self.unknown_timed_out),
            ("  unknown (connection lost)", self.unknown_connection_lost),
            ("  unknown (other status)", self.unknown_unexpected),
        ]
    }
}

impl RefusedCounts {
    fn new(counts: &Counts) -> Self {
        let of = |refusal| counts.refused.get(&refusal).copied().unwrap_or(0);
        Self {
            all: counts.refused_in_all(),
            sold_out: of(Refusal::SoldOut),
            limit_reached: of(Refusal::LimitReached),
            not_started: of(Refusal::NotStarted),
            finished: of(Refusal::Finished),
            not_found: of(Refusal::NotFound),
            invalid: of(Refusal::Invalid),
        }
    }
}

impl Throughput {
    fn new(book: &Book, elapsed_seconds: f64) -> Self {
        let per_second =
            |count: u64| if elapsed_seconds > 0.0 { count as f64 / elapsed_seconds } else { 0.0 };
        Self {
            answered_per_second: per_second(book.counts.answered()),
            granted_per_second: per_second(book.counts.granted + book.counts.already_yours),
            lists_per_second: per_second(book.timings.list.len()),
        }
    }
}

impl Latencies {
    fn new(book: &Book) -> Self {
        let timings = &book.timings;
        let if_any =
            |histogram: &Histogram<u64>| (!histogram.is_empty()).then(|| Quantiles::new(histogram));
        Self {
            all: Quantiles::new(&timings.all),
            granted: Quantiles::new(&timings.granted),
            refused: Quantiles::new(&timings.refused),
            list: if_any(&timings.list),
            own_coupons: if_any(&timings.own_coupons),
        }
    }

    fn rows(&self) -> impl Iterator<Item = (&'static str, &Quantiles)> {
        let always =
            [("all grabs", &self.all), ("granted", &self.granted), ("refused", &self.refused)];
        let list = self.list.as_ref().map(|quantiles| ("list", quantiles));
        let own_coupons = self.own_coupons.as_ref().map(|quantiles| ("own coupons", quantiles));
        always.into_iter().chain(list).chain(own_coupons)
    }
}

impl Quantiles {
    fn new(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            count: histogram.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            max_ms: at(1.0),
        }
    }

    const fn columns(&self) -> [f64; 5] {
        [self.p50_ms, self.p90_ms, self.p99_ms, self.p99_9_ms, self.max_ms]
    }
}

impl AuditReport {
    fn new(audit: &Audit, shared: bool) -> Self {
        let findings = audit.findings.iter().map(|(rule, evidence)| FindingReport {
            rule: rule.name().to_owned(),
            meaning: rule.meaning().to_owned(),
            count: evidence.count,
            evidence: evidence.lines.clone(),
        });
        Self {
            passed: audit.findings.is_empty(),
            took_seconds: audit.took.as_secs_f64(),
            coupons_read: audit.coupons_read,
            customers_looked_up: audit.customers_looked_up,
            not_judged: shared.then(|| NOT_JUDGED_WHEN_SHARED.to_owned()),
            findings: findings.collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let early = if self.interrupted { ", interrupted" } else { "" };
        writeln!(formatter, "run {} (seed {}){early}", self.run, self.seed)?;
        writeln!(formatter, "{}", count_table(&self.grabs))?;
        writeln!(formatter, "{}", latency_table(&self.latency))?;
        writeln!(
            formatter,
            "{:.2} s, {:.0} grabs/s answered, {:.0} coupons/s given",
            self.elapsed_seconds,
            self.throughput.answered_per_second,
            self.throughput.granted_per_second,
        )?;
        if self.throughput.lists_per_second > 0.0 {
            writeln!(formatter, "{:.0} lists/s", self.throughput.lists_per_second)?;
        }
        for surprise in &self.surprises {
            writeln!(formatter, "seen: {surprise}")?;
        }
        match &self.audit {
            Some(audit) => write!(formatter, "{audit}"),
            None => write!(formatter, "audit: none"),
        }
    }
}

impl fmt::Display for AuditReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(formatter, "{} x {}: {}", finding.count, finding.rule, finding.meaning)?;
            for line in &finding.evidence {
                writeln!(formatter, "    {line}")?;
            }
        }
        if let Some(not_judged) = &self.not_judged {
            writeln!(formatter, "weaker rules: {not_judged}")?;
        }
        write!(
            formatter,
            "audit {}: {} coupons and {} customers read in {:.2} s",
            if self.passed { "passed" } else { "FAILED" },
            self.coupons_read,
            self.customers_looked_up,
            self.took_seconds,
        )
    }
}

fn count_table(grabs: &GrabCounts) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    let never = [("  not sent", grabs.not_sent)];
    for (name, count) in grabs.rows().into_iter().chain(never) {
        let detail = name.starts_with(' ');
        if count > 0 || !detail {
            table.add_row(Row::from(vec![Cell::new(name), number(count)]));
        }
    }
    table
}

fn latency_table(latency: &Latencies) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["latency in ms", "count", "p50", "p90", "p99", "p99.9", "max"]);
    for (name, quantiles) in latency.rows() {
        let mut cells = vec![Cell::new(name), number(quantiles.count)];
        cells.extend(quantiles.columns().map(|ms| number(format!("{ms:.2}"))));
        table.add_row(Row::from(cells));
    }
    table
}

fn number(value: impl ToString) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}
