//! Folds the whole log and compares every row of every view with it, and every snapshot and progress.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};

use seckill_feed::{FeedCheck, FeedCompared, FeedError};
use seckill_log::{Fold, FoldError, Folded, Log, LogError, Stretch, fold_from};
use seckill_promotion::{Book, Inconsistent};
use seckill_proto::v1::{Checkpoint, Event, Fence, Skip, record};
use seckill_proto::{Position, decode_record};
use seckill_views::{Changes, Progress, Views, ViewsError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::compare::{self, Expected, Newer, Part};
use crate::projection::Unscheduled;
use crate::projections::Projections;

/// Differences shown; the rest are counted.
const SHOWN: usize = 20;

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
    #[error("partition {partition}, offset {offset}, promotion {promotion_id:?}: {reason}")]
    Inconsistent {
        /// Partition of the event log.
        partition: u32,
        /// Where.
        offset: u64,
        /// The promotion that it is about.
        promotion_id: String,
        /// What is wrong.
        reason: Inconsistent,
    },
    /// Nobody has ever owned a partition of it.
    #[error(
        "the log has not one fence: nobody has ever sold on it, and there is nothing to verify. Is it the \
         right --data or --kafka-prefix?"
    )]
    Unused,
    /// Tables were to be compared that are not there.
    #[error(
        "there are no such tables: no rebuild is there that has any beside those that are read"
    )]
    NoTables,
    /// The feed could not be read.
    #[error("the feed: {0}")]
    Feed(String),
    /// The log has an event about nothing.
    #[error(transparent)]
    Unscheduled(#[from] Unscheduled),
}

impl From<FeedError> for VerifyError {
    fn from(error: FeedError) -> Self {
        Self::Feed(error.to_string())
    }
}

/// How far a comparison is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// So many of so many records are folded.
    Log,
    /// So many of about so many rows are compared.
    Rows,
}

/// Is told how far a comparison is, and of how much, now and then.
pub type Watch<'a> = &'a mut (dyn FnMut(Stage, u64, u64) + Send);

/// What was counted and found different.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// Counts, by what was counted.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub counts: BTreeMap<Cow<'static, str>, u64>,
    /// The first differences, in words.
    pub differences: Vec<String>,
    /// All differences.
    pub different: u64,
    /// What operators have accepted, in words.
    pub repairs: Vec<String>,
}

impl Report {
    /// Whether the views are exactly what the log says.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.different == 0
    }

    /// Counts something.
    pub fn count(&mut self, what: &'static str, by: u64) {
        *self.counts.entry(Cow::Borrowed(what)).or_default() += by;
    }

    /// A loss that was accepted is no difference, and never forgotten either.
    fn note_repair(&mut self, position: Position, fence: &Fence) {
        if let Some(loss) = &fence.accepted_loss {
            self.count("accepted losses", 1);
            let end = loss.end;
            let reached = loss.refuted.iter().map(|seen| seen.next_offset).max().unwrap_or(end);
            self.repairs.push(format!(
                "at {position} a loss was accepted: the log had been seen up to offset {reached}, and went \
                 on from {end}"
            ));
        }
        if let Some(clock_ms) = fence.clock_ms {
            self.count("clock resets", 1);
            self.repairs.push(format!("at {position} the clock was set back to {clock_ms} ms"));
        }
    }

    /// Neither is a record that an operator has taken out.
    fn note_skipped(&mut self, position: Position, Skip { by, reason, .. }: &Skip) {
        match self.repairs.len().cmp(&SHOWN) {
            Ordering::Less => {
                let skipped = format!("the record at {position} is skipped by {by}: {reason}");
                self.repairs.push(skipped);
            }
            Ordering::Equal => self.repairs.push("and more: `seckill quarantine list`".to_owned()),
            Ordering::Greater => {}
        }
    }

    fn note_feed(&mut self, compared: FeedCompared) {
        let FeedCompared { fed, lost, to_come, differences, different } = compared;
        self.count("coupons in the feed", fed);
        self.count("coupons not in the feed yet", to_come);
        if lost > 0 {
            self.count("coupons in the feed that the log has lost", lost);
        }
        self.different += different;
        self.differences.extend(differences);
    }

    /// Takes note of a difference.
    pub fn differ(&mut self, what: impl FnOnce() -> String) {
        self.different += 1;
        if self.differences.len() < SHOWN {
            self.differences.push(what());
        }
    }
}

