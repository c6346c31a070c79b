//! Between nodes: a command to its owner, and the answer back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use prost::Message;
use seckill_log::{Entries, Log, LogError, Table};
use seckill_proto::v1::{Command, NodeStatus, OwnerHint};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{Failure, Told};

/// How long a client waits for an answer before the outcome counts as unknown to it.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it may take to learn which node to reach.
const LOOK_UP: Duration = Duration::from_secs(1);
/// What the table of owners said holds for so long, whether it named anybody or not.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How often one command has it asked where its owner has just given the partition up, and where nobody listens at the
/// owner's place. In between it waits for word from the other nodes, as long.
pub(crate) const LOOKS_WHERE_IT_MOVES: u32 = 3;
pub(crate) const LOOKS_WHERE_A_NODE_IS_GONE: u32 = 2;

/// So many others are asked for one command.
const OTHERS: u32 = 2;

/// The whole table is asked for by those who watch: now and then, few partitions at a time.
const LIST_AGAIN: Duration = Duration::from_secs(5);
const LIST_WITHIN: Duration = Duration::from_secs(3);
const LISTED_AT_ONCE: usize = 2;

pub(crate) type Listed = Result<Vec<Option<OwnerHint>>, Failure>;

/// The key of the only entry that a partition has in the table of owners.
pub(crate) const OWNER_KEY: &str = "owner";

/// The way to other nodes.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// Has the node at an endpoint decide commands for one partition, in this order, itself or not at all.
    ///
    /// # Errors
    /// Nothing was decided, or nobody knows whether anything was.
    async fn decide(
        &self,
        endpoint: &str,
        commands: &[Command],
        trace: Option<&str>,
    ) -> Result<Vec<Told>, Failure>;

    /// Has an owner give a partition up, which the node at an endpoint is about to take over. Comes back when it has let
    /// in its last command and knows what became of it.
    ///
    /// # Errors
    /// It does not serve there, or does not say.
    async fn release(&self, partition: u32, owner: &OwnerHint, to: &str) -> Result<(), Failure>;

    /// Follows what the node at an endpoint says of itself, for the one at `own`. Ends when nothing is heard of it any
    /// more.
    ///
    /// # Errors
    /// It is not reached.
    async fn follow(
        &self,
        endpoint: &str,
        own: &str,
    ) -> Result<BoxStream<'static, NodeStatus>, Failure>;
}

/// Sends commands to other nodes. Where they are comes from the table of owners and is kept until
/// it proves wrong.
pub(crate) struct Forwarder {
    log: Arc<dyn Log>,
    peers: Arc<dyn Peers>,
    /// The endpoint of this node, where nothing is forwarded to.
    own: String,
    owners: Mutex<HashMap<u32, Arc<KnownOwner>>>,
    /// What the whole table said, and when; for those who watch.
    listed: tokio::sync::Mutex<Option<(Instant, Listed)>>,
}

/// What is known of a partition's owner.
#[derive(Default)]
struct KnownOwner {
    hint: Mutex<Option<OwnerHint>>,
    /// Of that, where others tell of it.
    changes: Notify,
    /// When the table was last asked. Held while it is asked: in an outage a whole crowd wants to.
    asked: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

impl Forwarder {
    pub(crate) fn new(log: Arc<dyn Log>, peers: Arc<dyn Peers>, own: String) -> Self {
        let (owners, listed) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { log, peers, own, owners, listed }
    }

    /// The owner last heard of.
    pub(crate) fn known(&self, partition: u32) -> Option<OwnerHint> {
        self.owner(partition).hint.lock().clone()
    }

