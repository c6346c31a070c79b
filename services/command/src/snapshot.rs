//! Snapshots: the state of a partition at an offset, so that a takeover reads only what follows.
//!
//! Made beside the owner and never by it: from the snapshot before and the log since, up to what
//! has been confirmed. So no grab waits for a snapshot, and what it holds is durable.
//!
//! Two slots take turns. A snapshot counts when its manifest is there and names exactly its parts;
//! so one that was cut off, or written over by a second writer, is passed over.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use seckill_log::{Entries, Fold, Folded, Log, LogError, Table, is_of_this_log};
use seckill_promotion::{Book, Parts};
use seckill_proto::v1::{SnapshotManifest, SnapshotPart};
use tokio::sync::{Semaphore, watch};

use crate::takeover::{STEP, TakeoverError};

/// Events after which the next snapshot is made; more where there is more to write each time.
const EVENTS_BETWEEN: u64 = 50_000;

/// A state and how far it goes.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) book: Book,
    pub(crate) fold: Fold,
    /// Id of the fence at the fold's term: of which log this is a snapshot.
    fence_id: Vec<u8>,
    slot: Option<u8>,
}

/// The newest whole snapshot of a partition that is of this log; the empty one where there is none.
pub(crate) async fn load(log: &dyn Log, partition: u32) -> Result<Snapshot, LogError> {
    let entries = log.scan(Table::Snapshots, partition).await?;
    let newest = tokio::task::spawn_blocking(move || newest(&entries)).await;
    let Some(snapshot) = newest.map_err(|panic| LogError::Broken(panic.to_string()))? else {
        return Ok(Snapshot::default());
    };
    let is_its_fence = |fence_id: &[u8]| fence_id == snapshot.fence_id;
    if is_of_this_log(log, partition, &snapshot.fold, is_its_fence).await? {
        return Ok(snapshot);
    }
    tracing::error!(partition, "the log is not the one that the snapshot is of: left unused");
    Ok(Snapshot::default())
}

fn newest(entries: &Entries) -> Option<Snapshot> {
    let mut manifests: Vec<(u8, SnapshotManifest)> =
        (0..2).filter_map(|slot| Some((slot, manifest(entries, slot)?))).collect();
    manifests.sort_by_key(|(_, manifest)| std::cmp::Reverse(manifest.next_offset));
    manifests.into_iter().find_map(|(slot, manifest)| restore(entries, slot, &manifest))
}

fn manifest(entries: &Entries, slot: u8) -> Option<SnapshotManifest> {
    SnapshotManifest::decode(find(entries, &manifest_key(slot))?).ok()
}

fn restore(entries: &Entries, slot: u8, manifest: &SnapshotManifest) -> Option<Snapshot> {
    let parts = (0..).zip(&manifest.part_crcs).map(|(index, crc)| {
        let part = find(entries, &part_key(slot, index))?;
        (crc32fast::hash(&part) == *crc).then(|| SnapshotPart::decode(part).ok())?
    });
    let parts = parts.collect::<Option<Vec<_>>>()?;
    let book = Parts::into_book(parts, manifest.at_ms).ok()?;
    let fold = Fold::resume(manifest.next_offset, manifest.term, manifest.next_seq);
    Some(Snapshot { book, fold, fence_id: manifest.fence_id.clone(), slot: Some(slot) })
}

fn find(entries: &Entries, key: &str) -> Option<Bytes> {
    entries.iter().find(|(found, _)| found == key).map(|(_, value)| value.clone())
}

fn manifest_key(slot: u8) -> String {
    format!("{slot}/manifest")
}

fn part_key(slot: u8, index: u32) -> String {
    format!("{slot}/{index:08}")
}

/// Writes a state into the slot that the snapshot before it does not have. Part by part, so that
/// events need not wait behind a whole snapshot. Gives the slot and how much there was to write.
async fn write(
    log: &dyn Log,
    partition: u32,
    snapshot: Snapshot,
) -> Result<(u8, u64), TakeoverError> {
    let slot = snapshot.slot.map_or(0, |slot| 1 - slot);
    let size = snapshot.book.size();
    let mut manifest = SnapshotManifest {
        next_offset: snapshot.fold.next_offset(),
        term: snapshot.fold.term(),
        next_seq: snapshot.fold.next_seq(),
        at_ms: snapshot.book.at_ms(),
        part_crcs: Vec::new(),
        fence_id: snapshot.fence_id.clone(),
    };
    let parts = tokio::task::spawn_blocking(move || encode(&snapshot.book)).await;
    let parts = parts.map_err(|panic| LogError::Broken(panic.to_string()))?;
    for (index, part) in (0..).zip(parts) {
        manifest.part_crcs.push(crc32fast::hash(&part));
        log.put(Table::Snapshots, partition, vec![(part_key(slot, index), part)]).await?;
    }
    let manifest = (manifest_key(slot), Bytes::from(manifest.encode_to_vec()));
    log.put(Table::Snapshots, partition, vec![manifest]).await?;
    Ok((slot, size))
}

fn encode(book: &Book) -> Vec<Bytes> {
    Parts::of(book).iter().map(|part| Bytes::from(part.encode_to_vec())).collect()
}