/// A state of a partition that somebody keeps beside the log.
#[derive(Debug)]
pub struct Claim {
    /// What it is, such as a snapshot.
    pub what: &'static str,
    /// Partition of the event log.
    pub partition: u32,
    /// How far it goes, and which history that is.
    pub checkpoint: Checkpoint,
    /// The promotions there; none where only the checkpoint is kept.
    pub book: Option<Book>,
}

impl Claim {
    /// Of the newest snapshot of a partition.
    #[must_use]
    pub fn of_snapshot((partition, checkpoint, book): (u32, Checkpoint, Book)) -> Self {
        Self { what: "the newest snapshot", partition, checkpoint, book: Some(book) }
    }
}

/// Compares the views with the log. What has come into the log after the call is left out.
///
/// # Errors
/// Log or views cannot be read, or the log itself is damaged.
pub async fn verify(
    log: &dyn Log,
    views: &Views,
    claims: Vec<Claim>,
) -> Result<Report, VerifyError> {
    verify_watched(log, views, claims, &mut |_, _, _| {}).await
}

/// The same, which tells how far it is.
///
/// # Errors
/// As [`verify`].
pub async fn verify_watched(
    log: &dyn Log,
    views: &Views,
    mut claims: Vec<Claim>,
    watch: Watch<'_>,
) -> Result<Report, VerifyError> {
    let (mut all, mut folded) = (0, 0);
    for partition in 0..log.partitions() {
        all += log.end(partition).await?;
    }
    let mut report = Report::default();
    let mut feed = FeedCheck::read(log).await?;
    let built = views.built().await?;
    if built.is_empty() {
        return Err(VerifyError::NoTables);
    }
    let mut expected = Expected::of(built);
    for partition in 0..log.partitions() {
        let progress = views.progress(partition).await?;
        claims.extend(progress.map(|progress| Claim {
            what: "the views",
            partition,
            checkpoint: progress.checkpoint(),
            book: None,
        }));
        let of_partition: Vec<Claim> =
            claims.extract_if(.., |claim| claim.partition == partition).collect();
        let read = &mut |records| {
            folded += records;
            watch(Stage::Log, folded, all);
        };
        let noted = (&mut expected, &mut feed);
        fold((log, partition, read), of_partition, noted, &mut report).await?;
    }
    if !report.counts.contains_key("fences") {
        return Err(VerifyError::Unused);
    }
    report.note_feed(feed.compare());
    let found = compare::sums(views, &mut expected, &mut report, watch).await?;
    for part in found.differing.iter().flat_map(|differing| differing.parts()) {
        let part = expected_part(log, part, &expected).await?;
        part.compare(views, (&expected, "the log says"), &mut report).await?;
    }
    compare_progress(log, views, &expected, &found.newer, &mut report).await?;
    Ok(report)
}

/// The rows of a part, as the log says.
async fn expected_part(
    log: &dyn Log,
    mut part: Part,
    expected: &Expected,
) -> Result<Part, VerifyError> {
    let partition = part.partition;
    // A row may name a partition that there is not.
    let Some(end) = expected.ends.get(&partition).copied() else { return Ok(part) };
    let mut fold = fold_from(log, partition, &Checkpoint::default()).await?;
    let step = |offset, record: &[u8]| match fold.step(offset, record) {
        Ok(Folded::Event(event)) => Ok(Some(event)),
        Ok(_) => Ok(None),
        Err(reason) => Err(VerifyError::Fold { partition, reason }),
    };
    let read: &mut (dyn FnMut(u64) + Send) = &mut |_| {};
    read_changes((log, partition, read), end, step, |changes| part.note(changes)).await?;
    Ok(part)
}

/// A partition of a log, and who is told how many records of it were read.
type Source<'a> = (&'a dyn Log, u32, &'a mut (dyn FnMut(u64) + Send));