    /// Asks that one: [`Failure::NotOwner`] where it is not it any more.
    pub(crate) async fn ask_known(
        &self,
        partition: u32,
        known: Option<&OwnerHint>,
        commands: &[Command],
        trace: Option<&str>,
    ) -> Result<Vec<Told>, Failure> {
        let known = known.filter(|known| known.endpoint != self.own);
        let known = known.ok_or(Failure::Unavailable)?;
        let answered = self.peers.decide(&known.endpoint, commands, trace).await;
        let was_expected = known.fence_id.is_empty();
        match answered {
            // It may be gone; the next one looks again.
            Err(Failure::Unknown) => self.owner(partition).forget(known),
            Err(Failure::Unavailable | Failure::Unreached) if was_expected => {
                self.owner(partition).forget(known)
            }
            _ => {}
        }
        answered
    }

    /// Asks another one than that, which the other nodes or the table of owners name. With more than one look it is waited
    /// for, as nobody may know yet who that is.
    pub(crate) async fn ask_another(
        &self,
        partition: u32,
        mut known: Option<OwnerHint>,
        commands: &[Command],
        trace: Option<&str>,
        mut looks: u32,
    ) -> Result<Vec<Told>, Failure> {
        for _ in 0..OTHERS {
            let another = self.another(partition, known.as_ref(), looks).await;
            let another = another.ok_or(Failure::Unavailable)?;
            match self.peers.decide(&another.endpoint, commands, trace).await {
                Err(Failure::NotOwner) => looks = LOOKS_WHERE_IT_MOVES,
                Err(Failure::Unreached) => looks = looks.max(LOOKS_WHERE_A_NODE_IS_GONE),
                answered => return answered,
            }
            known = Some(another);
        }
        Err(Failure::Unavailable)
    }

    async fn another(
        &self,
        partition: u32,
        known: Option<&OwnerHint>,
        looks: u32,
    ) -> Option<OwnerHint> {
        let owner = self.owner(partition);
        let is_another = |hint: &OwnerHint| Some(hint) != known;
        let heard_of = || owner.hint.lock().clone().filter(is_another);
        for _ in 0..looks {
            let changed = owner.changes.notified();
            if looks > 1 && heard_of().is_none() {
                let _ = tokio::time::timeout(ASK_AGAIN, changed).await;
            }
            let mut hint = heard_of();
            if hint.is_none() {
                hint = self.look_up(partition, &owner).await.filter(is_another);
            }
            if let Some(hint) = hint {
                return Some(hint).filter(|hint| hint.endpoint != self.own);
            }
        }
        None
    }

    /// Takes note that a partition is about to be served at an endpoint.
    pub(crate) fn goes_to(&self, partition: u32, endpoint: String) {
        let owner = self.owner(partition);
        let mut hint = owner.hint.lock();
        if hint.as_ref().is_some_and(|before| before.endpoint == endpoint) {
            return;
        }
        let term = hint.as_ref().map_or(0, |before| before.term);
        *hint = Some(OwnerHint { term, endpoint, ..OwnerHint::default() });
        owner.changes.notify_waiters();
    }

    /// Takes note of who serves a partition.
    pub(crate) fn is_served_by(&self, partition: u32, owner: &OwnerHint) {
        self.owner(partition).learn(owner);
    }

    /// Who owns each partition, as the table says, or said a moment ago; where it could not be asked a moment
    /// ago, nobody asks again yet.
    pub(crate) async fn owners(&self, partitions: u32) -> Listed {
        let mut listed = self.listed.lock().await;
        if let Some((at, owners)) = &*listed
            && at.elapsed() < LIST_AGAIN
        {
            return owners.clone();
        }
        let owners = self.owners_now(partitions).await;
        *listed = Some((Instant::now(), owners.clone()));
        owners
    }

    /// The same as the table says now.
    pub(crate) async fn owners_now(&self, partitions: u32) -> Listed {
        let scan = async |partition| Ok(owner_in(&self.log.scan(Table::Owners, partition).await?));
        let all = stream::iter((0..partitions).map(scan)).buffered(LISTED_AT_ONCE).try_collect();
        let scanned = tokio::time::timeout(LIST_WITHIN, all).await;
        let failed = |error: LogError| {
            tracing::warn!(%error, "the table of owners cannot be read");
            Failure::Unavailable
        };
        scanned.map_or(Err(Failure::Unavailable), |owners| owners.map_err(failed))
    }

