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
use seckill_log::{Entries, Fold, Folded, Log, LogError, Table, Witness};
use seckill_promotion::{Book, Parts};
use seckill_proto::v1::{Checkpoint, SnapshotManifest, SnapshotPart};
use tokio::sync::{Semaphore, watch};

use crate::takeover::{STEP, TakeoverError, assert_there};

/// Events after which the next snapshot is made; more where there is more to write each time.
const EVENTS_BETWEEN: u64 = 50_000;

/// A state and how far it goes.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) book: Book,
    pub(crate) fold: Fold,
    slot: Option<u8>,
}

/// What the table of snapshots holds of a partition.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    /// The newest whole one; the empty one where there is none.
    pub(crate) newest: Snapshot,
    /// What their manifests know of the log, whole or not.
    pub(crate) witnesses: Vec<Witness>,
}

/// The snapshots of a partition. Whether they are of this log is for the caller to find out.
pub(crate) async fn load(log: &dyn Log, partition: u32) -> Result<Snapshots, LogError> {
    let entries = log.scan(Table::Snapshots, partition).await?;
    let snapshots = tokio::task::spawn_blocking(move || snapshots(&entries)).await;
    snapshots.map_err(|panic| LogError::Broken(panic.to_string()))
}

/// The newest whole snapshot of a partition, for whoever compares it with the log.
///
/// # Errors
/// The table of snapshots cannot be read.
pub async fn newest_snapshot(
    log: &dyn Log,
    partition: u32,
) -> Result<Option<(Checkpoint, Book)>, LogError> {
    let Snapshot { book, fold, slot } = load(log, partition).await?.newest;
    Ok(slot.map(|_| (fold.checkpoint(), book)))
}

fn snapshots(entries: &Entries) -> Snapshots {
    let mut manifests: Vec<(u8, Checkpoint, SnapshotManifest)> = (0..2)
        .filter_map(|slot| {
            let manifest = manifest(entries, slot)?;
            Some((slot, manifest.checkpoint.clone()?, manifest))
        })
        .collect();
    manifests.sort_by_key(|(_, checkpoint, _)| std::cmp::Reverse(checkpoint.next_offset));
    let witnesses = manifests.iter().map(|(_, seen, _)| Witness::new("a snapshot", seen.clone()));
    let witnesses = witnesses.collect();
    let newest = manifests
        .into_iter()
        .find_map(|(slot, checkpoint, manifest)| restore(entries, slot, &checkpoint, &manifest));
    Snapshots { newest: newest.unwrap_or_default(), witnesses }
}

fn manifest(entries: &Entries, slot: u8) -> Option<SnapshotManifest> {
    SnapshotManifest::decode(find(entries, &manifest_key(slot))?).ok()
}

fn restore(
    entries: &Entries,
    slot: u8,
    checkpoint: &Checkpoint,
    manifest: &SnapshotManifest,
) -> Option<Snapshot> {
    let parts = (0..).zip(&manifest.part_crcs).map(|(index, crc)| {
        let part = find(entries, &part_key(slot, index))?;
        (crc32fast::hash(&part) == *crc).then(|| SnapshotPart::decode(part).ok())?
    });
    let parts = parts.collect::<Option<Vec<_>>>()?;
    let book = Parts::into_book(parts, manifest.at_ms).ok()?;
    Some(Snapshot { book, fold: Fold::resume(checkpoint), slot: Some(slot) })
}

fn find(entries: &Entries, key: &str) -> Option<Bytes> {
    entries.iter().find(|(found, _)| found == key).map(|(_, value)| value.clone())
}

pub(crate) fn manifest_keys() -> [String; 2] {
    [0, 1].map(manifest_key)
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
        at_ms: snapshot.book.at_ms(),
        part_crcs: Vec::new(),
        checkpoint: Some(snapshot.fold.checkpoint()),
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
    mut confirmed: watch::Receiver<Checkpoint>,
    turn: Arc<Semaphore>,
) {
    let (mut covered, mut between) = (None, EVENTS_BETWEEN);
    loop {
        let offset = confirmed.borrow_and_update().next_offset;
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
    let mut snapshot = load(log, partition).await?.newest;
    if confirmed < snapshot.fold.next_offset() + EVENTS_BETWEEN {
        return Ok(snapshot.book.size()); // as good as new, after a restart
    }
    let mut reader = log.read(partition, snapshot.fold.next_offset()).await?;
    while snapshot.fold.next_offset() < confirmed {
        let records = reader.next(STEP).await?;
        assert_there(log, partition, snapshot.fold.next_offset(), records.is_empty()).await?;
        for (offset, record) in records {
            if offset >= confirmed {
                break;
            }
            match snapshot.fold.step(offset, &record)? {
                Folded::Event(event) => snapshot.book.apply(&event)?,
                Folded::Fence(fence) => {
                    fence.clock_ms.into_iter().for_each(|at_ms| snapshot.book.reset_clock(at_ms));
                }
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
    use seckill_proto::v1::{Command, GrabCoupon, SchedulePromotion, Terms, command};

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
        Snapshot { book: book(grabs), fold: fold(next_offset), slot }
    }

    fn fold(next_offset: u64) -> Fold {
        Fold::resume(&Checkpoint { next_offset, term: Some(0), ..Checkpoint::default() })
    }

    #[tokio::test]
    async fn the_newest_whole_snapshot_is_loaded() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = EmbeddedLog::open(directory.path(), Some(1)).expect("a log");
        assert_eq!(load(&log, 0).await.expect("none").newest.book, Book::default());

        let (first, _) = write(&log, 0, snapshot(10, 100, None)).await.expect("written");
        let second = snapshot(30_000, 40_000, Some(first));
        let (second, _) = write(&log, 0, second).await.expect("written");
        assert_ne!(first, second);
        let loaded = load(&log, 0).await.expect("a snapshot");
        assert_eq!(loaded.newest.fold, fold(40_000));
        assert_eq!(loaded.newest.book, book(30_000));

        // A second writer damages a part of the newer one: the older one counts, and what the newer
        // one has seen of the log is still known.
        let damage = vec![(part_key(second, 1), Bytes::from_static(b"something else"))];
        log.put(Table::Snapshots, 0, damage).await.expect("put");
        let loaded = load(&log, 0).await.expect("a snapshot");
        assert_eq!(loaded.newest.book, book(10));
        assert_eq!(loaded.witnesses[0].checkpoint.next_offset, 40_000);
    }
}
