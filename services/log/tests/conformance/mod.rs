//! What every engine of the log must do. Each test gets a log of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use seckill_log::{Delivery, Entries, FeedRecord, Group, Log, Table};

pub(crate) type AnyLog = Arc<dyn Log>;

const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn records(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    range.map(|number| format!("record {number}").into_bytes()).collect()
}

pub(crate) fn at(range: std::ops::Range<u64>) -> Vec<Delivery> {
    range.map(Delivery::At).collect()
}

/// Reads until so many records have come.
pub(crate) async fn read(
    log: &AnyLog,
    partition: u32,
    from: u64,
    count: usize,
) -> Vec<(u64, Bytes)> {
    let mut reader = log.read(partition, from).await.expect("a reader");
    let (mut all, deadline) = (Vec::new(), Instant::now() + DEADLINE);
    while all.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records came", all.len());
        all.extend(reader.next(Duration::from_millis(200)).await.expect("a batch"));
    }
    all
}

pub(crate) async fn appends_get_dense_offsets_in_order(log: AnyLog) {
    assert_eq!(log.end(1).await.expect("an end"), 0);
    let first = log.append(1, records(0..3));
    let second = log.append(1, records(3..5));
    let other = log.append(0, records(0..1));
    assert_eq!(second.deliveries().await, at(3..5));
    assert_eq!(first.deliveries().await, at(0..3));
    assert_eq!(other.deliveries().await, at(0..1));
    assert_eq!(log.end(1).await.expect("an end"), 5);
    let found = read(&log, 1, 0, 5).await;
    let expected: Vec<(u64, Bytes)> =
        (0..).zip(records(0..5)).map(|(offset, record)| (offset, record.into())).collect();
    assert_eq!(found, expected);
}

pub(crate) async fn a_reader_begins_anywhere_and_follows(log: AnyLog) {
    log.append(0, records(0..10)).deliveries().await;
    let mut reader = log.read(0, 7).await.expect("a reader");
    let mut seen = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    let mut appended = false;
    while seen.len() < 5 {
        assert!(Instant::now() < deadline, "only {seen:?}");
        let batch = reader.next(Duration::from_millis(100)).await.expect("a batch");
        seen.extend(batch.into_iter().map(|(offset, _)| offset));
        if seen.len() == 3 && !appended {
            log.append(0, records(10..12)).deliveries().await;
            appended = true;
        }
    }
    assert_eq!(seen, [7, 8, 9, 10, 11]);
}

pub(crate) async fn a_reader_at_the_end_waits_and_gives_up_in_time(log: AnyLog) {
    let mut reader = log.read(0, 0).await.expect("a reader");
    let begun = Instant::now();
    let batch = reader.next(Duration::from_millis(150)).await.expect("a batch");
    assert!(batch.is_empty());
    assert!(begun.elapsed() < Duration::from_secs(5));
}

pub(crate) async fn many_records_come_back_whole(log: AnyLog) {
    let mut appends = Vec::new();
    for burst in 0..100_u32 {
        appends.push(log.append(2, records(burst * 200..(burst + 1) * 200)));
    }
    for (burst, append) in (0_u64..).zip(appends) {
        assert_eq!(append.deliveries().await, at(burst * 200..(burst + 1) * 200));
    }
    let found = read(&log, 2, 0, 20_000).await;
    assert!((0..).zip(&found).all(|(expected, (offset, _))| expected == *offset));
    assert_eq!(found[19_999].1, "record 19999");
}

