//! What lies where in the directory.
//!
//! Keyspace `events`: partition and offset, big-endian, to record. Keyspace `tables`: table,
//! partition and key, to value. Keyspace `about`: the partition count.

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tokio::sync::watch;

use crate::embedded::{DEFAULT_PARTITIONS, Records};
use crate::{Entries, LogError, Table};

const PARTITIONS: &str = "partitions";

pub(super) struct Store {
    database: Database,
    events: Keyspace,
    tables: Keyspace,
    /// Per partition: the offset that the next durable record gets.
    ends: Vec<watch::Sender<u64>>,
}

impl Store {
    pub(super) fn open(directory: &Path, partitions: Option<u32>) -> Result<Self, LogError> {
        let database = Database::builder(directory).open().map_err(|error| match error {
            fjall::Error::Locked => LogError::Locked(directory.to_owned()),
            error => broken(&error),
        })?;
        let keyspace = |name| {
            database.keyspace(name, KeyspaceCreateOptions::default).map_err(|error| broken(&error))
        };
        let (about, events, tables) =
            (keyspace("about")?, keyspace("events")?, keyspace("tables")?);
        let partitions = settle_partitions(&database, &about, partitions)?;
        let mut ends = Vec::new();
        for partition in 0..partitions {
            ends.push(watch::Sender::new(last_offset(&events, partition)?.map_or(0, |o| o + 1)));
        }
        Ok(Self { database, events, tables, ends })
    }

    pub(super) fn partitions(&self) -> u32 {
        u32::try_from(self.ends.len()).expect("made from a u32")
    }

    pub(super) fn end(&self, partition: u32) -> &watch::Sender<u64> {
        &self.ends[partition as usize]
    }

    /// Reads records of a partition; the range must lie before its end.
    pub(super) fn read(&self, partition: u32, offsets: Range<u64>) -> Result<Records, LogError> {
        let (from, to) = (event_key(partition, offsets.start), event_key(partition, offsets.end));
        let mut records = Vec::new();
        for entry in self.events.range(from..to) {
            let (key, value) = entry.into_inner().map_err(|error| broken(&error))?;
            records.push((offset_of(&key)?, Bytes::copy_from_slice(&value)));
        }
        Ok(records)
    }

    pub(super) fn scan(&self, table: Table, partition: u32) -> Result<Entries, LogError> {
        let prefix = table_prefix(table, partition);
        let mut entries = Vec::new();
        for entry in self.tables.prefix(&prefix) {
            let (key, value) = entry.into_inner().map_err(|error| broken(&error))?;
            let key = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
            entries.push((key, Bytes::copy_from_slice(&value)));
        }
        Ok(entries)
    }

    pub(super) fn batch(&self) -> Batch<'_> {
        Batch { store: self, batch: self.database.batch().durability(Some(PersistMode::SyncData)) }
    }
}

/// Writes that become durable together, with one fsync, or not at all.
pub(super) struct Batch<'a> {
    store: &'a Store,
    batch: fjall::OwnedWriteBatch,
}

impl Batch<'_> {
    pub(super) fn event(&mut self, partition: u32, offset: u64, record: Vec<u8>) {
        self.batch.insert(&self.store.events, event_key(partition, offset), record);
    }

    pub(super) fn entry(&mut self, table: Table, partition: u32, key: &str, value: &[u8]) {
        let mut full_key = table_prefix(table, partition);
        full_key.extend_from_slice(key.as_bytes());
        self.batch.insert(&self.store.tables, full_key, value);
    }

    pub(super) fn commit(self) -> Result<(), LogError> {
        self.batch.commit().map_err(|error| broken(&error))
    }
}

fn settle_partitions(
    database: &Database,
    about: &Keyspace,
    asked: Option<u32>,
) -> Result<u32, LogError> {
    let found = about.get(PARTITIONS).map_err(|error| broken(&error))?;
    let Some(found) = found else {
        let partitions = asked.unwrap_or(DEFAULT_PARTITIONS);
        let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(about, PARTITIONS, partitions.to_be_bytes());
        batch.commit().map_err(|error| broken(&error))?;
        return Ok(partitions);
    };
    let found = <[u8; 4]>::try_from(&*found)
        .map_err(|_| LogError::Broken("the partition count is damaged".into()))?;
    let found = u32::from_be_bytes(found);
    match asked {
        Some(asked) if asked != found => Err(LogError::OtherPartitions { found, asked }),
        Some(_) | None => Ok(found),
    }
}

fn last_offset(events: &Keyspace, partition: u32) -> Result<Option<u64>, LogError> {
    let all = event_key(partition, 0)..=event_key(partition, u64::MAX);
    let Some(last) = events.range(all).next_back() else { return Ok(None) };
    offset_of(&last.key().map_err(|error| broken(&error))?).map(Some)
}

fn event_key(partition: u32, offset: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..].copy_from_slice(&offset.to_be_bytes());
    key
}

fn offset_of(key: &[u8]) -> Result<u64, LogError> {
    let offset = key.get(4..).and_then(|offset| <[u8; 8]>::try_from(offset).ok());
    offset.map(u64::from_be_bytes).ok_or_else(|| LogError::Broken("a damaged key".into()))
}

fn table_prefix(table: Table, partition: u32) -> Vec<u8> {
    let tag = match table {
        Table::Snapshots => b's',
        Table::Owners => b'o',
    };
    let mut prefix = vec![tag];
    prefix.extend_from_slice(&partition.to_be_bytes());
    prefix
}

pub(super) fn broken(error: &fjall::Error) -> LogError {
    LogError::Broken(error.to_string())
}
