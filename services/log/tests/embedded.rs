//! The embedded engine.

mod conformance;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use conformance::{AnyLog, at, read, records};
use seckill_log::embedded::EmbeddedLog;
use seckill_log::{Delivery, LogError, Table};
use tempfile::TempDir;

async fn fresh() -> (AnyLog, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let log = EmbeddedLog::open(directory.path(), Some(3)).expect("a log");
    (Arc::new(log), directory)
}

conformance!(fresh());

#[tokio::test]
async fn a_log_opened_again_goes_on_where_it_was() {
    let (log, directory) = fresh().await;
    log.append(1, records(0..3)).deliveries().await;
    drop(log);
    let log: AnyLog = Arc::new(EmbeddedLog::open(directory.path(), None).expect("a log"));
    assert_eq!(log.partitions(), 3);
    assert_eq!(log.append(1, records(3..4)).deliveries().await, at(3..4));
    assert_eq!(read(&log, 1, 0, 4).await[3].1, "record 3");
}

#[tokio::test]
async fn the_partition_count_cannot_change() {
    let (log, directory) = fresh().await;
    drop(log);
    let error = EmbeddedLog::open(directory.path(), Some(4)).map(|_| ()).expect_err("an error");
    assert!(matches!(error, LogError::OtherPartitions { found: 3, asked: 4 }), "{error}");
}

#[tokio::test]
async fn a_first_start_that_was_cut_off_is_begun_again() {
    let (log, directory) = fresh().await;
    drop(log);
    let files: Vec<_> = files(directory.path()).into_keys().collect();
    std::fs::remove_file(directory.path().join("format")).expect("removed");
    for file in files.iter().filter(|file| file.to_string_lossy().contains("partition-0002")) {
        std::fs::remove_file(file).expect("removed");
    }
    let log: AnyLog = Arc::new(EmbeddedLog::open(directory.path(), Some(3)).expect("a log"));
    assert_eq!(log.append(2, records(0..3)).deliveries().await, at(0..3));
    drop(log);
    std::fs::remove_file(directory.path().join("format")).expect("removed");
    let refused = EmbeddedLog::open(directory.path(), Some(3)).map(|_| ()).expect_err("an error");
    assert!(matches!(refused, LogError::Damaged(_)), "{refused}");
}

#[tokio::test]
async fn what_a_killed_process_was_writing_into_a_table_is_deleted() {
    let (log, directory) = fresh().await;
    let entry = vec![("a-key".to_owned(), bytes::Bytes::from_static(b"a value"))];
    log.put(Table::Snapshots, 1, entry.clone()).await.expect("put");
    drop(log);
    let left = directory.path().join("tables/snapshots/0001/7.new");
    std::fs::write(&left, b"half").expect("written");
    let log = EmbeddedLog::open(directory.path(), None).expect("a log");
    assert!(!left.exists());
    assert_eq!(seckill_log::Log::scan(&log, Table::Snapshots, 1).await.expect("read"), entry);
}

#[tokio::test]
async fn a_second_opening_of_the_directory_says_why_not() {
    let (_log, directory) = fresh().await;
    let error = EmbeddedLog::open(directory.path(), None).map(|_| ()).expect_err("an error");
    assert!(matches!(error, LogError::Locked(_)), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
}

/// Every file below a directory, with its bytes.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![directory.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.clone(), std::fs::read(path).expect("bytes"));
            }
        }
    }
    files
}

fn put_back(before: &BTreeMap<PathBuf, Vec<u8>>) {
    for (path, bytes) in before {
        std::fs::write(path, bytes).expect("written");
    }
}

/// A closed log whose partition 0 has nine records in three batches.
async fn closed() -> (TempDir, PathBuf) {
    let (log, directory) = fresh().await;
    for batch in 0..3 {
        log.append(0, records(batch * 3..batch * 3 + 3)).deliveries().await;
    }
    drop(log);
    let segment = directory.path().join("partition-0000/00000000000000000000.segment");
    (directory, segment)
}

