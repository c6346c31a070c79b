//! Was every promise kept? Asked when nothing runs any more but the engines.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use seckill_checker::{
    Attempt, Ledger, PROMISES, REFUSALS_OLD_US, ReadError, Violation, check, read_history,
};
use seckill_edge::now_ms;
use seckill_load::{FindingReport, Verdict};
use seckill_log::Log;
use seckill_log::embedded::EmbeddedLog;
use seckill_log::kafka::{KafkaConfig, KafkaLog};
use serde::Deserialize;

use crate::cluster::{Flags, NAME};
use crate::crowd::Wave;
use crate::engines::Engines;
use crate::report::{OfLog, Promise};
use crate::timeline::{Requests, Timeline, timeline};

const VIEWS: &str = "customers find in the views what they were told";
const VERIFIED: &str = "views, their progress, snapshots and the feed are what the log says";
/// However clocks leap: an owner's time goes on as it was.
const TIMELY: &str = "every event is dated by a clock that is right";
/// How far off that may be: clocks leap by hours here.
const RIGHT_WITHIN_MS: i64 = 60_000;
const BACK: &str = "every process comes back, and none ends by itself";

/// What came of everything.
pub(crate) struct Judged {
    pub(crate) promises: Vec<Promise>,
    pub(crate) of_log: OfLog,
    /// Of the first events of terms, in milliseconds since 1970.
    pub(crate) takeovers_ms: Vec<i64>,
    pub(crate) timeline: Timeline,
    pub(crate) requests: Requests,
}

/// Judges the crowd and the log, the views, and how the processes fared.
pub(crate) async fn judge(
    engines: Option<&Engines>,
    flags: &Flags,
    folder: &Path,
    waves: Vec<Wave>,
    of_processes: Vec<String>,
    begun_ms: i64,
) -> Result<Judged> {
    let log = open(engines, folder).await?;
    let mut ledger = Ledger::default();
    // A log that cannot be folded breaks the first promise, and the others are judged all the same.
    let read = ledger.read_log(&*log).await;
    let unread = |error: ReadError| vec![Violation { rule: PROMISES[0], what: error.to_string() }];
    let mut broken = read.unwrap_or_else(unread);
    let told = waves.iter().map(told).collect::<Result<Vec<_>>>()?.concat();
    broken.extend(check(&ledger, &told, REFUSALS_OLD_US));
    let mut promises = of_checker(broken);
    promises.push(Promise::of(VIEWS, waves.into_iter().flat_map(audited).collect()));
    let verified = verify(flags).unwrap_or_else(|error| vec![format!("{error:#}")]);
    promises.push(Promise::of(VERIFIED, verified));
    promises.push(Promise::of(TIMELY, misdated(&ledger, begun_ms).into_iter().collect()));
    promises.push(Promise::of(BACK, of_processes));
    let [coupons, events, void_records, takeovers] = ledger.totals();
    let of_log = OfLog { coupons, events, void_records, takeovers };
    let (timeline, requests) = timeline(&told);
    let takeovers_ms = ledger.terms_began_ms().to_vec();
    Ok(Judged { promises, of_log, takeovers_ms, timeline, requests })
}

/// Dates from before the beginning, or of times to come.
fn misdated(ledger: &Ledger, begun_ms: i64) -> Option<String> {
    let (first_ms, last_ms) = ledger.dated_ms()?;
    let (early_ms, late_ms) = (begun_ms - first_ms, last_ms - now_ms());
    (early_ms.max(late_ms) > RIGHT_WITHIN_MS)
        .then(|| format!("by {early_ms} ms too early, or by {late_ms} ms too late"))
}

/// What a wave was told; nothing where it could not begin.
fn told(wave: &Wave) -> Result<Vec<Attempt>> {
    if !wave.history.exists() {
        return Ok(Vec::new());
    }
    Ok(read_history(&wave.history)?)
}

async fn open(engines: Option<&Engines>, folder: &Path) -> Result<Arc<dyn Log>> {
    if let Some(engines) = engines {
        let config = KafkaConfig { prefix: NAME.to_owned(), ..KafkaConfig::new(&engines.kafka()) };
        return Ok(Arc::new(KafkaLog::open(config).await?));
    }
    let directory = folder.join("data/log");
    let open = tokio::task::spawn_blocking(move || EmbeddedLog::open_read_only(&directory));
    Ok(Arc::new(open.await??))
}

fn of_checker(broken: Vec<Violation>) -> Vec<Promise> {
    let of = |promise: &'static str| {
        let broken = broken.iter().filter(|broken| broken.rule == promise);
        Promise::of(promise, broken.map(|broken| broken.what.clone()).collect())
    };
    PROMISES.into_iter().map(of).collect()
}

/// What a wave found wrong.
fn audited(wave: Wave) -> Vec<String> {
    let report = match wave.report {
        Ok(report) if report.verdict == Verdict::Passed && report.grabs.gave_up == 0 => {
            return Vec::new();
        }
        Ok(report) => report,
        Err(error) => return vec![format!("a crowd that came at {:?}: {error:#}", wave.at)],
    };
    let findings = report.audit.into_iter().flat_map(|audit| audit.findings);
    let found: Vec<_> = findings.flat_map(evidence).collect();
    match found.is_empty() {
        true => {
            vec![format!(
                "of a crowd that came at {:?} not everybody was answered: {:?}",
                wave.at, report.grabs
            )]
        }
        false => found,
    }
}

fn evidence(finding: FindingReport) -> impl Iterator<Item = String> {
    let FindingReport { meaning, evidence, .. } = finding;
    evidence.into_iter().map(move |evidence| format!("{meaning}: {evidence}"))
}

/// What `seckill verify` prints.
#[derive(Deserialize)]
struct Verified {
    differences: Vec<String>,
    counts: std::collections::BTreeMap<String, u64>,
}

fn verify(flags: &Flags) -> Result<Vec<String>> {
    let program = std::env::current_exe()?;
    let output = Command::new(program).args(["verify", "--json"]).args(&flags.of_tools).output()?;
    let verified: Verified = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("verify: {}", String::from_utf8_lossy(&output.stderr)))?;
    let mut different = verified.differences;
    let to_come = verified.counts.get("coupons not in the feed yet").copied().unwrap_or_default();
    if to_come > 0 {
        different.push(format!("{to_come} coupons are not in the feed"));
    }
    Ok(different)
}