/// Reads a partition up to an end, and hands on the rows that each stretch of its events changes.
async fn read_changes(
    (log, partition, read): Source<'_>,
    end: u64,
    mut step: impl FnMut(u64, &[u8]) -> Result<Option<Event>, VerifyError>,
    mut note: impl FnMut(&Changes),
) -> Result<(), VerifyError> {
    let mut projections = Projections::default();
    let mut stretch = Stretch::between(log, partition, 0, end).await?;
    loop {
        let records = stretch.next().await?;
        if records.is_empty() {
            return Ok(());
        }
        let mut events = Vec::with_capacity(records.len());
        for (offset, record) in &records {
            events.extend(step(*offset, record)?.map(|event| (*offset, event)));
        }
        read(records.len() as u64);
        // Only the rows count here, not how far they reach.
        let progress = Progress::at(partition, &Checkpoint::default(), None);
        note(&projections.changes(&events, progress)?);
    }
}

async fn fold(
    (log, partition, read): Source<'_>,
    mut claims: Vec<Claim>,
    (expected, feed): (&mut Expected, &mut FeedCheck),
    report: &mut Report,
) -> Result<(), VerifyError> {
    let end = log.end(partition).await?;
    let from_start = fold_from(log, partition, &Checkpoint::default()).await?;
    let mut folding = Folding { partition, fold: from_start, ..Folding::default() };
    claims.retain(|claim| !claim.is_due(&folding.fold));
    let step = |offset, record: &[u8]| {
        let event = folding.step(offset, record, report)?;
        for claim in claims.extract_if(.., |claim| claim.is_due(&folding.fold)) {
            claim.compare(&folding.fold, &folding.book, report);
        }
        Ok(event)
    };
    let note = |changes: &Changes| {
        expected.note(changes);
        feed.note(&changes.coupons);
    };
    read_changes((log, partition, read), end, step, note).await?;
    for claim in claims {
        report.differ(|| claim.lacks(end));
    }
    expected.ends.insert(partition, end);
    Ok(())
}

/// A partition, as far as it has been folded, and held against the rules of a sale.
#[derive(Default)]
struct Folding {
    partition: u32,
    fold: Fold,
    book: Book,
    fences: HashSet<u64>,
}

impl Folding {
    /// Folds the next record: the event, where it is one that counts.
    fn step(
        &mut self,
        offset: u64,
        record: &[u8],
        report: &mut Report,
    ) -> Result<Option<Event>, VerifyError> {
        let partition = self.partition;
        report.count("records", 1);
        let folded = self.fold.step(offset, record);
        match folded.map_err(|reason| VerifyError::Fold { partition, reason })? {
            Folded::Event(event) => {
                report.count("events", 1);
                let applied = self.book.apply(&event);
                applied.map_err(|reason| VerifyError::Inconsistent {
                    partition,
                    offset,
                    promotion_id: event.promotion_id.clone(),
                    reason,
                })?;
                return Ok(Some(event));
            }
            Folded::Fence(fence) => {
                report.count("fences", 1);
                self.fences.insert(offset);
                fence.clock_ms.into_iter().for_each(|at_ms| self.book.reset_clock(at_ms));
                report.note_repair(Position { partition, offset }, &fence);
            }
            Folded::Void => {
                report.count("void records", 1);
                name_foreign(partition, offset, record, &self.fences, report);
            }
            Folded::Skipped(skip) => {
                report.count("skipped records", 1);
                report.note_skipped(Position { partition, offset }, &skip);
            }
            Folded::Skip(skip) => {
                report.count("skips", 1);
                if self.fold.skips().iter().all(|known| known.offset != skip.offset) {
                    let at = Position { partition, offset: skip.offset };
                    report.differ(|| {
                        format!("{at} is skipped by the record at offset {offset}, and readers do not know of it")
                    });
                }
            }
        }
        Ok(None)
    }
}

/// A void record was left behind by an owner that had been deposed, so it names an earlier fence.
/// One that does not was written by nobody who may write here.
fn name_foreign(
    partition: u32,
    offset: u64,
    record: &[u8],
    fences: &HashSet<u64>,
    report: &mut Report,
) {
    let Ok(record::Kind::Event(Event { term, seq, .. })) = decode_record(record) else { return };
    if !fences.contains(&term) {
        report.differ(|| {
            format!(
                "partition {partition}, offset {offset}: a record of term {term}, sequence {seq}, \
                 and no fence at offset {term} explains it"
            )
        });
    }
}

