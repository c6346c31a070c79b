//! Between nodes: a command to its owner, and the answer back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use prost::Message;
use seckill_log::{Entries, Log, LogError, Table};
use seckill_proto::v1::{Answer, Command, OwnerHint};
use tokio::time::Instant;

use crate::Failure;

/// How long a client waits for an answer before the outcome counts as unknown to it.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it may take to learn which node to reach.
const LOOK_UP: Duration = Duration::from_secs(1);
/// What the table of owners said holds for so long, whether it named anybody or not.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The whole table is asked for by those who watch: now and then, few partitions at a time.
const LIST_AGAIN: Duration = Duration::from_secs(5);
const LIST_WITHIN: Duration = Duration::from_secs(3);
const LISTED_AT_ONCE: usize = 2;

type Listed = Result<Vec<Option<OwnerHint>>, Failure>;

/// The key of the only entry that a partition has in the table of owners.
pub(crate) const OWNER_KEY: &str = "owner";

/// The way to other nodes.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// Has the node at an endpoint decide a command, itself or not at all.
    ///
    /// # Errors
    /// Nothing was decided, or nobody knows whether anything was.
    async fn decide(
        &self,
        endpoint: &str,
        command: &Command,
        trace: Option<&str>,
    ) -> Result<Answer, Failure>;
}

/// Sends commands to other nodes. Where they are comes from the table of owners and is kept until
/// it proves wrong.
pub(crate) struct Forwarder {
    log: Arc<dyn Log>,
    peers: Arc<dyn Peers>,
    owners: Mutex<HashMap<u32, Arc<KnownOwner>>>,
    /// What the whole table said, and when; for those who watch.
    listed: tokio::sync::Mutex<Option<(Instant, Listed)>>,
}

/// What is known of a partition's owner.
#[derive(Default)]
struct KnownOwner {
    endpoint: Mutex<Option<String>>,
    /// When the table was last asked. One asks at a time: in an outage a whole crowd wants to.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Forwarder {
    pub(crate) fn new(log: Arc<dyn Log>, peers: Arc<dyn Peers>) -> Self {
        Self { log, peers, owners: Mutex::default(), listed: tokio::sync::Mutex::default() }
    }

    /// Tries the owner last heard of, and if that is not it any more, the one now in the table.
    pub(crate) async fn forward(
        &self,
        partition: u32,
        command: Command,
        trace: Option<&str>,
    ) -> Result<Answer, Failure> {
        let owner = Arc::clone(self.owners.lock().entry(partition).or_default());
        let known = owner.endpoint.lock().clone();
        if let Some(endpoint) = &known {
            match self.peers.decide(endpoint, &command, trace).await {
                Err(Failure::NotOwner | Failure::Unavailable) => {}
                Err(Failure::Unknown) => {
                    *owner.endpoint.lock() = None; // it may be gone; the next one looks again
                    return Err(Failure::Unknown);
                }
                answered => return answered,
            }
        }
        let looked_up = tokio::time::timeout(LOOK_UP, self.look_up(partition, &owner)).await;
        let endpoint = looked_up.ok().flatten().ok_or(Failure::Unavailable)?;
        if known.as_ref() == Some(&endpoint) {
            return Err(Failure::Unavailable);
        }
        match self.peers.decide(&endpoint, &command, trace).await {
            Err(Failure::NotOwner) => Err(Failure::Unavailable),
            answered => answered,
        }
    }

    /// Who owns each partition, as the table says, or said a moment ago; where it could not be asked a moment
    /// ago, nobody asks again yet.
    pub(crate) async fn owners(&self, partitions: u32) -> Result<Vec<Option<OwnerHint>>, Failure> {
        let mut listed = self.listed.lock().await;
        if let Some((at, owners)) = &*listed
            && at.elapsed() < LIST_AGAIN
        {
            return owners.clone();
        }
        let scan = async |partition| Ok(owner_in(self.log.scan(Table::Owners, partition).await?));
        let all = stream::iter((0..partitions).map(scan)).buffered(LISTED_AT_ONCE).try_collect();
        let scanned = tokio::time::timeout(LIST_WITHIN, all).await;
        let failed = |error: LogError| {
            tracing::warn!(%error, "the table of owners cannot be read");
            Failure::Unavailable
        };
        let owners = scanned.map_or(Err(Failure::Unavailable), |owners| owners.map_err(failed));
        *listed = Some((Instant::now(), owners.clone()));
        owners
    }

    /// Asks the table, unless somebody just did.
    async fn look_up(&self, partition: u32, owner: &KnownOwner) -> Option<String> {
        let mut asked = owner.asked.lock().await;
        if asked.is_none_or(|asked| asked.elapsed() > ASK_AGAIN) {
            match self.log.scan(Table::Owners, partition).await {
                Ok(entries) => {
                    *owner.endpoint.lock() = owner_in(entries).map(|hint| hint.endpoint);
                }
                Err(error) => {
                    tracing::warn!(%error, partition, "the table of owners cannot be read");
                }
            }
            *asked = Some(Instant::now());
        }
        owner.endpoint.lock().clone()
    }
}

fn owner_in(entries: Entries) -> Option<OwnerHint> {
    let entry = entries.into_iter().find(|(key, _)| key == OWNER_KEY);
    entry.and_then(|(_, value)| OwnerHint::decode(value).ok())
}