/// Opens a log that something was done to. It has everything, or refuses and changes nothing.
async fn opens_whole_or_refuses(directory: &Path, what: &str) -> Option<LogError> {
    let before = files(directory);
    match EmbeddedLog::open(directory, None) {
        Ok(log) => {
            let log: AnyLog = Arc::new(log);
            let found = read(&log, 0, 0, 9).await;
            let whole = found.iter().zip(records(0..9)).all(|((_, found), wrote)| *found == wrote);
            assert!(whole && log.end(0).await.expect("an end") == 9, "{what}: {found:?}");
            None
        }
        Err(error) => {
            assert!(files(directory) == before, "{what}: refused, and files were changed");
            Some(error)
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_is_refused_with_its_place() {
    let (directory, segment) = closed().await;
    let before = files(directory.path());
    let written = before[&segment].iter().rposition(|byte| *byte != 0).expect("bytes");
    for position in (0..=written).step_by(3) {
        let mut bytes = before[&segment].clone();
        bytes[position] ^= 1 << (position % 8);
        std::fs::write(&segment, bytes).expect("written");
        let error = opens_whole_or_refuses(directory.path(), &format!("byte {position}")).await;
        let Some(LogError::Damaged(damage)) = error else { panic!("byte {position}: {error:?}") };
        assert!(damage.file == segment && damage.position <= position as u64, "{damage}");
    }
    put_back(&before);
    assert!(opens_whole_or_refuses(directory.path(), "put back").await.is_none());
}

#[tokio::test]
async fn an_end_that_is_cut_off_is_refused_and_says_how_much_is_missing() {
    let (directory, segment) = closed().await;
    let before = files(directory.path());
    let written = before[&segment].iter().rposition(|byte| *byte != 0).expect("bytes");
    for length in 0..=written {
        std::fs::write(&segment, &before[&segment][..length]).expect("written");
        let error = opens_whole_or_refuses(directory.path(), &format!("{length} bytes")).await;
        assert!(matches!(error, Some(LogError::Damaged(_))), "{length} bytes: {error:?}");
        if length == written {
            let text = error.expect("an error").to_string();
            assert!(text.contains("3 acknowledged records") && text.contains("offset 6"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_page_of_zeros_and_junk_in_the_middle_are_refused() {
    let (directory, segment) = closed().await;
    let before = files(directory.path());
    for (from, to, byte) in [(0, 4_096, 0), (60, 130, 0), (60, 130, 0xFF), (130, 131, 7)] {
        let mut bytes = before[&segment].clone();
        bytes[from..to].fill(byte);
        std::fs::write(&segment, bytes).expect("written");
        let error = opens_whole_or_refuses(directory.path(), &format!("{from}..{to}")).await;
        assert!(matches!(error, Some(LogError::Damaged(_))), "{from}..{to}: {error:?}");
    }
}

#[tokio::test]
async fn what_was_never_acknowledged_is_cut() {
    let (directory, segment) = closed().await;
    let before = files(directory.path());
    let written = before[&segment].iter().rposition(|byte| *byte != 0).expect("bytes") + 1;
    let torn = [b"SKB1".as_slice(), &[7; 90]].concat();
    for length in 1..torn.len() {
        let mut bytes = before[&segment].clone();
        bytes[written..written + length].copy_from_slice(&torn[..length]);
        std::fs::write(&segment, bytes).expect("written");
        let what = format!("{length} torn bytes");
        assert!(opens_whole_or_refuses(directory.path(), &what).await.is_none(), "{what}");
    }
}

#[tokio::test]
async fn a_deleted_file_is_noticed_or_made_anew() {
    let (directory, _) = closed().await;
    let before = files(directory.path());
    for (path, bytes) in &before {
        std::fs::remove_file(path).expect("removed");
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let error = opens_whole_or_refuses(directory.path(), name).await;
        // The lock and the marks are made anew; nothing else can be.
        let harmless = ["lock", "high-water"].contains(&name);
        assert_eq!(error.is_none(), harmless, "{}: {error:?}", path.display());
        std::fs::write(path, bytes).expect("written");
        put_back(&before);
    }
    for (path, _) in
        before.iter().filter(|(path, _)| path.extension().is_none() && !path.ends_with("lock"))
    {
        std::fs::remove_file(path).expect("removed"); // format and every mark
    }
    let error = opens_whole_or_refuses(directory.path(), "format and marks").await;
    assert!(matches!(error, Some(LogError::Damaged(_))), "{error:?}");
    put_back(&before);
    let folder = directory.path().join("partition-0001");
    std::fs::remove_dir_all(folder).expect("removed");
    let error = opens_whole_or_refuses(directory.path(), "a folder").await;
    assert!(matches!(error, Some(LogError::Damaged(_))), "{error:?}");
}

/// Without the mark nobody knows whether the last batch was acknowledged: it is not cut.
#[tokio::test]
async fn a_damaged_end_without_its_mark_is_refused_and_left_as_it_is() {
    let (directory, segment) = closed().await;
    let mark = segment.with_file_name("high-water");
    let mut bytes = std::fs::read(&segment).expect("bytes");
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("records");
    bytes[last] ^= 1;
    std::fs::write(&segment, &bytes).expect("written");
    for junk in [None, Some(vec![9; 60])] {
        std::fs::remove_file(&mark).expect("removed");
        junk.iter().for_each(|junk| std::fs::write(&mark, junk).expect("written"));
        let error = opens_whole_or_refuses(directory.path(), "no mark").await;
        let said = error.expect("refused").to_string();
        assert!(said.contains("without its high-water mark"), "{said}");
        assert_eq!(std::fs::read(&segment).expect("bytes"), bytes, "nothing was changed");
        std::fs::write(&mark, b"").expect("written");
    }
}

#[tokio::test]
async fn reading_only_changes_nothing_and_makes_nothing() {
    let (directory, _) = closed().await;
    let before = files(directory.path());
    let log: AnyLog = Arc::new(EmbeddedLog::open_read_only(directory.path()).expect("a log"));
    assert_eq!(read(&log, 0, 0, 9).await.len(), 9);
    assert_eq!(log.append(0, records(0..1)).deliveries().await, [Delivery::Unknown]);
    let entry = ("a".to_owned(), bytes::Bytes::from_static(b"1"));
    assert!(log.put(Table::Owners, 0, vec![entry]).await.is_err());
    assert!(EmbeddedLog::open(directory.path(), None).is_err(), "it is in use");
    drop(log);
    assert!(files(directory.path()) == before);
    let nowhere = directory.path().join("nowhere");
    let error = EmbeddedLog::open_read_only(&nowhere).map(|_| ()).expect_err("nothing is there");
    assert!(matches!(error, LogError::Absent(_)) && !nowhere.exists(), "{error}");
}

#[tokio::test]
async fn a_log_goes_on_over_many_segments() {
    let (log, directory) = fresh().await;
    let record = |number: u64| [&number.to_be_bytes()[..], &[7; 2_000]].concat();
    let mut appends = Vec::new();
    for burst in 0..50 {
        let burst = (burst * 1_000..(burst + 1) * 1_000).map(record).collect();
        appends.push(log.append(2, burst));
    }
    for append in appends {
        append.deliveries().await;
    }
    drop(log);
    let segments = std::fs::read_dir(directory.path().join("partition-0002")).expect("a folder");
    assert!(segments.count() > 3, "the log has rolled");
    let log: AnyLog = Arc::new(EmbeddedLog::open(directory.path(), None).expect("a log"));
    assert_eq!(log.end(2).await.expect("an end"), 50_000);
    let found = read(&log, 2, 12_345, 50_000 - 12_345).await;
    for (expected, (offset, bytes)) in (12_345..).zip(found) {
        assert!(offset == expected && bytes == record(expected), "{expected}");
    }
    drop(log);
    let first = directory.path().join("partition-0002/00000000000000000000.segment");
    let length = std::fs::metadata(&first).expect("a file").len();
    File::options().write(true).open(&first).expect("a file").set_len(length - 9).expect("cut");
    let error = EmbeddedLog::open(directory.path(), None).map(|_| ()).expect_err("cut");
    assert!(matches!(&error, LogError::Damaged(damage) if damage.file == first), "{error}");
    File::options().write(true).open(&first).expect("a file").set_len(length).expect("put back");
    let folder = directory.path().join("partition-0002");
    let mut segments: Vec<PathBuf> = files(&folder).into_keys().collect();
    segments.retain(|path| path.extension().is_some());
    std::fs::remove_file(&segments[1]).expect("removed");
    let error = EmbeddedLog::open(directory.path(), None).map(|_| ()).expect_err("one is missing");
    assert!(matches!(&error, LogError::Damaged(damage) if damage.file == segments[1]), "{error}");
}

#[tokio::test]
async fn a_log_whose_directory_is_deleted_acknowledges_nothing_more() {
    let (log, directory) = fresh().await;
    log.append(0, records(0..3)).deliveries().await;
    std::fs::remove_dir_all(directory.path()).expect("removed");
    assert_eq!(log.append(0, records(3..4)).deliveries().await, [Delivery::Unknown]);
    let failed = tokio::time::timeout(Duration::from_secs(2), log.failed()).await;
    let text = failed.expect("it is noticed").to_string();
    assert!(text.contains("deleted"), "{text}");
    assert!(matches!(log.end(0).await, Err(LogError::Failed(_))));
}

#[tokio::test]
async fn a_deleted_directory_is_noticed_while_nothing_is_written() {
    let (log, directory) = fresh().await;
    std::fs::rename(directory.path(), directory.path().with_extension("moved")).expect("moved");
    let failed = tokio::time::timeout(Duration::from_secs(2), log.failed()).await;
    assert!(failed.is_ok(), "it is noticed");
    std::fs::remove_dir_all(directory.path().with_extension("moved")).expect("removed");
}

/// A log as version 0.1 wrote it: two partitions, with so many records each.
fn version_0_1(directory: &Path, records: u64) {
    let database = fjall::Database::builder(directory).open().expect("a database");
    let keyspace = |name| database.keyspace(name, Default::default).expect("a keyspace");
    let (about, events) = (keyspace("about"), keyspace("events"));
    about.insert("partitions", 2_u32.to_be_bytes()).expect("written");
    for (partition, offset) in (0..2_u32).flat_map(|p| (0..records).map(move |o| (p, o))) {
        let key = [&partition.to_be_bytes()[..], &offset.to_be_bytes()].concat();
        events.insert(key, format!("record {offset}")).expect("written");
    }
}

#[tokio::test]
async fn a_log_of_the_first_version_is_moved_by_one_call() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("log");
    version_0_1(&directory, 10_000);
    let error = EmbeddedLog::open(&directory, None).map(|_| ()).expect_err("an old log");
    let LogError::OldFormat(_) = error else { panic!("{error}") };
    assert!(error.to_string().contains("seckill upgrade"), "{error}");
    let upgraded = EmbeddedLog::upgrade(&directory).await.expect("moved").expect("an old one");
    assert_eq!(upgraded.records, [10_000, 10_000]);
    assert!(upgraded.kept.join("keyspaces").is_dir());
    // Cut off between its two renames: nothing is made in its place, and the next try goes on.
    let cut_off = parent.path().join("log.upgrading");
    std::fs::rename(&directory, &cut_off).expect("renamed");
    let error = EmbeddedLog::open(&directory, None).map(|_| ()).expect_err("cut off");
    assert!(matches!(error, LogError::OldFormat(_)), "{error}");
    assert!(EmbeddedLog::upgrade(&directory).await.expect("finished").is_none());
    let log: AnyLog = Arc::new(EmbeddedLog::open(&directory, None).expect("a log"));
    assert_eq!(read(&log, 1, 0, 10_000).await[9_999].1, "record 9999");
    drop(log);
    assert!(EmbeddedLog::upgrade(&directory).await.expect("nothing to do").is_none());
}
