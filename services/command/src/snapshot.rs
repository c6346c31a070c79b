//! Snapshots: the state of a partition at an offset, so that a takeover reads only what follows.
//!
//! A row of segments, each of what a stretch of the log did, and a manifest that names them. The next
//! segment follows from the log since the last one alone; so nobody copies the owner's state, no grab
//! waits, and what was written stays as it is. Any number of the first segments is a snapshot too: where
//! one is damaged, those before it count.
//!
//! With every segment made, an older one is looked at again: one most of whose coupons are archived by
//! now is written once more without them, and small neighbours become one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use seckill_log::{
    Entries, Fetched, Fold, Folded, Log, LogError, Skips, Table, Witness, fold_from,
};
use seckill_promotion::{Book, Changes, Inconsistent, Restore};
use seckill_proto::decode_strictly;
use seckill_proto::v1::{
    Checkpoint, PromotionChanges, SnapshotManifest, SnapshotPart, SnapshotSegment,
};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::takeover::{STEP, TakeoverError, assert_there};

/// Records after which the next segment is made.
pub(crate) const RECORDS_BETWEEN: u64 = 50_000;
/// Or, where there are fewer, the time.
const TIME_BETWEEN: Duration = Duration::from_secs(60);
/// Records of the log in one segment; what was missed makes several.
const MAX_RECORDS: u64 = 100_000;
/// Parts that two neighbours may have together to become one segment.
const MAX_PARTS: usize = 6;
/// Promotions that the owner is asked about at once.
const ASK: usize = 1_000;
/// How long the owner may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is looked whether one is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Key of the manifest, in the table of owners.
const MANIFEST: &str = "snapshot";

/// A state and how far it goes.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) book: Book,
    pub(crate) fold: Fold,
}

/// When snapshots are made.
pub(crate) struct SnapshotPlan {
    /// Records after which the next segment is made.
    pub(crate) records: u64,
    /// One is made at a time.
    pub(crate) turn: Arc<Semaphore>,
}

/// Asks the owner which of these promotions are archived, and how each ended.
pub(crate) struct WhichArchived {
    pub(crate) promotion_ids: Vec<String>,
    pub(crate) answer: oneshot::Sender<Vec<PromotionChanges>>,
}

/// The snapshot of a partition that its table of owners names: what can be read of it, and the empty one where that
/// is nothing. Whether it is of this log is for the caller to find out.
pub(crate) async fn load(
    log: &dyn Log,
    partition: u32,
    entries: &Entries,
) -> Result<Snapshot, LogError> {
    let skips = Skips::among(partition, entries)?;
    let manifest = Manifest::among(partition, entries);
    let Snapshot { book, fold } = restore(log, partition, &manifest.known()).await?;
    Ok(Snapshot { book, fold: fold.honouring(skips) })
}

/// The newest snapshot of a partition, for whoever compares it with the log.
///
/// # Errors
/// The tables cannot be read.
pub async fn newest_snapshot(
    log: &dyn Log,
    partition: u32,
) -> Result<Option<(Checkpoint, Book)>, LogError> {
    let entries = log.scan(Table::Owners, partition).await?;
    let Snapshot { book, fold } = load(log, partition, &entries).await?;
    Ok((fold.next_offset() > 0).then(|| (fold.checkpoint(), book)))
}

/// The newest snapshots, each with its partition; none of a partition that has none.
///
/// # Errors
/// The tables cannot be read.
pub async fn newest_snapshots(log: &dyn Log) -> Result<Vec<(u32, Checkpoint, Book)>, LogError> {
    let mut snapshots = Vec::new();
    for partition in 0..log.partitions() {
        let newest = newest_snapshot(log, partition).await?;
        snapshots.extend(newest.map(|(checkpoint, book)| (partition, checkpoint, book)));
    }
    Ok(snapshots)
}

/// What the manifest knows of the log, whether or not what it names can be read.
pub(crate) fn witnesses(partition: u32, entries: &Entries) -> Vec<Witness> {
    Manifest::among(partition, entries).witnesses()
}

/// Makes the tables forget the snapshot of a partition.
pub(crate) async fn forget(log: &dyn Log, partition: u32) -> Result<(), LogError> {
    log.put(Table::Owners, partition, vec![(MANIFEST.to_owned(), Bytes::new())]).await
}

