//! The event log: a set of partitions, each an ever-growing sequence of records.
//!
//! [`Log`] is what an engine must do; [`kafka`] and [`embedded`] are the two that do it. Who may
//! write, and which of the written records count, is not the engine's matter: that is
//! [`Owner`] and [`Fold`], both without any I/O.
//!
//! Deliberately absent: transactions, conditional appends, deletion. Nothing else in the workspace
//! knows rdkafka.

mod assigned;
pub mod embedded;
mod error;
mod evidence;
mod feed;
mod fold;
mod heartbeat;
mod history;
pub mod kafka;
mod membership;
mod owner;
#[cfg(test)]
mod simulation;
mod skips;
mod stretch;
mod takeover;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

pub use assigned::{Leaving, run_assigned};
pub use error::{Damage, LogError};
pub use evidence::{COMMAND_MARK, Contradiction, PROJECTOR_MARK, Witness, contradiction};
pub use feed::{Fed, Feed, FeedRecord, FeedWriter};
pub use fold::{Fold, FoldError, Folded};
pub use heartbeat::{keep_partitions_attended, weight};
pub use history::History;
pub use membership::{Committer, Group, Membership, Standing};
pub use owner::{CaughtUp, LEASE_MS, Look, Owner, Phase, Settled};
pub use skips::{Skips, fold_from, hash_of};
pub use stretch::{Stretch, next_records};
pub use takeover::{Effect, Next, Outcome, Takeover};

/// An engine that keeps the log.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// How many partitions there are; fixed when the log is created.
    fn partitions(&self) -> u32;

    /// What tells it from any other log that other processes may have open; empty where none can.
    fn id(&self) -> &str {
        ""
    }

    /// Queues records for the end of a partition, in the order of the calls. The records of one
    /// call may be interleaved with those of other processes, but not reordered.
    fn append(&self, partition: u32, records: Vec<Vec<u8>>) -> Appending;

    /// The same of records of which some belong to a trace. Engines that keep nothing beside a record forget it.
    fn append_traced(&self, partition: u32, records: Vec<Vec<u8>>, _: Traced) -> Appending {
        self.append(partition, records)
    }

    /// The offset that the next record will get, at the time of asking or later.
    async fn end(&self, partition: u32) -> Result<u64, LogError>;

    /// Follows a partition from an offset.
    async fn read(&self, partition: u32, from: u64) -> Result<Box<dyn Reader>, LogError>;

    /// The record at an offset before the end; none where it is gone.
    async fn record(&self, partition: u32, offset: u64) -> Result<Option<Bytes>, LogError> {
        let mut reader = self.read(partition, offset).await?;
        for _ in 0..RECORD_STEPS {
            match reader.next(RECORD_STEP).await {
                Ok(records) => {
                    if let Some((found, record)) = records.into_iter().next() {
                        return Ok((found == offset).then_some(record));
                    }
                }
                Err(LogError::Lost { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let what = format!("offset {offset} of partition {partition} does not come");
        Err(LogError::Unavailable(what))
    }

    /// Writes entries to a compacted table, durably and in order.
    async fn put(&self, table: Table, partition: u32, entries: Entries) -> Result<(), LogError>;

    /// The last value of every key of a table, in no order.
    async fn scan(&self, table: Table, partition: u32) -> Result<Entries, LogError>;

    /// The values of these keys of a table, each as it comes to hand, and nothing of a key that is not
    /// there. Meant for what is too large to be held at once.
    fn fetch(&self, table: Table, partition: u32, keys: Vec<String>) -> Fetched;

    /// Deletes keys of a table.
    async fn delete(&self, table: Table, partition: u32, keys: Vec<String>)
    -> Result<(), LogError>;

    /// Deletes whatever keys of a table are not among these, where the engine can do that cheaply.
    async fn sweep(&self, _: Table, _: u32, _keep: Vec<String>) -> Result<(), LogError> {
        Ok(())
    }

    /// Takes part in sharing the partitions out among the processes of a group.
    async fn join(&self, group: Group) -> Result<Membership, LogError>;

    /// What programs of others read.
    fn feed(&self) -> Arc<dyn Feed>;

    /// The time by the engine's own clock, in milliseconds since 1970; none where it has none but this
    /// machine's.
    ///
    /// # Errors
    /// It has one, and does not say.
    async fn time_ms(&self) -> Result<Option<i64>, LogError> {
        Ok(None)
    }

    /// Waits until the engine has failed for good, and says why. A process whose log has failed
    /// must be started again.
    async fn failed(&self) -> LogError {
        std::future::pending().await
    }
}

/// Follows one partition.
#[async_trait]
pub trait Reader: Send {
    /// The next records with their offsets, in order; empty when none came within `wait`.
    /// Dropping the future loses nothing.
    async fn next(&mut self, wait: Duration) -> Result<Vec<(u64, Bytes)>, LogError>;

    /// To which traces records belong that [`Reader::next`] gave last, by offset, where the engine knows.
    fn traced(&mut self) -> Vec<(u64, String)> {
        Vec::new()
    }
}

/// To which trace records of an append belong, by their index: the `traceparent` of W3C Trace Context.
pub type Traced = Vec<(usize, Arc<str>)>;

/// Tables beside the log, of which only the last value of a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// State of the owners, so that a takeover need not read the log from its beginning.
    Snapshots,
    /// Who owns which partition; a hint.
    Owners,
}

/// Keys and values of a [`Table`].
pub type Entries = Vec<(String, Bytes)>;

/// Keys and values of a [`Table`], one after another. After an error nothing comes any more.
pub type Fetched = mpsc::Receiver<Result<(String, Bytes), LogError>>;

/// A single record is waited for so long at a time, and so often.
const RECORD_STEP: Duration = Duration::from_millis(200);
const RECORD_STEPS: u32 = 25;

/// How many values may wait to be taken.
const FETCHED_AHEAD: usize = 4;

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Durable at this offset, as far as the engine says.
    At(u64),
    /// Not known to be written: it may be there, it may come later, it may never come.
    Unknown,
}

/// The deliveries of one [`Log::append`], in its order.
#[derive(Debug)]
pub struct Appending {
    records: usize,
    deliveries: oneshot::Receiver<Vec<Delivery>>,
}

impl Appending {
    /// Waits for all of them. An engine that dies leaves every outcome unknown.
    pub async fn deliveries(self) -> Vec<Delivery> {
        let unknown = vec![Delivery::Unknown; self.records];
        self.deliveries.await.unwrap_or(unknown)
    }

    /// For an engine: where it says what became of so many records.
    #[must_use]
    pub fn new(records: usize) -> (oneshot::Sender<Vec<Delivery>>, Self) {
        let (sender, deliveries) = oneshot::channel();
        (sender, Self { records, deliveries })
    }
}