impl Claim {
    fn is_due(&self, fold: &Fold) -> bool {
        self.checkpoint.next_offset == fold.next_offset()
    }

    /// Holds it against the log at its offset.
    fn compare(&self, fold: &Fold, book: &Book, report: &mut Report) {
        let Self { what, partition, checkpoint, .. } = self;
        report.count("checkpoints", 1);
        let should = fold.checkpoint();
        if *checkpoint != should {
            report.differ(|| {
                format!("partition {partition}: {what} is of another log: it has {checkpoint:?}, the log has {should:?}")
            });
        }
        if self.book.as_ref().is_some_and(|kept| !kept.agrees_with(book)) {
            let offset = fold.next_offset();
            report.differ(|| {
                format!("partition {partition}: {what} at offset {offset} differs from the log")
            });
        }
    }

    fn lacks(&self, end: u64) -> String {
        let Self { what, partition, checkpoint, .. } = self;
        let reached = checkpoint.next_offset;
        format!(
            "partition {partition}: {what} is ahead of the log: it reached offset {reached}, the log ends at {end}"
        )
    }
}

/// Views behind the log, of another log, or ahead of this one.
async fn compare_progress(
    log: &dyn Log,
    views: &Views,
    expected: &Expected,
    newer: &HashMap<u32, Newer>,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let rows = newer.values().map(|newer| newer.rows).sum();
    report.count("rows newer than the comparison", rows);
    for (&partition, &end) in &expected.ends {
        let progress = views.progress(partition).await?;
        let now = log.end(partition).await?;
        let reached = progress.as_ref().map_or(0, |progress| progress.next_offset);
        if reached < end {
            report.differ(|| {
                format!("partition {partition}: the views reach offset {reached} of {end}")
            });
        }
        let ahead = newer.get(&partition).is_some_and(|newer| newer.highest >= now);
        if reached > now || ahead {
            report.differ(|| {
                format!(
                    "partition {partition}: the views are ahead of the log, which ends at {now}"
                )
            });
        }
        if let Some(reason) = progress.and_then(|progress| progress.stopped) {
            report.differ(|| format!("partition {partition} has stopped: {reason}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use seckill_log::embedded::EmbeddedLog;
    use seckill_proto::v1::{
        CouponGrabbed, PromotionScheduled, PromotionStarted, Terms, event::Body,
    };
    use seckill_proto::{encode_event, encode_fence};
    use seckill_telemetry::Health;
    use seckill_views::CouponRow;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::build::Turns;
    use crate::follow::Follower;

    fn records(fence_id: u8) -> Vec<Vec<u8>> {
        let terms = Terms { coupons: 9, limit_per_customer: 1, discount: 0.5, ..Terms::default() };
        let grabbed = |serial: u32| {
            Body::Grabbed(CouponGrabbed {
                serial,
                customer_id: format!("c{serial}"),
                remaining: 9 - serial,
                idempotency_key: String::new(),
            })
        };
        let bodies = [
            Body::Scheduled(PromotionScheduled { terms: Some(terms) }),
            Body::Started(PromotionStarted {}),
            grabbed(1),
            grabbed(2),
        ];
        let event = |(seq, body)| Event {
            seq,
            promotion_id: "p".into(),
            body: Some(body),
            ..Event::default()
        };
        let fence = encode_fence(Fence { fence_id: vec![fence_id; 16], ..Fence::default() });
        let events = (0..).zip(bodies).map(|numbered| encode_event(event(numbered)));
        std::iter::once(fence).chain(events).collect()
    }

    async fn log(directory: &Path, fence_id: u8) -> Arc<dyn Log> {
        let log = EmbeddedLog::open(&directory.join("log"), Some(1)).expect("a log");
        log.append(0, records(fence_id)).deliveries().await;
        Arc::new(log)
    }

    /// Views as the projector writes them.
    async fn project(log: &Arc<dyn Log>, directory: &Path) -> Views {
        let views: Views = Views::open_directory(&directory.join("views"), 1).await.expect("views");
        let part = Health::default().part("test");
        let follower = Follower::new(Arc::clone(log), views.clone(), 0, part, Turns::new());
        let stop = CancellationToken::new();
        let following = tokio::spawn(follower.run(stop.clone()));
        let end = log.end(0).await.expect("an end");
        let reached = async || views.progress(0).await.expect("one").map_or(0, |p| p.next_offset);
        while reached().await < end {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        following.await.expect("it ends");
        views
    }

    #[tokio::test]
    async fn what_the_projector_writes_is_equal() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = log(directory.path(), 1).await;
        let views = project(&log, directory.path()).await;
        let report = verify(&*log, &views, vec![]).await.expect("a report");
        assert!(report.is_equal(), "{report:?}");
        assert_eq!(report.counts["coupons_by_customer"], 2);
    }

    async fn first_coupon(views: &Views) -> CouponRow {
        let id = "p-1".parse().expect("an id");
        views.coupon(&id).await.expect("a row").expect("a row")
    }

    /// Writes coupons as nobody should.
    async fn write_coupons(views: &Views, coupons: Vec<CouponRow>) {
        let progress = views.progress(0).await.expect("progress").expect("progress");
        views.write(Changes { coupons, ..Changes::none(progress) }).await.expect("written");
    }

    #[tokio::test]
    async fn a_missing_row_a_wrong_row_and_one_too_many_are_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = log(directory.path(), 1).await;
        let views = project(&log, directory.path()).await;
        let row = first_coupon(&views).await;
        let wrong = CouponRow {
            discount: 0.9,
            position: Position { offset: 4, ..row.position },
            ..row.clone()
        };
        let extra = CouponRow { id: "p-3".into(), serial: 3, ..row };
        write_coupons(&views, vec![wrong, extra]).await;
        let report = verify(&*log, &views, vec![]).await.expect("a report");
        for view in ["coupons_by_promotion", "coupons_by_customer"] {
            let of_view = report.differences.iter().filter(|text| text.starts_with(view));
            assert_eq!(of_view.count(), 2, "{report:?}");
        }

        let empty = Views::open_directory(&directory.path().join("empty"), 1).await.expect("views");
        let report = verify(&*log, &empty, vec![]).await.expect("a report");
        let lacks = |view: &str| {
            let of_view = format!("{view} lacks");
            report.differences.iter().filter(|text| text.starts_with(&of_view)).count()
        };
        assert_eq!((lacks("promotions"), lacks("open_promotions")), (1, 1), "{report:?}");
        assert_eq!((lacks("coupons_by_promotion"), lacks("coupons_by_customer")), (2, 2));
        assert!(report.differences.iter().any(|text| text.contains("the views reach offset 0")));
    }

    /// A coupon has one place in the log: one that seems to be of later than was compared is wrong.
    #[tokio::test]
    async fn a_coupon_at_a_later_place_than_its_own_is_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = log(directory.path(), 1).await;
        let views = project(&log, directory.path()).await;
        let row = first_coupon(&views).await;
        let later = CouponRow { position: Position { offset: 99, ..row.position }, ..row };
        write_coupons(&views, vec![later]).await;
        let report = verify(&*log, &views, vec![]).await.expect("a report");
        let has = |text: &String| text.starts_with("coupons_by_promotion has");
        assert!(report.differences.iter().any(has), "{report:?}");
    }

    /// Changes the stored bytes of a table of views that are closed.
    fn spoil(directory: &Path, table: &str, change: impl Fn(&mut Vec<(Vec<u8>, Vec<u8>)>)) {
        let database =
            fjall::Database::builder(directory.join("views")).open().expect("a database");
        let table = database.keyspace(table, Default::default).expect("a table");
        let pairs = table.iter().map(|pair| pair.into_inner().expect("a pair"));
        let mut pairs: Vec<_> = pairs.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        pairs.iter().for_each(|(key, _)| table.remove(key.as_slice()).expect("removed"));
        change(&mut pairs);
        pairs.into_iter().for_each(|(key, value)| table.insert(key, value).expect("inserted"));
    }

    type Change = fn(&mut Vec<(Vec<u8>, Vec<u8>)>);

    #[tokio::test]
    async fn rows_that_are_not_where_they_belong_are_noticed() {
        let swapped: Change = |pairs| {
            let (first, second) = (pairs[0].1.clone(), pairs[1].1.clone());
            (pairs[0].1, pairs[1].1) = (second, first);
        };
        let moved: Change = |pairs| pairs[0].0 = [b"x", pairs[0].0.as_slice()].concat();
        let position: Change = |pairs| pairs[0].1[..8].fill(0xFF);
        let elsewhere: Change = |pairs| {
            let text = String::from_utf8_lossy(&pairs[0].1[8..]).replace("\"0:", "\"9:");
            pairs[0].1.truncate(8);
            pairs[0].1.extend(text.bytes());
        };
        let junk: Change = |pairs| pairs[0].1.truncate(3);
        let gone: Change = |pairs| drop(pairs.pop());
        let changes = [("swapped", swapped), ("moved", moved), ("position", position)];
        let changes =
            changes.into_iter().chain([("junk", junk), ("gone", gone), ("elsewhere", elsewhere)]);
        for (what, change) in changes {
            for table in ["coupons_by_customer_g4", "coupons_by_promotion_g4"] {
                let directory = tempfile::tempdir().expect("a directory");
                let log = log(directory.path(), 1).await;
                drop(project(&log, directory.path()).await);
                spoil(directory.path(), table, change);
                let views =
                    Views::open_directory(&directory.path().join("views"), 1).await.expect("views");
                let report = verify(&*log, &views, vec![]).await.expect("a report");
                assert!(!report.is_equal(), "{what} in {table}");
            }
        }
    }

    #[tokio::test]
    async fn a_progress_or_a_snapshot_that_is_wrong_is_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = log(directory.path(), 1).await;
        let views = project(&log, directory.path()).await;
        let progress = views.progress(0).await.expect("progress").expect("progress");
        let checkpoint = progress.checkpoint();
        let wrong = [
            Checkpoint { next_seq: 9, ..checkpoint.clone() },
            Checkpoint { history: 9, ..checkpoint.clone() },
            Checkpoint { next_offset: 9, ..checkpoint.clone() },
            Checkpoint { fence_id: vec![9; 16], ..checkpoint.clone() },
        ];
        let claim = |checkpoint: &Checkpoint, book| {
            vec![Claim { what: "a snapshot", partition: 0, checkpoint: checkpoint.clone(), book }]
        };
        for wrong in wrong {
            let report = verify(&*log, &views, claim(&wrong, None)).await.expect("a report");
            assert_eq!(report.different, 1, "{wrong:?}: {report:?}");
        }
        let right = verify(&*log, &views, claim(&checkpoint, None)).await.expect("a report");
        assert!(right.is_equal(), "{right:?}");
        let book = Some(Book::default());
        let report = verify(&*log, &views, claim(&checkpoint, book)).await.expect("a report");
        assert_eq!(report.different, 1, "{report:?}");
    }

    #[tokio::test]
    async fn a_record_that_no_fence_explains_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = log(directory.path(), 1).await;
        let event = |term| {
            let body = Some(Body::Started(PromotionStarted {}));
            encode_event(Event {
                term,
                seq: 77,
                promotion_id: "p".into(),
                body,
                ..Event::default()
            })
        };
        log.append(0, vec![event(0)]).deliveries().await;
        let views = project(&log, directory.path()).await;
        let report = verify(&*log, &views, vec![]).await.expect("a report");
        assert!(report.is_equal() && report.counts["void records"] == 1, "{report:?}");
        log.append(0, vec![event(3)]).deliveries().await;
        drop(views);
        let views = project(&log, directory.path()).await;
        let report = verify(&*log, &views, vec![]).await.expect("a report");
        assert!(report.differences[0].contains("offset 6: a record of term 3"), "{report:?}");
    }

    #[tokio::test]
    async fn views_of_another_log_are_noticed_and_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let other = tempfile::tempdir().expect("a directory");
        let log_of_views = log(directory.path(), 1).await;
        let views = project(&log_of_views, directory.path()).await;
        let log = log(other.path(), 2).await;
        assert!(!verify(&*log, &views, vec![]).await.expect("a report").is_equal());

        let health = Health::default();
        let follower = Follower::new(log, views.clone(), 0, health.part("test"), Turns::new());
        let stop = CancellationToken::new();
        let following = tokio::spawn(follower.run(stop.clone()));
        while !health.not_ready().get("test").is_some_and(|why| why.contains("has lost records")) {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        following.await.expect("it ends");
    }
}
