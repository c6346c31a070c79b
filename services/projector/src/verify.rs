//! Folds the whole log and compares every row of every view with it.
//!
//! Holds what the log says in memory: some 300 bytes for every coupon ever given.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use seckill_log::{Fold, FoldError, Folded, Log, LogError};
use seckill_promotion::{Book, Inconsistent};
use seckill_proto::Position;
use seckill_views::{CouponRow, PromotionRow, PromotionStatus, Views, ViewsError};

use crate::projection::{Projection, Unscheduled};

/// Differences shown; the rest are counted.
const SHOWN: usize = 20;
/// How long one read waits for records.
const STEP: Duration = Duration::from_millis(500);

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The views could not be read.
    #[error(transparent)]
    Views(#[from] ViewsError),
    /// The log cannot be folded.
    #[error("partition {partition}: {reason}")]
    Fold {
        /// Partition of the event log.
        partition: u32,
        /// What is wrong.
        reason: FoldError,
    },
    /// The log contradicts the rules of a sale.
    #[error("partition {partition}, offset {offset}: {reason}")]
    Inconsistent {
        /// Partition of the event log.
        partition: u32,
        /// Where.
        offset: u64,
        /// What is wrong.
        reason: Inconsistent,
    },
    /// The log has an event about nothing.
    #[error(transparent)]
    Unscheduled(#[from] Unscheduled),
}

/// What was counted and found different.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Counts, by what was counted.
    pub counts: BTreeMap<&'static str, u64>,
    /// The first differences, in words.
    pub differences: Vec<String>,
    /// All differences.
    pub different: u64,
}

impl Report {
    /// Whether the views are exactly what the log says.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.different == 0
    }

    fn count(&mut self, what: &'static str, by: u64) {
        *self.counts.entry(what).or_default() += by;
    }

    fn differ(&mut self, what: impl FnOnce() -> String) {
        self.different += 1;
        if self.differences.len() < SHOWN {
            self.differences.push(what());
        }
    }
}

/// What the log says, as far as it went when it was asked.
#[derive(Default)]
struct Expected {
    promotions: HashMap<String, PromotionRow>,
    coupons: HashMap<String, CouponRow>,
    ends: HashMap<u32, u64>,
}

/// Compares the views with the log. What has come into the log after the call is left out.
///
/// # Errors
/// Log or views cannot be read, or the log itself is damaged.
pub async fn verify(log: &dyn Log, views: &dyn Views) -> Result<Report, VerifyError> {
    let mut report = Report::default();
    let mut expected = Expected::default();
    for partition in 0..log.partitions() {
        fold(log, partition, &mut expected, &mut report).await?;
    }
    compare_progress(views, &expected, &mut report).await?;
    compare_promotions(views, &expected, &mut report).await?;
    compare_active(views, &expected, &mut report).await?;
    compare_coupons(views, &expected, &mut report).await?;
    Ok(report)
}

async fn fold(
    log: &dyn Log,
    partition: u32,
    expected: &mut Expected,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let end = log.end(partition).await?;
    let (mut fold, mut book) = (Fold::default(), Book::default());
    let mut projection = Projection::default();
    let mut reader = log.read(partition, 0).await?;
    while fold.next_offset() < end {
        for (offset, record) in reader.next(STEP).await? {
            if offset >= end {
                break;
            }
            report.count("records", 1);
            let folded = fold.step(offset, &record);
            let folded = folded.map_err(|reason| VerifyError::Fold { partition, reason })?;
            let event = match folded {
                Folded::Event(event) => event,
                Folded::Fence(_) => {
                    report.count("fences", 1);
                    continue;
                }
                Folded::Void => {
                    report.count("void records", 1);
                    continue;
                }
            };
            report.count("events", 1);
            book.apply(&event).map_err(|reason| VerifyError::Inconsistent {
                partition,
                offset,
                reason,
            })?;
            let coupon = projection.apply(&event, Position { partition, offset })?;
            expected.coupons.extend(coupon.map(|coupon| (coupon.id.clone(), coupon)));
        }
    }
    expected.promotions.extend(projection.into_promotions());
    expected.ends.insert(partition, end);
    Ok(())
}

async fn compare_progress(
    views: &dyn Views,
    expected: &Expected,
    report: &mut Report,
) -> Result<(), VerifyError> {
    for (partition, end) in &expected.ends {
        let progress = views.progress(*partition).await?;
        let reached = progress.as_ref().map_or(0, |progress| progress.next_offset);
        if reached < *end {
            report.differ(|| {
                format!("partition {partition}: the views reach offset {reached} of {end}")
            });
        }
        if let Some(reason) = progress.and_then(|progress| progress.stopped) {
            report.differ(|| format!("partition {partition} has stopped: {reason}"));
        }
    }
    Ok(())
}

impl Expected {
    /// Whether a row reflects only what had been read of the log.
    fn covers(&self, position: Position) -> bool {
        self.ends.get(&position.partition).is_none_or(|end| position.offset < *end)
    }
}

async fn compare_promotions(
    views: &dyn Views,
    expected: &Expected,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let mut found = 0;
    let mut newer = 0;
    views
        .scan_promotions(&mut |row| {
            found += 1;
            if !expected.covers(row.position) {
                newer += 1;
            } else if expected.promotions.get(&row.id) != Some(&row) {
                report.differ(|| {
                    let expected = expected.promotions.get(&row.id);
                    format!("promotions has {row:?}, the log says {expected:?}")
                });
            }
        })
        .await?;
    finish(report, "promotions", found, newer, expected.promotions.len() as u64);
    Ok(())
}

async fn compare_active(
    views: &dyn Views,
    expected: &Expected,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let is_active = |row: &&PromotionRow| row.state == PromotionStatus::Active;
    let active = expected.promotions.values().filter(is_active).count() as u64;
    let mut found = 0;
    let mut newer = 0;
    views
        .scan_active_promotions(&mut |row| {
            found += 1;
            if !expected.covers(row.position) {
                newer += 1;
            } else if expected.promotions.get(&row.id).filter(is_active) != Some(&row) {
                report.differ(|| format!("active_promotions has {row:?}, the log does not"));
            }
        })
        .await?;
    finish(report, "active_promotions", found, newer, active);
    Ok(())
}

async fn compare_coupons(
    views: &dyn Views,
    expected: &Expected,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let offered = expected.coupons.len() as u64;
    for view in ["coupons_by_promotion", "coupons_by_customer"] {
        let mut found = 0;
        let mut newer = 0;
        let mut each = |row: CouponRow| {
            found += 1;
            if !expected.covers(row.position) {
                newer += 1;
            } else if expected.coupons.get(&row.id) != Some(&row) {
                report.differ(|| {
                    let expected = expected.coupons.get(&row.id);
                    format!("{view} has {row:?}, the log says {expected:?}")
                });
            }
        };
        match view {
            "coupons_by_promotion" => views.scan_coupons_by_promotion(&mut each).await?,
            _ => views.scan_coupons_by_customer(&mut each).await?,
        }
        finish(report, view, found, newer, offered);
    }
    Ok(())
}

/// Rows are keyed, so as many as expected and none different means: exactly those expected.
fn finish(report: &mut Report, view: &'static str, found: u64, newer: u64, expected: u64) {
    report.count(view, found);
    let compared = found - newer;
    if newer > 0 {
        report.count("rows newer than the comparison", newer);
    } else if compared != expected {
        report.differ(|| format!("{view} has {compared} rows, the log says {expected}"));
    }
}