/// What can be read of the manifest.
struct Manifest {
    segments: Vec<SnapshotSegment>,
    /// Whether there is nothing in it that this version does not know.
    is_known: bool,
}

impl Manifest {
    async fn read(log: &dyn Log, partition: u32) -> Result<Self, LogError> {
        Ok(Self::among(partition, &log.scan(Table::Owners, partition).await?))
    }

    fn among(partition: u32, entries: &Entries) -> Self {
        let found = entries.iter().find(|(key, _)| key == MANIFEST);
        let value = found.map(|(_, value)| value.clone()).unwrap_or_default();
        let is_known = decode_strictly::<SnapshotManifest>(&value).is_ok();
        if !is_known {
            tracing::warn!(
                partition,
                "the snapshot is passed over: damaged, or of a newer version"
            );
        }
        let segments = SnapshotManifest::decode(value).unwrap_or_default().segments;
        Self { segments, is_known }
    }

    /// What has been seen of the log: proof, whoever wrote it.
    fn witnesses(&self) -> Vec<Witness> {
        let newest = self.segments.last().and_then(|segment| segment.checkpoint.clone());
        newest.map(|seen| Witness::new("a snapshot", seen)).into_iter().collect()
    }

    /// What to restore, or to go on from.
    fn known(self) -> Vec<SnapshotSegment> {
        if self.is_known { self.segments } else { Vec::new() }
    }
}

fn keys(segment: &SnapshotSegment) -> impl Iterator<Item = String> {
    (0..segment.part_crcs.len()).map(|index| format!("{}/{index:08}", segment.name))
}

fn all_keys(segments: &[SnapshotSegment]) -> Vec<String> {
    segments.iter().flat_map(keys).collect()
}

/// Puts the state together from as many segments as can be read.
async fn restore(
    log: &dyn Log,
    partition: u32,
    named: &[SnapshotSegment],
) -> Result<Snapshot, LogError> {
    let mut segments = Segments::of(log, partition, named);
    let (mut restoring, mut covered) = (Restore::default(), None);
    for segment in named {
        let Some(checkpoint) = &segment.checkpoint else { break };
        let Some(parts) = segments.next().await? else {
            tracing::warn!(partition, segment.name, "a segment of the snapshot cannot be read");
            break;
        };
        let added = blocking(move || {
            let added = parts.iter().try_for_each(|part| add(&mut restoring, part));
            (restoring, added)
        });
        let added = added.await?;
        restoring = added.0;
        if let Err(error) = added.1 {
            tracing::warn!(partition, segment.name, %error, "the snapshot is passed over");
            return Ok(Snapshot::default());
        }
        covered = Some((checkpoint, segment.at_ms));
    }
    let Some((checkpoint, at_ms)) = covered else { return Ok(Snapshot::default()) };
    let book = blocking(move || restoring.finish(at_ms)).await?;
    Ok(Snapshot { book, fold: Fold::resume(checkpoint) })
}

fn add(restoring: &mut Restore, part: &Bytes) -> Result<(), Inconsistent> {
    let part = decode_strictly::<SnapshotPart>(part);
    restoring.add(&part.map_err(|_| Inconsistent("a part of a snapshot that cannot be read"))?)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LogError> {
    // Of one thread alone nobody else has a use; and it does the same things in the same order.
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panic| LogError::Broken(panic.to_string()))
}

/// Gives the parts of one segment after another, in whichever order they come to hand.
struct Segments {
    fetched: Fetched,
    /// Key and checksum of every part, and the part once it is there.
    parts: Vec<(String, u32, Option<Bytes>)>,
    /// Parts of the segments that are still to be given.
    counts: std::vec::IntoIter<usize>,
    begin: usize,
}

impl Segments {
    fn of(log: &dyn Log, partition: u32, segments: &[SnapshotSegment]) -> Self {
        let crcs = segments.iter().flat_map(|segment| segment.part_crcs.iter().copied());
        let keys = all_keys(segments);
        let parts = keys.iter().cloned().zip(crcs).map(|(key, crc)| (key, crc, None)).collect();
        let counts: Vec<usize> = segments.iter().map(|segment| segment.part_crcs.len()).collect();
        Self {
            fetched: log.fetch(Table::Snapshots, partition, keys),
            parts,
            counts: counts.into_iter(),
            begin: 0,
        }
    }