    /// Where clients reach the owner of a partition, as the table says.
    pub(crate) async fn url_of_owner(&self, partition: u32) -> Option<String> {
        let owner = self.owner(partition);
        let hint = self.look_up(partition, &owner).await?;
        let hint = Some(hint).filter(|hint| hint.endpoint != self.own)?;
        Some(hint.url).filter(|url| !url.is_empty())
    }

    /// What is known of a partition's owner.
    fn owner(&self, partition: u32) -> Arc<KnownOwner> {
        Arc::clone(self.owners.lock().entry(partition).or_default())
    }

    /// The owner as the table of owners says; the last answer serves for [`ASK_AGAIN`]. Gives up after [`LOOK_UP`].
    async fn look_up(&self, partition: u32, owner: &Arc<KnownOwner>) -> Option<OwnerHint> {
        let log = Arc::clone(&self.log);
        let scan = async move { log.scan(Table::Owners, partition).await };
        tokio::time::timeout(LOOK_UP, owner.look_up(partition, scan)).await.ok().flatten()
    }
}

impl KnownOwner {
    /// Of two the later one counts; and one who serves more than one who was only expected to.
    fn learn(&self, owner: &OwnerHint) {
        let mut hint = self.hint.lock();
        let is_news = |before: &OwnerHint| {
            before.term < owner.term || (before.fence_id.is_empty() && before.term <= owner.term)
        };
        if hint.as_ref().is_none_or(is_news) {
            *hint = Some(owner.clone());
            self.changes.notify_waiters();
        }
    }

    fn forget(&self, owner: &OwnerHint) {
        self.hint.lock().take_if(|hint| hint == owner);
    }

    async fn look_up(
        self: &Arc<Self>,
        partition: u32,
        scan: impl Future<Output = Result<Entries, LogError>> + Send + 'static,
    ) -> Option<OwnerHint> {
        let mut asked = Arc::clone(&self.asked).lock_owned().await;
        if asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN) {
            let owner = Arc::clone(self);
            // By itself: who waits gives up sooner than an engine that does not answer, and then the next one
            // must not ask beside.
            let asking = tokio::spawn(async move {
                owner.note(partition, scan.await);
                *asked = Some(Instant::now());
            });
            let _ = asking.await; // what it has learned stands in the owner
        }
        self.hint.lock().clone()
    }

    fn note(&self, partition: u32, scanned: Result<Entries, LogError>) {
        match scanned {
            Ok(entries) => owner_in(&entries).iter().for_each(|owner| self.learn(owner)),
            Err(error) => tracing::warn!(%error, partition, "the table of owners cannot be read"),
        }
    }
}

/// Who owns a partition, as its table of owners says.
pub(crate) fn owner_in(entries: &Entries) -> Option<OwnerHint> {
    let entry = entries.iter().find(|(key, _)| key == OWNER_KEY);
    entry.and_then(|(_, value)| OwnerHint::decode(value.clone()).ok())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// While the broker does not answer, requests time out, and only one scan of the table runs.
    #[tokio::test(start_paused = true)]
    async fn in_an_outage_one_asks_for_all() {
        let (owner, asked) = (Arc::new(KnownOwner::default()), Arc::new(AtomicUsize::new(0)));
        let visit = |number: u64| {
            let (owner, asked) = (Arc::clone(&owner), Arc::clone(&asked));
            async move {
                tokio::time::sleep(Duration::from_millis(10 * number)).await;
                let scan = async move {
                    asked.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(10)).await;
                    Err(LogError::Unavailable("nobody answers".to_owned()))
                };
                tokio::time::timeout(LOOK_UP, owner.look_up(0, scan)).await.ok().flatten()
            }
        };
        let told = futures::future::join_all((0..1_500).map(visit)).await;
        assert!(told.iter().all(Option::is_none));
        assert_eq!(
            asked.load(Ordering::Relaxed),
            2,
            "over 15 s, of which the first asked took ten"
        );
    }
}