/// Makes snapshots of a partition as its confirmed offset grows, one partition at a time.
pub(crate) async fn keep_making(
    log: Arc<dyn Log>,
    partition: u32,
    mut confirmed: watch::Receiver<u64>,
    turn: Arc<Semaphore>,
) {
    let (mut covered, mut between) = (None, EVENTS_BETWEEN);
    loop {
        let offset = *confirmed.borrow_and_update();
        let due = *covered.get_or_insert(offset) + between;
        if offset >= due {
            let Ok(_turn) = turn.acquire().await else { return };
            match make(&*log, partition, offset).await {
                Ok(size) => between = EVENTS_BETWEEN.max(size),
                Err(error) => tracing::warn!(%error, partition, "no snapshot was made"),
            }
            covered = Some(offset);
        }
        if confirmed.changed().await.is_err() {
            return;
        }
    }
}

/// Makes one, up to a confirmed offset; how much it holds.
async fn make(log: &dyn Log, partition: u32, confirmed: u64) -> Result<u64, TakeoverError> {
    let mut snapshot = load(log, partition).await?;
    if confirmed < snapshot.fold.next_offset() + EVENTS_BETWEEN {
        return Ok(snapshot.book.size()); // as good as new, after a restart
    }
    let mut reader = log.read(partition, snapshot.fold.next_offset()).await?;
    while snapshot.fold.next_offset() < confirmed {
        for (offset, record) in reader.next(STEP).await? {
            if offset >= confirmed {
                break;
            }
            match snapshot.fold.step(offset, &record)? {
                Folded::Event(event) => snapshot.book.apply(&event)?,
                Folded::Fence(fence) => snapshot.fence_id = fence.fence_id,
                Folded::Void => {}
            }
        }
        tokio::task::yield_now().await;
    }
    let (_, size) = write(log, partition, snapshot).await?;
    metrics::counter!("seckill_snapshots_total").increment(1);
    Ok(size)
}

#[cfg(test)]
mod tests {
    use seckill_log::embedded::EmbeddedLog;
    use seckill_proto::encode_fence;
    use seckill_proto::v1::{Command, Fence, GrabCoupon, SchedulePromotion, Terms, command};

    use super::*;

    fn book(grabs: u32) -> Book {
        let mut book = Book::default();
        let terms = Terms {
            name: "a sale".into(),
            coupons: 1_000_000,
            discount: 0.5,
            starts_at_ms: 1,
            finishes_at_ms: None,
            limit_per_customer: 1,
        };
        let schedule = command::Body::Schedule(SchedulePromotion { terms: Some(terms) });
        book.handle(&Command { promotion_id: "p".into(), body: Some(schedule) }, 5);
        for number in 0..grabs {
            let grab =
                GrabCoupon { customer_id: format!("customer {number}"), ..GrabCoupon::default() };
            let body = Some(command::Body::Grab(grab));
            book.handle(&Command { promotion_id: "p".into(), body }, 5);
        }
        book
    }

    fn snapshot(grabs: u32, next_offset: u64, slot: Option<u8>) -> Snapshot {
        let fold = Fold::resume(next_offset, Some(0), 7);
        Snapshot { book: book(grabs), fold, fence_id: vec![5; 16], slot }
    }

    /// A log of one partition that begins with a fence of this id.
    async fn log(directory: &std::path::Path, fence_id: u8) -> EmbeddedLog {
        let log = EmbeddedLog::open(directory, Some(1)).expect("a log");
        let fence = Fence { fence_id: vec![fence_id; 16], ..Fence::default() };
        log.append(0, vec![encode_fence(fence); 40_000]).deliveries().await;
        log
    }

    #[tokio::test]
    async fn the_newest_whole_snapshot_is_loaded() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = log(directory.path(), 5).await;
        assert_eq!(load(&log, 0).await.expect("none").book, Book::default());

        let (first, _) = write(&log, 0, snapshot(10, 100, None)).await.expect("written");
        let second = snapshot(30_000, 40_000, Some(first));
        let (second, _) = write(&log, 0, second).await.expect("written");
        assert_ne!(first, second);
        let loaded = load(&log, 0).await.expect("a snapshot");
        assert_eq!(loaded.fold, Fold::resume(40_000, Some(0), 7));
        assert_eq!(loaded.book, book(30_000));

        // A second writer damages a part of the newer one: the older one counts.
        let damage = vec![(part_key(second, 1), Bytes::from_static(b"something else"))];
        log.put(Table::Snapshots, 0, damage).await.expect("put");
        assert_eq!(load(&log, 0).await.expect("a snapshot").book, book(10));
    }

    #[tokio::test]
    async fn a_snapshot_of_another_log_is_left_unused() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = log(directory.path(), 6).await;
        write(&log, 0, snapshot(10, 100, None)).await.expect("written");
        assert_eq!(load(&log, 0).await.expect("none").book, Book::default());
        let beyond = Snapshot { fence_id: vec![6; 16], ..snapshot(10, 40_001, None) };
        write(&log, 0, beyond).await.expect("written");
        assert_eq!(load(&log, 0).await.expect("none").book, Book::default());
    }
}