    /// None where a part is missing or damaged.
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, LogError> {
        let end = self.begin + self.counts.next().unwrap_or_default();
        while self.parts[self.begin..end].iter().any(|(_, _, part)| part.is_none()) {
            match self.fetched.recv().await.transpose()? {
                Some((key, value)) => self.note(&key, value),
                None => return Ok(None),
            }
        }
        let parts = self.parts[self.begin..end].iter_mut().filter_map(|(_, _, part)| part.take());
        let parts = parts.collect();
        self.begin = end;
        Ok(Some(parts))
    }

    /// As a rule the next one.
    fn note(&mut self, key: &str, value: Bytes) {
        let awaited = self.parts[self.begin..].iter_mut().find(|(awaited, _, _)| awaited == key);
        if let Some((_, crc, part)) = awaited
            && crc32fast::hash(&value) == *crc
        {
            *part = Some(value);
        }
    }
}

/// Makes snapshots of a partition as its confirmed offset grows, one partition at a time.
pub(crate) async fn keep_making(
    log: Arc<dyn Log>,
    partition: u32,
    confirmed: watch::Receiver<Checkpoint>,
    owner: mpsc::Sender<WhichArchived>,
    plan: SnapshotPlan,
) {
    let mut failing = false;
    loop {
        let Err(error) = make_all(&*log, partition, &confirmed, &owner, &plan).await else {
            return;
        };
        metrics::counter!("seckill_snapshots_failed_total").increment(1);
        if !std::mem::replace(&mut failing, true) {
            tracing::warn!(%error, partition, "no snapshot was made");
        }
        tokio::time::sleep(TIME_BETWEEN / 6).await;
    }
}

async fn make_all(
    log: &dyn Log,
    partition: u32,
    confirmed: &watch::Receiver<Checkpoint>,
    owner: &mpsc::Sender<WhichArchived>,
    plan: &SnapshotPlan,
) -> Result<(), TakeoverError> {
    let mut maker: Option<Maker> = None;
    let mut made = Instant::now();
    let name = partition.to_string();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let end = confirmed.borrow().clone();
        let Some(term) = end.term else { continue }; // never taken over yet
        metrics::gauge!("seckill_snapshot_age_seconds", "partition" => name.clone())
            .set(made.elapsed().as_secs_f64());
        let maker = match &mut maker {
            Some(maker) => maker,
            None => {
                maker = Some(Maker::begin(log, partition, term, plan.records).await?);
                continue;
            }
        };
        let new = end.next_offset.saturating_sub(maker.fold.next_offset());
        if new >= plan.records || (new > 0 && made.elapsed() >= TIME_BETWEEN) {
            let Ok(_turn) = plan.turn.acquire().await else { return Ok(()) };
            let end = confirmed.borrow().clone(); // it may have taken long
            maker.term = term;
            while maker.fold.next_offset() < end.next_offset {
                maker.make(end.next_offset).await?;
            }
            maker.look_again(owner).await?;
            made = Instant::now();
            metrics::counter!("seckill_snapshots_total").increment(1);
        }
    }
}

/// Makes one segment after another.
struct Maker<'a> {
    log: &'a dyn Log,
    partition: u32,
    segments: Vec<SnapshotSegment>,
    /// Folded up to where the segments end.
    fold: Fold,
    at_ms: i64,
    /// The next segment to be looked at again.
    next_look: usize,
    /// Names are of a term and numbered, so that no two segments ever have the same.
    term: u64,
    named: u64,
    /// A segment of fewer records becomes part of the next one.
    small: u64,
}

impl<'a> Maker<'a> {
    async fn begin(
        log: &'a dyn Log,
        partition: u32,
        term: u64,
        small: u64,
    ) -> Result<Self, TakeoverError> {
        let segments = Manifest::read(log, partition).await?.known();
        let (checkpoint, at_ms) = segments
            .last()
            .map_or((None, 0), |segment| (segment.checkpoint.clone(), segment.at_ms));
        log.sweep(Table::Snapshots, partition, all_keys(&segments)).await?;
        let fold = fold_from(log, partition, &checkpoint.unwrap_or_default()).await?;
        let named =
            segments.iter().filter_map(|segment| segment.name.rsplit_once('-')?.1.parse().ok());
        let named = named.max().unwrap_or(0);
        Ok(Self { log, partition, segments, fold, at_ms, next_look: 0, term, named, small })
    }

