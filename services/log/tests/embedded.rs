//! The embedded engine.

mod conformance;

use std::sync::Arc;

use conformance::{AnyLog, at, read, records};
use seckill_log::LogError;
use seckill_log::embedded::EmbeddedLog;
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
async fn a_second_opening_of_the_directory_says_why_not() {
    let (_log, directory) = fresh().await;
    let error = EmbeddedLog::open(directory.path(), None).map(|_| ()).expect_err("an error");
    assert!(matches!(error, LogError::Locked(_)), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
}
