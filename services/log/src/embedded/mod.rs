//! The log in a directory of this machine: nothing to install.
//!
//! Kept in fjall. One thread writes: it takes whatever appends have come in, gives them their
//! offsets, and makes them durable with one fsync. A record that has not been fsynced is shown to
//! nobody. So what was acknowledged survives `kill -9` and power loss, as far as the disk keeps
//! its word.
//!
//! One process at a time; it is every member of every group.

mod reader;
mod store;
mod writer;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::embedded::reader::EmbeddedReader;
use crate::embedded::store::Store;
use crate::embedded::writer::{Job, Writer};
use crate::{Appending, Entries, Group, Log, LogError, Membership, Reader, Table};

/// Partitions of a new log, unless asked for otherwise.
pub const DEFAULT_PARTITIONS: u32 = 4;

/// The embedded log.
pub struct EmbeddedLog {
    store: Arc<Store>,
    writer: Writer,
    everything: watch::Sender<BTreeSet<u32>>,
}

impl EmbeddedLog {
    /// Opens the log in a directory, or creates it there. `partitions` is for a new log; for one
    /// that exists it must fit or be absent. Blocks for as long as recovery takes.
    ///
    /// # Errors
    /// Another process has it, the partitions do not fit, or the files cannot be used.
    pub fn open(directory: &Path, partitions: Option<u32>) -> Result<Self, LogError> {
        let store = Arc::new(Store::open(directory, partitions)?);
        let writer = Writer::start(Arc::clone(&store))?;
        let (everything, _) = watch::channel((0..store.partitions()).collect());
        Ok(Self { store, writer, everything })
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    fn partitions(&self) -> u32 {
        self.store.partitions()
    }

    fn append(&self, partition: u32, records: Vec<Vec<u8>>) -> Appending {
        let (done, appending) = Appending::new(records.len());
        self.writer.submit(Job::Append { partition, records, done });
        appending
    }

    async fn end(&self, partition: u32) -> Result<u64, LogError> {
        Ok(*self.store.end(partition).borrow())
    }

    async fn read(&self, partition: u32, from: u64) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(EmbeddedReader::new(Arc::clone(&self.store), partition, from)))
    }

    async fn put(&self, table: Table, partition: u32, entries: Entries) -> Result<(), LogError> {
        let (done, result) = tokio::sync::oneshot::channel();
        self.writer.submit(Job::Put { table, partition, entries, done });
        let stopped = || LogError::Unavailable("the embedded log has stopped".into());
        result.await.map_err(|_| stopped())?
    }

    async fn scan(&self, table: Table, partition: u32) -> Result<Entries, LogError> {
        let store = Arc::clone(&self.store);
        blocking(move || store.scan(table, partition)).await
    }

    async fn join(&self, _: Group) -> Result<Membership, LogError> {
        Ok(Membership::new(self.everything.subscribe(), Box::new(())))
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
