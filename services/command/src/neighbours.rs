//! The other command nodes: each holds a connection to each, and says there what it serves.
//!
//! Where one breaks and cannot be made again, the node is taken to be gone, and who comes next takes its partitions over
//! at once, without waiting for the group to notice. That needs no agreement: the log decides who owns a partition, and
//! a node that was not gone after all finds itself deposed and takes its partitions back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use seckill_proto::v1::{NodeStatus, OwnerHint, ServedPartition};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::departure::Leave;
use crate::forward::{Forwarder, Peers};
use crate::measure;
use crate::others::{FORGOTTEN_AFTER, Others};

/// How long a node may take to say how it is, where a connection is made.
const REACHED_WITHIN: Duration = Duration::from_millis(250);
/// How long a node may take to say its name.
const ASKED_WITHIN: Duration = Duration::from_secs(1);
/// Between attempts to reach one that is gone.
const REACH_AGAIN: Duration = Duration::from_millis(500);
/// How often the table of owners is asked which nodes there are: while none is reached, and later.
const DISCOVER_EVERY: Duration = Duration::from_secs(2);
const DISCOVER_AGAIN: Duration = Duration::from_secs(60);
/// Endpoints that are held on to, and those that are still to be reached.
const HEARD_OF: usize = 1_024;

/// What a node knows of the others, and they of it.
pub struct Neighbours {
    own: NodeStatus,
    partitions: u32,
    leave: Leave,
    state: Mutex<Others>,
    /// Of the state.
    changes: Notify,
    /// Partitions of nodes that are gone, which this one serves until somebody else does.
    adopted: watch::Sender<BTreeSet<u32>>,
    heard_of: mpsc::Sender<String>,
    /// Taken by [`Neighbours::run`].
    to_reach: Mutex<Option<mpsc::Receiver<String>>>,
    forwarder: Arc<Forwarder>,
    peers: Arc<dyn Peers>,
}

/// A partition that this node serves, for as long as this lives.
pub(crate) struct Serves {
    neighbours: Arc<Neighbours>,
    partition: u32,
}

impl Drop for Serves {
    fn drop(&mut self) {
        self.neighbours.state.lock().serving.remove(&self.partition);
        self.neighbours.changes.notify_waiters();
    }
}

impl Neighbours {
    pub(crate) fn new(
        own: NodeStatus,
        partitions: u32,
        leave: Leave,
        peers: Arc<dyn Peers>,
        forwarder: Arc<Forwarder>,
    ) -> Arc<Self> {
        let (heard_of, to_reach) = mpsc::channel(HEARD_OF);
        Arc::new(Self {
            state: Mutex::new(Others::new(own.endpoint.clone())),
            own,
            partitions,
            leave,
            changes: Notify::new(),
            adopted: watch::Sender::default(),
            heard_of,
            to_reach: Mutex::new(Some(to_reach)),
            forwarder,
            peers,
        })
    }