    /// Makes the next segment, up to a confirmed offset or until it is large. A small one before it
    /// becomes part of it.
    async fn make(&mut self, confirmed: u64) -> Result<(), TakeoverError> {
        let (mut changes, mut records, mut replaced) = (Changes::default(), 0, None);
        if let Some(last) = self.segments.last().filter(|last| last.records < self.small) {
            // One that cannot be read stays as it is: what follows it is good all the same.
            if let Some(before) = self.changes_of(std::slice::from_ref(last)).await? {
                (changes, records, replaced) =
                    (before, last.records, Some(self.segments.len() - 1));
            }
        }
        let mut reader = self.log.read(self.partition, self.fold.next_offset()).await?;
        while self.fold.next_offset() < confirmed && records < MAX_RECORDS {
            let batch = reader.next(STEP).await?;
            let next = self.fold.next_offset();
            assert_there(self.log, self.partition, next, batch.is_empty()).await?;
            for (offset, record) in batch {
                if offset >= confirmed || records >= MAX_RECORDS {
                    break;
                }
                records += 1;
                match self.fold.step(offset, &record)? {
                    Folded::Event(event) => {
                        self.at_ms = self.at_ms.max(event.at_ms);
                        let added = changes.add(&event);
                        added
                            .map_err(|reason| TakeoverError::inconsistent(offset, event, reason))?;
                    }
                    Folded::Fence(fence) => self.at_ms = fence.clock_ms.unwrap_or(self.at_ms),
                    Folded::Void | Folded::Skipped(_) | Folded::Skip(_) => {}
                }
            }
            tokio::task::yield_now().await;
        }
        let covers = SnapshotSegment {
            checkpoint: Some(self.fold.checkpoint()),
            at_ms: self.at_ms,
            records,
            ..SnapshotSegment::default()
        };
        let at = replaced.unwrap_or(self.segments.len());
        self.replace(at..self.segments.len(), changes, covers).await
    }

    /// Looks at one more of the older segments: with the one before it, where both are small.
    async fn look_again(
        &mut self,
        owner: &mpsc::Sender<WhichArchived>,
    ) -> Result<(), TakeoverError> {
        let older = self.segments.len().saturating_sub(1);
        if older == 0 {
            return Ok(());
        }
        let last = self.next_look % older;
        self.next_look = last + 1;
        let parts = |index: usize| self.segments[index].part_crcs.len();
        let merges = last > 0 && parts(last - 1) + parts(last) <= MAX_PARTS;
        let range = if merges { last - 1..last + 1 } else { last..last + 1 };
        let looked_at = &self.segments[range.clone()];
        let coupons: u64 = looked_at.iter().map(|segment| segment.coupons).sum();
        let mut covers = SnapshotSegment {
            records: looked_at.iter().map(|segment| segment.records).sum(),
            ..looked_at.last().cloned().unwrap_or_default()
        };
        let Some(mut changes) = self.changes_of(looked_at).await? else {
            tracing::warn!(partition = self.partition, "a segment of the snapshot is damaged");
            // What comes after it is of no use without it: begin anew from there.
            return self.cut_at(range.start).await;
        };
        let ids: Vec<String> = changes.promotion_ids().map(str::to_owned).collect();
        for promotion_ids in ids.chunks(ASK) {
            let (answer, archived) = oneshot::channel();
            let promotion_ids = promotion_ids.to_vec();
            // An owner that does not serve at the moment says nothing.
            let asked = owner.try_send(WhichArchived { promotion_ids, answer });
            let archived = tokio::time::timeout(ANSWER_TIMEOUT, archived).await;
            let (Ok(()), Ok(Ok(archived))) = (asked, archived) else { return Ok(()) };
            // What ended after the segments do is left alone: they would know more than they cover.
            let covered = |end: &PromotionChanges| end.finished_at_ms < self.at_ms;
            archived.into_iter().filter(covered).for_each(|end| changes.archive(end));
        }
        if !merges && changes.coupons() * 2 > coupons {
            return Ok(()); // most of it is wanted
        }
        if !merges && coupons == 0 {
            return Ok(());
        }
        covers.coupons = changes.coupons();
        self.replace(range, changes, covers).await
    }

