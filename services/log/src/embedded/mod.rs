//! The log in a directory of this machine: nothing to install.
//!
//! Plain files: each partition has segments of batches (`batch.rs`), every batch with a checksum and
//! the history before and after it, and a high-water mark that says how far it has been durable.
//! A record that has not been fsynced is shown to nobody. So what was acknowledged survives
//! `kill -9` and power loss, as far as the disk keeps its word; where it does not, opening the log
//! says which file is damaged and changes nothing.
//!
//! One process at a time; it is every member of every group.

mod batch;
mod feed;
mod format;
mod high_water;
mod reader;
mod recovery;
mod repair;
mod segment;
mod state;
mod tables;
mod upgrade;
mod writer;

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::embedded::feed::EmbeddedFeed;
use crate::embedded::format::{cannot, partition_folder};
use crate::embedded::high_water::{HighWater, Mark};
use crate::embedded::reader::EmbeddedReader;
use crate::embedded::recovery::Recovered;
use crate::embedded::segment::Header;
use crate::embedded::state::State;
use crate::embedded::writer::Writer;
use crate::membership::Standing;
use crate::{
    Appending, Committer, Entries, FETCHED_AHEAD, Feed, Fetched, Group, History, Log, LogError,
    Membership, Reader, Table,
};

pub use repair::{Cut, Survey};
pub use upgrade::Upgraded;

/// Partitions of a new log, unless asked for otherwise.
pub const DEFAULT_PARTITIONS: u32 = 4;

/// The embedded log.
pub struct EmbeddedLog {
    state: Arc<State>,
    /// None where the log is only read.
    writer: Option<Writer>,
    /// Held for as long as the log is open for reading only; a writer holds its own.
    _lock: Option<File>,
    everything: watch::Sender<Standing>,
    feed: Arc<EmbeddedFeed>,
}

impl EmbeddedLog {
    /// Opens the log in a directory, or creates it there. `partitions` is for a new log; for one
    /// that exists it must fit or be absent. Blocks for as long as recovery takes.
    ///
    /// # Errors
    /// Another process has it, the partitions do not fit, or the files are damaged: then nothing is
    /// changed.
    pub fn open(directory: &Path, partitions: Option<u32>) -> Result<Self, LogError> {
        if !directory.exists() && upgrade::upgrading(directory).exists() {
            return Err(LogError::OldFormat(directory.to_owned()));
        }
        fs::create_dir_all(directory).map_err(|error| cannot(directory, &error))?;
        let lock = format::lock(directory, true)?;
        let found = format::read(directory)?;
        let partitions = match (found, partitions) {
            (Some(found), Some(asked)) if found != asked => {
                return Err(LogError::OtherPartitions { found, asked });
            }
            (Some(found), _) => found,
            (None, asked) => create(directory, asked.unwrap_or(DEFAULT_PARTITIONS))?,
        };
        let recovered = look(directory, partitions)?;
        for found in &recovered {
            found.settle().map_err(|error| cannot(&found.folder, &error))?;
        }
        tables::tidy(directory).map_err(|error| cannot(&directory.join(tables::FOLDER), &error))?;
        let state = Arc::new(State::new(directory, &recovered));
        let writer = Writer::start(&state, recovered, lock)?;
        Ok(Self::new(state, Some(writer), None))
    }

    /// Opens a log for reading, and changes nothing.
    ///
    /// # Errors
    /// There is none, another process writes it, or the files are damaged.
    pub fn open_read_only(directory: &Path) -> Result<Self, LogError> {
        let absent = || LogError::Absent(directory.to_owned());
        let partitions = format::read(directory)?.ok_or_else(absent)?;
        let lock = match format::lock_path(directory).exists() {
            true => Some(format::lock(directory, false)?),
            false => None,
        };
        let recovered = look(directory, partitions)?;
        Ok(Self::new(Arc::new(State::new(directory, &recovered)), None, lock))
    }

    /// Where the feed of the log in a directory is, if it has one: a log of one partition.
    #[must_use]
    pub fn feed_folder(directory: &Path) -> Option<PathBuf> {
        feed::existing_folder(directory)
    }