    /// What this node says of itself to one that listens at `from`: how things are, and whenever they have changed.
    pub fn tell(self: &Arc<Self>, from: String) -> BoxStream<'static, NodeStatus> {
        self.hear_of(from);
        let telling = Telling { neighbours: Arc::clone(self), told: None };
        let next = async |mut telling: Telling| Some((telling.next().await, telling));
        stream::unfold(telling, next).boxed()
    }

    fn status(&self) -> NodeStatus {
        let served = |(partition, owner): (&u32, &OwnerHint)| ServedPartition {
            partition: *partition,
            owner: Some(owner.clone()),
        };
        let state = self.state.lock();
        NodeStatus {
            serves: state.serving.iter().map(served).collect(),
            reaches: state.reached.keys().cloned().collect(),
            leaving: self.leave.begun.is_cancelled(),
            ..self.own.clone()
        }
    }

    /// Tells the others that this node serves a partition.
    pub(crate) fn serves(self: &Arc<Self>, partition: u32, owner: OwnerHint) -> Serves {
        self.state.lock().serving.insert(partition, owner);
        self.changes.notify_waiters();
        Serves { neighbours: Arc::clone(self), partition }
    }

    /// Partitions that this node has taken over without being asked to by the group.
    pub(crate) fn adopted(&self) -> watch::Sender<BTreeSet<u32>> {
        self.adopted.clone()
    }

    pub(crate) fn has_adopted(&self, partition: u32) -> bool {
        self.adopted.borrow().contains(&partition)
    }

    /// Another node has it.
    pub(crate) fn no_longer_adopts(&self, partition: u32) {
        self.adopted.send_if_modified(|adopted| adopted.remove(&partition));
    }

    /// Whether a node is reached.
    pub(crate) fn reaches(&self, endpoint: &str) -> bool {
        self.state.lock().reached.contains_key(endpoint)
    }

    /// Waits for the next change of what nodes serve, or which there are.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changes.notified()
    }

    /// Which other nodes serve partitions, each with its term.
    pub(crate) fn servers(&self) -> BTreeMap<u32, (u64, String)> {
        self.state.lock().servers()
    }

    /// The nodes that would take a partition over where `owner` is gone, the first one first; this node among them.
    pub(crate) fn successors(&self, partition: u32, owner: &str) -> Vec<String> {
        self.state.lock().successors(partition, owner, self.leave.begun.is_cancelled())
    }

    pub(crate) fn is_own(&self, endpoint: &str) -> bool {
        self.own.endpoint == *endpoint
    }

    /// Looks for other nodes and holds on to them. Never ends.
    pub(crate) async fn run(self: Arc<Self>) {
        let to_reach = self.to_reach.lock().take();
        let Some(mut to_reach) = to_reach else { return };
        let (mut tasks, mut tried) = (JoinSet::new(), BTreeSet::new());
        let discovering = Arc::clone(&self).discover();
        tokio::pin!(discovering);
        loop {
            tokio::select! {
                biased;
                Some(ended) = tasks.join_next() => {
                    if let Ok(endpoint) = ended {
                        tried.remove(&endpoint);
                    }
                }
                Some(endpoint) = to_reach.recv() => {
                    if tried.len() < HEARD_OF && tried.insert(endpoint.clone()) {
                        tasks.spawn(Arc::clone(&self).hold_on_to(endpoint));
                    }
                }
                () = &mut discovering => return,
            }
        }
    }

    /// Where another node is that has the name of this one, of those that are reached.
    pub(crate) async fn namesake(&self) -> Option<String> {
        let owners = self.forwarder.owners_now(self.partitions).await.ok()?;
        let endpoints = owners.into_iter().flatten().map(|owner| owner.endpoint);
        let mut asked = BTreeSet::from([String::new(), self.own.endpoint.clone()]);
        let mut next: BTreeSet<String> = endpoints.filter(|of| !asked.contains(of)).collect();
        while !next.is_empty() {
            let statuses = join_all(next.iter().map(|endpoint| self.ask(endpoint))).await;
            asked.append(&mut next);
            for status in statuses.into_iter().flatten() {
                if status.name == self.own.name && !status.leaving {
                    return Some(status.endpoint);
                }
                next.extend(status.reaches.into_iter().filter(|of| !asked.contains(of)));
            }
        }
        None
    }

    /// What a node says of itself, if it does soon.
    async fn ask(&self, endpoint: &str) -> Option<NodeStatus> {
        let reached = tokio::time::timeout(ASKED_WITHIN, self.reach(endpoint)).await;
        reached.ok().flatten().map(|(status, _)| status)
    }

    fn hear_of(&self, endpoint: String) {
        if !(endpoint.is_empty() || self.is_own(&endpoint) || self.reaches(&endpoint)) {
            let _ = self.heard_of.try_send(endpoint); // it will be heard of again
        }
    }

    /// Never ends.
    async fn discover(self: Arc<Self>) {
        loop {
            if let Ok(owners) = self.forwarder.owners_now(self.partitions).await {
                let endpoints = owners.into_iter().flatten().map(|owner| owner.endpoint);
                let endpoints: BTreeSet<String> = endpoints.collect();
                endpoints.into_iter().for_each(|endpoint| self.hear_of(endpoint));
            }
            let is_alone = self.state.lock().reached.is_empty();
            // Whoever is reached names the rest.
            tokio::time::sleep(if is_alone { DISCOVER_EVERY } else { DISCOVER_AGAIN }).await;
        }
    }

    /// Follows what a node says of itself until it has been gone for long; gives its endpoint back then.
    async fn hold_on_to(self: Arc<Self>, endpoint: String) -> String {
        let mut heard = Instant::now();
        while heard.elapsed() < FORGOTTEN_AFTER {
            match tokio::time::timeout(REACHED_WITHIN, self.reach(&endpoint)).await {
                Ok(Some((first, statuses))) => {
                    self.learn(&endpoint, first);
                    statuses.for_each(async |status| self.learn(&endpoint, status)).await;
                    heard = Instant::now();
                }
                Ok(None) | Err(_) => {
                    self.lose(&endpoint);
                    tokio::time::sleep(REACH_AGAIN).await;
                }
            }
        }
        endpoint
    }

    async fn reach(&self, endpoint: &str) -> Option<(NodeStatus, BoxStream<'static, NodeStatus>)> {
        let mut statuses = self.peers.follow(endpoint, &self.own.endpoint).await.ok()?;
        let first = statuses.next().await?;
        // Where another name leads to it too, it is reached under its own.
        (first.endpoint == endpoint).then_some((first, statuses))
    }

    fn learn(&self, endpoint: &str, mut status: NodeStatus) {
        status.reaches.iter().for_each(|other| self.hear_of(other.clone()));
        status.serves.retain(|served| served.partition < self.partitions);
        for ServedPartition { partition, owner } in &status.serves {
            owner.iter().for_each(|owner| self.forwarder.is_served_by(*partition, owner));
        }
        for begun in self.state.lock().begun(endpoint, &status) {
            self.no_longer_adopts(begun);
        }
        if self.state.lock().learn(endpoint, status, Instant::now()) {
            tracing::info!(endpoint, "another node is reached");
        }
        self.changes.notify_waiters();
        self.adopt();
    }

    /// A node is gone. What it served goes to whoever comes next.
    fn lose(&self, endpoint: &str) {
        let Some(lost) = self.state.lock().lose(endpoint, Instant::now()) else { return };
        let of_it: Vec<u32> = lost.serves.iter().map(|served| served.partition).collect();
        tracing::warn!(endpoint, partitions = ?of_it, "another node is not reached any more");
        self.changes.notify_waiters();
        self.adopt();
    }

    fn adopt(&self) {
        let orphans = self.state.lock().orphans(self.leave.begun.is_cancelled());
        let own = orphans.iter().filter(|(_, next)| self.is_own(next));
        let own: BTreeSet<u32> = own.map(|(partition, _)| *partition).collect();
        orphans.into_iter().for_each(|(partition, next)| self.forwarder.goes_to(partition, next));
        if !own.is_empty() {
            tracing::warn!(partitions = ?own, "taking over what nodes served that are gone");
            measure::adopted(own.len());
            self.adopted.send_modify(|adopted| adopted.extend(own));
        }
    }
}

/// What one listener was told.
struct Telling {
    neighbours: Arc<Neighbours>,
    told: Option<NodeStatus>,
}

impl Telling {
    async fn next(&mut self) -> NodeStatus {
        loop {
            let changed = self.neighbours.changed();
            let status = self.neighbours.status();
            if self.told.as_ref() != Some(&status) {
                self.told = Some(status.clone());
                return status;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = self.neighbours.leave.begun.cancelled(), if !status.leaving => {}
            }
        }
    }
}