    /// Forgets a segment and what comes after it.
    async fn cut_at(&mut self, begin: usize) -> Result<(), TakeoverError> {
        let forgotten = self.segments.split_off(begin);
        self.write_manifest().await?;
        self.log.delete(Table::Snapshots, self.partition, all_keys(&forgotten)).await?;
        let kept = self.segments.last();
        let checkpoint = kept.and_then(|segment| segment.checkpoint.clone());
        self.at_ms = kept.map_or(0, |segment| segment.at_ms);
        self.fold = fold_from(self.log, self.partition, &checkpoint.unwrap_or_default()).await?;
        Ok(())
    }

    /// None where they cannot be read.
    async fn changes_of(
        &self,
        segments: &[SnapshotSegment],
    ) -> Result<Option<Changes>, TakeoverError> {
        let mut fetched = Segments::of(self.log, self.partition, segments);
        let mut changes = Changes::default();
        for _ in segments {
            let Some(parts) = fetched.next().await? else { return Ok(None) };
            for part in parts {
                let Ok(part) = decode_strictly::<SnapshotPart>(&part) else { return Ok(None) };
                changes.add_part(part);
                tokio::task::yield_now().await;
            }
        }
        Ok(Some(changes))
    }

    /// Writes changes in the place of some segments: first the parts, then the manifest that names
    /// them; what it does not name any more is deleted last.
    async fn replace(
        &mut self,
        range: std::ops::Range<usize>,
        changes: Changes,
        covers: SnapshotSegment,
    ) -> Result<(), TakeoverError> {
        self.named += 1;
        let name = format!("{}-{}", self.term, self.named);
        let mut segment = SnapshotSegment { name, coupons: changes.coupons(), ..covers };
        segment.part_crcs.clear();
        let parts = blocking(move || {
            let parts = changes.into_parts();
            parts.iter().map(|part| Bytes::from(part.encode_to_vec())).collect::<Vec<_>>()
        });
        let parts = parts.await?;
        segment.part_crcs = parts.iter().map(|part| crc32fast::hash(part)).collect();
        for (key, part) in keys(&segment).zip(parts) {
            self.log.put(Table::Snapshots, self.partition, vec![(key, part)]).await?;
        }
        let replaced: Vec<SnapshotSegment> = self.segments.splice(range, [segment]).collect();
        self.write_manifest().await?;
        if !replaced.is_empty() {
            self.log.delete(Table::Snapshots, self.partition, all_keys(&replaced)).await?;
        }
        Ok(())
    }

