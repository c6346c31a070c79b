//! Moves a log of version 0.1, which was kept in fjall, into segments. The old one is kept beside it.
//!
//! Keyspace `events` there: partition and offset, big-endian, to record. Keyspace `about`: the
//! partition count. Snapshots are not moved: they are made again.

use std::fs;
use std::path::{Path, PathBuf};

use fjall::{Database, KeyspaceCreateOptions};

use crate::embedded::EmbeddedLog;
use crate::embedded::format::{self, cannot};
use crate::{Delivery, Log, LogError};

/// Records moved at once.
const BATCH: usize = 4_096;

/// What was moved.
#[derive(Debug)]
pub struct Upgraded {
    /// Records of each partition.
    pub records: Vec<u64>,
    /// Where the old log is kept.
    pub kept: PathBuf,
}

impl EmbeddedLog {
    /// Moves a log of version 0.1; nothing where the log is of this version.
    ///
    /// # Errors
    /// There is no log, it is in use, its offsets have a hole, or a file cannot be written. The old log
    /// is then where it was.
    pub async fn upgrade(directory: &Path) -> Result<Option<Upgraded>, LogError> {
        let (new, kept) = (upgrading(directory), directory.with_file_name("log.version-0.1"));
        if kept.exists() && new.exists() && !directory.exists() {
            // Cut off between the two renames of a try before.
            rename(&new, directory)?;
        }
        match format::read(directory) {
            Ok(Some(_)) => return Ok(None),
            Ok(None) => return Err(LogError::Absent(directory.to_owned())),
            Err(LogError::OldFormat(_)) => {}
            Err(error) => return Err(error),
        }
        if new.exists() {
            fs::remove_dir_all(&new).map_err(|error| cannot(&new, &error))?; // of a try before
        }
        let records = move_records(directory, &new).await?;
        rename(directory, &kept)?;
        rename(&new, directory)?;
        Ok(Some(Upgraded { records, kept }))
    }
}

/// Durably: the next start may write to what is there then.
fn rename(from: &Path, to: &Path) -> Result<(), LogError> {
    let renamed = fs::rename(from, to).and_then(|()| format::sync_parent(to));
    renamed.map_err(|error| cannot(to, &error))
}

/// Where a log is made of an old one. While this is there, no new log is to be made beside it.
pub(super) fn upgrading(directory: &Path) -> PathBuf {
    directory.with_file_name("log.upgrading")
}

async fn move_records(old: &Path, new: &Path) -> Result<Vec<u64>, LogError> {
    let database = Database::builder(old).open().map_err(|error| match error {
        fjall::Error::Locked => LogError::Locked(old.to_owned()),
        error => unreadable(old, &error),
    })?;
    let keyspace = |name| {
        let opened = database.keyspace(name, KeyspaceCreateOptions::default);
        opened.map_err(|error| unreadable(old, &error))
    };
    let (about, events) = (keyspace("about")?, keyspace("events")?);
    let count = about.get("partitions").map_err(|error| unreadable(old, &error))?;
    let count = count.and_then(|count| <[u8; 4]>::try_from(&*count).ok()).map(u32::from_be_bytes);
    let partitions = count.ok_or_else(|| unreadable(old, &"it does not tell its partitions"))?;
    let log = EmbeddedLog::open(new, Some(partitions))?;
    let mut moved = Vec::new();
    for partition in 0..partitions {
        let mut batch = Vec::with_capacity(BATCH);
        let mut next = 0;
        for entry in events.prefix(partition.to_be_bytes()) {
            let (key, record) = entry.into_inner().map_err(|error| unreadable(old, &error))?;
            let offset = key.get(4..).and_then(|offset| <[u8; 8]>::try_from(offset).ok());
            if offset.map(u64::from_be_bytes) != Some(next + batch.len() as u64) {
                return Err(unreadable(old, &format!("partition {partition} has a hole")));
            }
            batch.push(record.to_vec());
            if batch.len() == BATCH {
                next = append(&log, partition, next, std::mem::take(&mut batch)).await?;
            }
        }
        moved.push(append(&log, partition, next, batch).await?);
    }
    Ok(moved)
}

/// Appends records that must come to lie from `next` on; where the log ends then.
async fn append(
    log: &EmbeddedLog,
    partition: u32,
    next: u64,
    records: Vec<Vec<u8>>,
) -> Result<u64, LogError> {
    let end = next + records.len() as u64;
    let deliveries = log.append(partition, records).deliveries().await;
    if deliveries.into_iter().eq((next..end).map(Delivery::At)) {
        return Ok(end);
    }
    Err(LogError::Broken(format!("partition {partition} could not be written from {next} on")))
}

fn unreadable(directory: &Path, reason: &dyn std::fmt::Display) -> LogError {
    LogError::Broken(format!("{} cannot be read: {reason}", directory.display()))
}