    async fn delete_if(
        &self,
        table: Table,
        partition: u32,
        is_meant: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<(), LogError> {
        let state = Arc::clone(&self.state);
        blocking(move || {
            let directory = state.directory();
            let deleted = tables::delete(directory, table, partition, is_meant);
            deleted.map_err(|error| cannot(&directory.join(tables::FOLDER), &error))
        })
        .await
    }

    fn new(state: Arc<State>, writer: Option<Writer>, lock: Option<File>) -> Self {
        let partitions = (0..state.partitions()).collect();
        let (everything, _) = watch::channel(Standing { partitions, is_member: true });
        let feed = Arc::new(EmbeddedFeed::new(state.directory(), writer.is_none()));
        Self { state, writer, _lock: lock, everything, feed }
    }
}

/// Looks at every partition before anything is changed.
fn look(directory: &Path, partitions: u32) -> Result<Vec<Recovered>, LogError> {
    (0..partitions).map(|partition| recovery::look(directory, partition)).collect()
}

/// Makes an empty log; a making that was cut off before is begun again.
fn create(directory: &Path, partitions: u32) -> Result<u32, LogError> {
    for partition in 0..partitions {
        let folder = partition_folder(directory, partition);
        let header = Header {
            partition,
            base: 0,
            history: History::default(),
            base_before: 0,
            length_before: 0,
        };
        fs::create_dir_all(&folder)
            .and_then(|()| segment::create(&folder, header))
            .and_then(|_| HighWater::open(&folder, Mark::default()))
            .map_err(|error| cannot(&folder, &error))?;
    }
    format::write(directory, partitions)?;
    Ok(partitions)
}

#[async_trait]
impl Log for EmbeddedLog {
    fn partitions(&self) -> u32 {
        self.state.partitions()
    }

    fn append(&self, partition: u32, records: Vec<Vec<u8>>) -> Appending {
        let (done, appending) = Appending::new(records.len());
        if let Some(writer) = &self.writer {
            writer.submit(partition, records, done);
        }
        appending
    }

    async fn end(&self, partition: u32) -> Result<u64, LogError> {
        self.state.assert_well()?;
        Ok(*self.state.end(partition).borrow())
    }

    async fn read(&self, partition: u32, from: u64) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(EmbeddedReader::new(Arc::clone(&self.state), partition, from)))
    }

    async fn put(&self, table: Table, partition: u32, entries: Entries) -> Result<(), LogError> {
        self.state.assert_well()?;
        if self.writer.is_none() {
            return Err(LogError::Broken("the log is open for reading only".into()));
        }
        let state = Arc::clone(&self.state);
        blocking(move || {
            let directory = state.directory();
            let put = tables::put(directory, table, partition, &entries);
            put.map_err(|error| cannot(&directory.join(tables::FOLDER), &error))
        })
        .await
    }

    async fn scan(&self, table: Table, partition: u32) -> Result<Entries, LogError> {
        self.state.assert_well()?;
        let state = Arc::clone(&self.state);
        blocking(move || {
            let directory = state.directory();
            let scanned = tables::scan(directory, table, partition);
            scanned.map_err(|error| cannot(&directory.join(tables::FOLDER), &error))
        })
        .await
    }

    fn fetch(&self, table: Table, partition: u32, keys: Vec<String>) -> Fetched {
        let (sender, fetched) = mpsc::channel(FETCHED_AHEAD);
        let state = Arc::clone(&self.state);
        tokio::task::spawn_blocking(move || {
            let directory = state.directory();
            for key in keys {
                let got = state.assert_well();
                let got = got.map(|()| tables::get(directory, table, partition, &key));
                let Some(got) = got.transpose() else { continue };
                let failed = got.is_err();
                if sender.blocking_send(got.map(|value| (key, value))).is_err() || failed {
                    return;
                }
            }
        });
        fetched
    }

    async fn delete(
        &self,
        table: Table,
        partition: u32,
        keys: Vec<String>,
    ) -> Result<(), LogError> {
        self.delete_if(table, partition, move |key| keys.iter().any(|other| other == key)).await
    }

    async fn sweep(&self, table: Table, partition: u32, keep: Vec<String>) -> Result<(), LogError> {
        let keep: HashSet<String> = keep.into_iter().collect();
        self.delete_if(table, partition, move |key| !keep.contains(key)).await
    }

    async fn join(&self, _: Group) -> Result<Membership, LogError> {
        Ok(Membership::new(self.everything.subscribe(), Committer::default(), None))
    }

    fn feed(&self) -> Arc<dyn Feed> {
        Arc::clone(&self.feed) as Arc<dyn Feed>
    }

    async fn failed(&self) -> LogError {
        tokio::select! {
            failed = self.state.failed() => failed,
            failed = self.feed.failed() => failed,
        }
    }
}

/// Runs a call that may wait for the disk off the async threads.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => result,
        Err(panic) => Err(LogError::Broken(panic.to_string())),
    }
}

type Records = Vec<(u64, Bytes)>;