    async fn write_manifest(&self) -> Result<(), TakeoverError> {
        let manifest = SnapshotManifest { segments: self.segments.clone() }.encode_to_vec();
        let manifest = (MANIFEST.to_owned(), Bytes::from(manifest));
        Ok(self.log.put(Table::Owners, self.partition, vec![manifest]).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use seckill_log::embedded::EmbeddedLog;
    use seckill_promotion::end_of;
    use seckill_proto::v1::{
        CancelPromotion, Command, Fence, FinishPromotion, GrabCoupon, SchedulePromotion, Terms,
        command,
    };
    use seckill_proto::{encode_event, encode_fence};
    use tempfile::TempDir;

    use super::*;

    /// A log of one partition and one term, and the state that it makes.
    struct Fixture {
        directory: TempDir,
        log: EmbeddedLog,
        book: Book,
        end: u64,
    }

    impl Fixture {
        async fn open() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let log = EmbeddedLog::open(directory.path(), Some(1)).expect("a log");
            let fence = encode_fence(Fence { fence_id: vec![7; 16], ..Fence::default() });
            log.append(0, vec![fence]).deliveries().await;
            Self { directory, log, book: Book::default(), end: 1 }
        }

        async fn offer(&mut self, id: &str, coupons: u32) {
            let terms = Terms {
                name: "a sale".into(),
                coupons,
                discount: 0.5,
                starts_at_ms: 1,
                finishes_at_ms: None,
                limit_per_customer: 1,
            };
            let schedule = command::Body::Schedule(SchedulePromotion { terms: Some(terms) });
            self.handle(id, vec![schedule]).await;
        }

        async fn grab(&mut self, id: &str, customers: std::ops::Range<u32>) {
            let grab = |number| {
                let customer_id = format!("customer {number}");
                command::Body::Grab(GrabCoupon { customer_id, ..GrabCoupon::default() })
            };
            self.handle(id, customers.map(grab).collect()).await;
        }

        async fn handle(&mut self, id: &str, bodies: Vec<command::Body>) {
            let mut records = Vec::new();
            for body in bodies {
                let command = Command { promotion_id: id.into(), body: Some(body) };
                let now_ms = 5 + i64::try_from(self.end).expect("few");
                for event in self.book.handle(&command, now_ms).events {
                    records.push(encode_event(seckill_proto::v1::Event {
                        seq: self.end - 1,
                        ..event
                    }));
                    self.end += 1;
                }
            }
            self.log.append(0, records).deliveries().await;
        }

        async fn make(&self) -> Maker<'_> {
            let mut maker = Maker::begin(&self.log, 0, 0, RECORDS_BETWEEN).await.expect("a maker");
            while maker.fold.next_offset() < self.end {
                maker.make(self.end).await.expect("made");
            }
            maker
        }

        async fn loaded(&self) -> Snapshot {
            let entries = self.log.scan(Table::Owners, 0).await.expect("the table");
            load(&self.log, 0, &entries).await.expect("loaded")
        }

        fn files(&self) -> Vec<PathBuf> {
            let folder = self.directory.path().join("tables/snapshots/0000");
            let files = std::fs::read_dir(folder).expect("a folder");
            let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
            files.sort();
            files
        }

        /// Answers as the owner does.
        fn owner(&self) -> mpsc::Sender<WhichArchived> {
            let (owner, mut questions) = mpsc::channel::<WhichArchived>(1);
            let book = self.book.clone();
            tokio::spawn(async move {
                while let Some(WhichArchived { promotion_ids, answer }) = questions.recv().await {
                    let ends = promotion_ids.iter().filter_map(|id| end_of(id, book.get(id)?));
                    let _ = answer.send(ends.collect());
                }
            });
            owner
        }
    }

    #[tokio::test]
    async fn a_snapshot_is_made_of_the_log_and_only_what_is_new_is_written() {
        let mut sale = Fixture::open().await;
        assert_eq!(sale.loaded().await.book, Book::default());
        sale.offer("p", 1_000_000).await;
        sale.grab("p", 0..120_000).await;
        let segments = sale.make().await.segments.len();
        assert_eq!(segments, 2);
        let before = sale.files();
        assert_eq!(sale.loaded().await.book, sale.book);
        sale.grab("p", 120_000..121_000).await;
        // The last segment was small and is written again with what is new; the first one is not.
        assert_eq!(sale.make().await.segments.len(), 2);
        let kept = sale.files().into_iter().filter(|file| before.contains(file)).count();
        assert!(kept >= 4, "{kept} of {} files are the same", before.len());
        let loaded = sale.loaded().await;
        assert_eq!((loaded.book, loaded.fold.next_offset()), (sale.book.clone(), sale.end));
    }

    #[tokio::test]
    async fn of_a_damaged_snapshot_the_part_before_the_damage_counts() {
        let mut sale = Fixture::open().await;
        sale.offer("p", 1_000_000).await;
        sale.grab("p", 0..250_000).await;
        sale.make().await;
        let second = sale.files().into_iter().find(|file| file.to_string_lossy().contains("0-2"));
        std::fs::write(second.expect("a part"), b"something else").expect("written");
        let loaded = sale.loaded().await;
        let promotion = loaded.book.get("p").expect("the promotion");
        assert_eq!(loaded.fold.next_offset(), 100_000);
        assert_eq!(promotion.granted(), 100_000 - 3);
        let known = witnesses(0, &sale.log.scan(Table::Owners, 0).await.expect("the table"));
        assert_eq!(
            known[0].checkpoint.next_offset, sale.end,
            "what was seen is known all the same"
        );
        // Whoever makes the next one finds out, and begins anew from there.
        let mut maker = sale.make().await;
        let owner = sale.owner();
        for _ in 0..3 {
            maker.look_again(&owner).await.expect("looked");
        }
        while maker.fold.next_offset() < sale.end {
            maker.make(sale.end).await.expect("made");
        }
        assert_eq!(sale.loaded().await.book, sale.book);
    }

