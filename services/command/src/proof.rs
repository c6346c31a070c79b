//! What is known of a partition's log before it is taken over: by its snapshots, by the marks in the
//! table of owners, by the views where this process has them, and by this node itself.
//!
//! All of them are asked before a fence is written. A log that contradicts one of them has lost
//! records, and nobody decides on it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use prost::Message;
use seckill_log::{
    COMMAND_MARK, Contradiction, Entries, Log, LogError, PROJECTOR_MARK, Table, Witness,
    contradiction,
};
use seckill_proto::v1::Checkpoint;
use tokio::sync::watch;

use crate::snapshot;
use crate::takeover::TakeoverError;

/// How long the views may take to say how far they are. A sale does not wait for a database that is
/// away; the projector's mark is there all the same.
const VIEWS_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an owner leaves a mark.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// Asks the views how far they hold a partition; an error in words.
pub type ViewsWitness =
    Arc<dyn Fn(u32) -> BoxFuture<'static, Result<Option<Checkpoint>, String>> + Send + Sync>;

/// Refuses a log that contradicts what its table of owners or the views say, or this node knows.
pub(crate) async fn examine(
    log: &dyn Log,
    partition: u32,
    entries: &Entries,
    views: Option<&ViewsWitness>,
    of_node: impl IntoIterator<Item = Checkpoint>,
) -> Result<(), TakeoverError> {
    let mut known = known_among(partition, entries);
    known.extend(of_node.into_iter().map(|seen| Witness::new("this node", seen)));
    known.extend(ask_views(partition, views).await);
    let found: Option<Contradiction> = contradiction(log, partition, &known).await?;
    found.map_or(Ok(()), |contradiction| Err(contradiction.into()))
}

/// What the log's own tables know of a partition.
///
/// # Errors
/// They cannot be read.
pub async fn known_of(log: &dyn Log, partition: u32) -> Result<Vec<Witness>, LogError> {
    Ok(known_among(partition, &log.scan(Table::Owners, partition).await?))
}

fn known_among(partition: u32, entries: &Entries) -> Vec<Witness> {
    let mut known = snapshot::witnesses(partition, entries);
    known.extend(marks(entries));
    known
}

/// Makes the log's own tables forget a partition: nothing of it was seen.
///
/// # Errors
/// They cannot be written.
pub async fn forget_proof(log: &dyn Log, partition: u32) -> Result<(), LogError> {
    let empty = |key: &str| (key.to_owned(), Bytes::new());
    let marks = vec![empty(COMMAND_MARK), empty(PROJECTOR_MARK)];
    log.put(Table::Owners, partition, marks).await?;
    snapshot::forget(log, partition).await
}

fn marks(entries: &Entries) -> impl Iterator<Item = Witness> {
    entries.iter().filter_map(|(key, value)| {
        let name = match key.as_str() {
            COMMAND_MARK => "an owner's mark",
            PROJECTOR_MARK => "a projector's mark",
            _ => return None,
        };
        Some(Witness::new(name, Checkpoint::decode(value.clone()).ok()?))
    })
}

async fn ask_views(partition: u32, views: Option<&ViewsWitness>) -> Option<Witness> {
    let asked = tokio::time::timeout(VIEWS_TIMEOUT, views?(partition)).await;
    match asked.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
        Ok(checkpoint) => checkpoint.map(|checkpoint| Witness::new("the views", checkpoint)),
        Err(error) => {
            tracing::warn!(partition, error, "taking over without asking the views");
            None
        }
    }
}

/// Leaves word in the table of owners how far the log is confirmed, once a second while it grows.
pub(crate) async fn keep_marking(
    log: Arc<dyn Log>,
    partition: u32,
    mut confirmed: watch::Receiver<Checkpoint>,
) {
    let mut failing = false;
    while failing || confirmed.changed().await.is_ok() {
        let checkpoint = confirmed.borrow_and_update().encode_to_vec();
        let mark = (COMMAND_MARK.to_owned(), Bytes::from(checkpoint));
        let put = log.put(Table::Owners, partition, vec![mark]).await;
        if let (Err(error), false) = (&put, failing) {
            tracing::warn!(%error, partition, "no mark was left in the table of owners");
        }
        failing = put.is_err();
        tokio::time::sleep(MARK_EVERY).await;
    }
}