pub(crate) async fn writers_side_by_side_lose_nothing(log: AnyLog) {
    let writers = (0..8).map(|writer| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for number in 0..50 {
                let record = format!("{writer}/{number}").into_bytes();
                let deliveries = log.append(0, vec![record]).deliveries().await;
                assert!(matches!(deliveries[..], [Delivery::At(_)]));
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer");
    }
    let found = read(&log, 0, 0, 400).await;
    let distinct: BTreeSet<&Bytes> = found.iter().map(|(_, record)| record).collect();
    assert_eq!((found.len(), distinct.len()), (400, 400));
}

pub(crate) async fn a_table_keeps_the_last_value_of_a_key(log: AnyLog) {
    let entry = |key: &str, value: &'static str| (key.to_owned(), Bytes::from(value));
    log.put(Table::Snapshots, 1, vec![entry("a", "1"), entry("b", "2")]).await.expect("put");
    log.put(Table::Snapshots, 1, vec![entry("a", "3")]).await.expect("put");
    log.put(Table::Owners, 1, vec![entry("a", "other table")]).await.expect("put");
    log.put(Table::Snapshots, 0, vec![entry("a", "other partition")]).await.expect("put");
    let mut found: Entries = log.scan(Table::Snapshots, 1).await.expect("a table");
    found.sort();
    assert_eq!(found, [entry("a", "3"), entry("b", "2")]);
    assert_eq!(log.scan(Table::Owners, 0).await.expect("an empty table"), []);
}

pub(crate) async fn a_lone_member_gets_every_partition(log: AnyLog) {
    let mut membership = log.join(Group::Command).await.expect("a membership");
    let all: BTreeSet<u32> = (0..log.partitions()).collect();
    let deadline = Instant::now() + DEADLINE;
    while membership.assigned() != all {
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::time::timeout(left, membership.changed()).await.expect("all partitions in time");
    }
}

fn fed(range: std::ops::Range<u32>) -> Vec<FeedRecord> {
    let record = |value| FeedRecord {
        key: "spring".to_owned(),
        headers: vec![("promotion", "spring".to_owned())],
        value,
    };
    records(range).into_iter().map(record).collect()
}

/// The offsets, and that the records are these.
async fn read_feed(log: &AnyLog, from: u64, limit: usize, expected: &[Vec<u8>]) -> Vec<u64> {
    let deadline = Instant::now() + DEADLINE;
    let read = loop {
        let read = log.feed().read(from, limit).await.expect("it is read");
        if read.len() >= expected.len() || Instant::now() > deadline {
            break read;
        }
        tokio::time::sleep(Duration::from_millis(20)).await; // what is committed is shown a moment later
    };
    let values: Vec<_> = read.iter().map(|(_, value)| value.to_vec()).collect();
    assert_eq!(values, expected);
    read.into_iter().map(|(offset, _)| offset).collect()
}

pub(crate) async fn the_feed_is_read_as_it_was_written(log: AnyLog) {
    let feed = log.feed();
    assert_eq!(feed.end().await.expect("an end"), 0);
    assert!(read_feed(&log, 0, 10, &[]).await.is_empty());
    let mut writer = feed.take_over().await.expect("a writer");
    let first = writer.append(fed(0..3)).await.expect("it is written");
    let second = writer.append(fed(3..5)).await.expect("it is written");
    assert!(first >= 3 && second >= first + 2, "{first}, {second}");
    let offsets = read_feed(&log, 0, 10, &records(0..5)).await;
    assert!(offsets.is_sorted() && offsets[0] == 0 && offsets[4] + 1 == second, "{offsets:?}");
    assert_eq!(read_feed(&log, 0, 2, &records(0..2)).await, offsets[..2]);
    assert_eq!(read_feed(&log, offsets[1] + 1, 2, &records(2..4)).await, offsets[2..4]);
    for beyond in [second, second + 1_000, u64::MAX / 2] {
        assert!(read_feed(&log, beyond, 10, &[]).await.is_empty());
    }
}

pub(crate) async fn only_who_took_the_feed_over_last_writes_it(log: AnyLog) {
    let feed = log.feed();
    let mut first = feed.take_over().await.expect("a writer");
    first.append(fed(0..2)).await.expect("it is written");
    let mut second = feed.take_over().await.expect("another writer");
    for _ in 0..2 {
        first.append(fed(7..9)).await.expect_err("it is not the writer any more");
    }
    second.append(fed(2..4)).await.expect("it is written");
    drop(first);
    second.append(fed(4..5)).await.expect("it is written");
    read_feed(&log, 0, 10, &records(0..5)).await;
}

/// The suite as tests; `$open` makes a fresh log with at least three partitions.
#[macro_export]
macro_rules! conformance {
    ($open:expr; $($name:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let (log, _kept) = $open.await;
            conformance::$name(log).await;
        }
    )*};
    ($open:expr) => {
        conformance! { $open;
            appends_get_dense_offsets_in_order
            a_reader_begins_anywhere_and_follows
            a_reader_at_the_end_waits_and_gives_up_in_time
            many_records_come_back_whole
            writers_side_by_side_lose_nothing
            a_table_keeps_the_last_value_of_a_key
            a_lone_member_gets_every_partition
            the_feed_is_read_as_it_was_written
            only_who_took_the_feed_over_last_writes_it
        }
    };
}