    #[tokio::test]
    async fn what_is_archived_leaves_the_snapshot_and_neighbours_become_one() {
        let mut sale = Fixture::open().await;
        for number in 0..6 {
            let id = format!("sale {number}");
            sale.offer(&id, 50_000).await;
            sale.grab(&id, 0..50_000).await;
            sale.handle(&id, vec![command::Body::Finish(FinishPromotion {})]).await;
        }
        sale.offer("on sale", 1_000).await;
        sale.grab("on sale", 0..10).await;
        sale.make().await;
        let before = sale.files().len();
        drop(sale.book.archive(i64::MAX));
        let mut maker = sale.make().await;
        let owner = sale.owner();
        for _ in 0..12 {
            maker.look_again(&owner).await.expect("looked");
        }
        let files = sale.files().len();
        assert!(files <= 3, "{files} of {before} files are left");
        assert!(maker.segments.len() <= 2, "{} segments", maker.segments.len());
        let loaded = sale.loaded().await.book;
        assert!(loaded.agrees_with(&sale.book));
        let archived = loaded.iter().filter(|(_, promotion)| promotion.is_archived()).count();
        assert!(archived >= 5, "{archived}");
        // Nothing that was deleted is named, and nothing that is not named is left.
        drop(maker);
        Maker::begin(&sale.log, 0, 9, RECORDS_BETWEEN).await.expect("a maker");
        assert_eq!(sale.files().len(), files);
    }

    /// The end of a promotion may be in a segment that is lost, and its beginning in one that has been
    /// written again without its coupons.
    #[tokio::test]
    async fn an_archived_promotion_stays_over_whichever_segment_is_lost() {
        let mut sale = Fixture::open().await;
        sale.offer("sold out", 120_000).await;
        sale.grab("sold out", 0..60_000).await;
        sale.offer("cancelled", 9).await;
        sale.grab("cancelled", 0..3).await;
        sale.grab("sold out", 60_000..120_000).await;
        sale.handle("sold out", vec![command::Body::Finish(FinishPromotion {})]).await;
        sale.handle("cancelled", vec![command::Body::Cancel(CancelPromotion {})]).await;
        sale.offer("on sale", 1_000_000).await;
        sale.grab("on sale", 0..150_000).await;
        drop(sale.book.archive(i64::MAX));
        let mut maker = sale.make().await;
        let owner = sale.owner();
        maker.look_again(&owner).await.expect("looked");
        let names: Vec<String> = maker.segments.iter().map(|part| part.name.clone()).collect();
        assert!(names.len() >= 3, "{names:?}");
        for name in names.iter().rev() {
            let file = sale.files().into_iter().find(|file| file.to_string_lossy().contains(name));
            std::fs::write(file.expect("a part"), b"something else").expect("written");
            let Snapshot { mut book, fold } = sale.loaded().await;
            let mut reader = sale.log.read(0, fold.next_offset()).await.expect("a reader");
            let mut fold = fold;
            while fold.next_offset() < sale.end {
                for (offset, record) in reader.next(STEP).await.expect("records") {
                    if let Folded::Event(event) = fold.step(offset, &record).expect("readable") {
                        book.apply(&event).expect("it fits");
                    }
                }
            }
            assert!(book.agrees_with(&sale.book), "without {name}");
            assert_eq!(book.wake(i64::MAX), [], "without {name}");
            let grab = GrabCoupon { customer_id: "late".into(), ..GrabCoupon::default() };
            for id in ["sold out", "cancelled"] {
                let body = Some(command::Body::Grab(grab.clone()));
                let command = Command { promotion_id: id.into(), body };
                assert_eq!(book.handle(&command, i64::MAX).events, [], "{id} without {name}");
            }
        }
    }

    #[tokio::test]
    async fn an_owner_that_says_nothing_keeps_nobody_waiting() {
        let mut sale = Fixture::open().await;
        sale.offer("p", 1_000_000).await;
        sale.grab("p", 0..250_000).await;
        let mut maker = sale.make().await;
        let (owner, _silent) = mpsc::channel(1);
        for _ in 0..2 {
            let looked = maker.look_again(&owner);
            let looked = tokio::time::timeout(ANSWER_TIMEOUT * 3, looked).await;
            looked.expect("in time").expect("looked");
        }
    }
}
