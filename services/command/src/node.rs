//! A command node: the partitions assigned to it, each with its task.

use std::sync::Arc;
use std::time::Duration;

use seckill_log::{Group, Leaving, Log, LogError, keep_partitions_attended, run_assigned};
use seckill_proto::v1::{Checkpoint, NodeStatus};
use seckill_telemetry::{Health, Part};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, JUMP_MS};
use crate::departure::{Departure, Leave};
use crate::forward::Forwarder;
use crate::mailbox::{Gate, Mailbox, Mailboxes};
use crate::measure;
use crate::neighbours::Neighbours;
use crate::partition::Partition;
use crate::proof::{self, ViewsWitness};
use crate::snapshot::{self, SnapshotPlan};
use crate::standby::Standbys;
use crate::takeover::Identity;
use crate::{Archive, Dispatcher, HttpPeers, Peers, Random};

/// How often the clock is looked at.
const WATCH_CLOCK_EVERY: Duration = Duration::from_millis(500);

/// How long the log may take to say what time it is: as much as that, its word is out of date.
const TIME_TIMEOUT: Duration = Duration::from_millis(JUMP_MS.unsigned_abs());
/// Before it is asked again.
const ASK_TIME_AGAIN: Duration = Duration::from_millis(500);

/// What a node is made of beside its log.
#[derive(Clone)]
pub struct NodeConfig {
    /// A name for log lines and the table of owners.
    pub name: String,
    /// Base URL under which other nodes reach this one.
    pub endpoint: String,
    /// Base URL under which clients reach it; empty where none is known.
    pub url: String,
    /// The clock by which promotions start and end.
    pub clock: Clock,
    /// The views, where this process has them: they may prove that the log has lost records.
    pub views: Option<ViewsWitness>,
    /// While the log's disk has no room for more, why; nothing is decided then.
    pub room: Option<watch::Receiver<Option<String>>>,
    /// Where promotions that are over go; without it they stay in memory.
    pub archive: Option<Archive>,
    /// The way to other nodes; HTTP, where it is absent.
    pub peers: Option<Arc<dyn Peers>>,
    /// Where chance comes from.
    pub random: Random,
    /// Records after which the next segment of a snapshot is made.
    pub snapshot_records: u64,
    /// For how long a partition that is to go to another node is served on, until that one has taken it over. Nothing
    /// for a node that has no others beside it.
    pub hand_over: Duration,
    /// How many other nodes keep the state of a partition, to take it over from.
    pub standbys: usize,
}

impl NodeConfig {
    /// Of a node on its own: no views, no archive, and the clock and the chance of this machine.
    pub fn new(name: impl Into<String>, endpoint: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            endpoint: endpoint.into(),
            url: String::new(),
            clock: Clock::system(),
            views: None,
            room: None,
            archive: None,
            peers: None,
            random: Random::system(),
            snapshot_records: snapshot::RECORDS_BETWEEN,
            hand_over: Duration::ZERO,
            standbys: 0,
        }
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The group cannot be joined.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Another node has the same name.
    #[error("the node at {endpoint} is named {name:?} too: give this one another name with --name")]
    NameTaken {
        /// The name.
        name: String,
        /// Where other nodes reach it.
        endpoint: String,
    },
}

/// A command node that runs.
pub struct Node {
    dispatcher: Dispatcher,
    neighbours: Arc<Neighbours>,
    leave: Leave,
    /// Nothing is served here any more.
    gone: CancellationToken,
    task: JoinHandle<()>,
}

/// What every partition's task is made of.
#[derive(Clone)]
struct Shared {
    log: Arc<dyn Log>,
    identity: Identity,
    peers: Arc<dyn Peers>,
    neighbours: Arc<Neighbours>,
    standbys: Arc<Standbys>,
    mailboxes: Mailboxes,
    health: Health,
    clock: Clock,
    views: Option<ViewsWitness>,
    room: watch::Receiver<Option<String>>,
    retain: Option<Duration>,
    snapshot_records: u64,
    leave: Leave,
    /// One snapshot at a time, because each holds a second copy of a partition's state.
    snapshot_turn: Arc<Semaphore>,
}

impl Node {
    /// Joins the group and looks after whatever partitions it is given, until `stop`.
    ///
    /// # Errors
    /// The group cannot be joined, or another node has the same name.
    pub async fn start(
        log: Arc<dyn Log>,
        config: NodeConfig,
        health: Health,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        agree_on_time(&*log, &config.clock).await;
        let (alone, copies) = (config.hand_over.is_zero(), config.standbys);
        let (name, member) = (config.name.clone(), health.member("command/membership"));
        let (parts, dispatcher) = Shared::new(Arc::clone(&log), config, health, &stop);
        let (neighbours, standbys) = (Arc::clone(&parts.neighbours), Arc::clone(&parts.standbys));
        if !alone && let Some(endpoint) = neighbours.namesake().await {
            return Err(StartError::NameTaken { name, endpoint });
        }
        let membership = log.join(Group::Command).await?;
        let leave = parts.leave.clone();
        let watching = watch_clock(parts.clock.clone(), parts.health.part("command/clock"));
        let attending = keep_partitions_attended(
            log,
            Group::Command,
            &membership,
            neighbours.adopted(),
            measure::adopted,
            leave.begun.clone(),
        );
        let membership = membership.with(neighbours.adopted());
        // First, so that the others come while this one still serves.
        let running = run_assigned(
            membership,
            leave.begun.clone(),
            Leaving::First,
            member,
            move |partition, stop| parts.clone().look_after(partition, stop),
        );
        let gone = CancellationToken::new();
        let guard = gone.clone().drop_guard();
        let of_others = Arc::clone(&neighbours);
        let task = async move {
            let _gone = guard;
            let others = async {
                if !alone {
                    tokio::join!(Arc::clone(&of_others).run(), standbys.run(&of_others, copies));
                }
            };
            tokio::select! {
                biased;
                () = running => {}
                _ = async { tokio::join!(watching, others, attending) } => {}
            }
        };
        Ok(Self { dispatcher, neighbours, leave, gone, task: tokio::spawn(task) })
    }

    /// The way in for commands.
    #[must_use]
    pub fn dispatcher(&self) -> Dispatcher {
        self.dispatcher.clone()
    }

    /// What it knows of other nodes, and tells them.
    #[must_use]
    pub fn neighbours(&self) -> Arc<Neighbours> {
        Arc::clone(&self.neighbours)
    }

    /// Ends it at once, in the middle of whatever it does: for tests and simulations of a crash.
    pub fn kill(&self) {
        self.task.abort();
    }

    /// Leaves its partitions to other nodes: waits until those have taken them over, for a bounded time. Until then it
    /// serves, and what nobody has taken over after that too, until `stop`.
    pub fn hand_over(&self) -> impl Future<Output = ()> + Send + 'static {
        let (leave, gone) = (self.leave.clone(), self.gone.clone());
        async move {
            if leave.hand_over > Duration::ZERO {
                leave.begun.cancel();
                let _ = tokio::time::timeout(leave.hand_over, gone.cancelled()).await;
            }
        }
    }

    /// Waits until everything has been given up, after `stop`.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the command node ended badly");
        }
    }
}

/// Takes the time of the log's clock, where it has one that differs from this machine's. It is asked until it says: by a clock
/// that was wrong at the start sales would start and finish at wrong times until the process ends.
async fn agree_on_time(log: &dyn Log, clock: &Clock) {
    let late = |_| Err(LogError::Unavailable(format!("no answer within {TIME_TIMEOUT:?}")));
    loop {
        match tokio::time::timeout(TIME_TIMEOUT, log.time_ms()).await.unwrap_or_else(late) {
            Ok(time_ms) => return time_ms.into_iter().for_each(|time_ms| clock.hold_to(time_ms)),
            Err(error) => tracing::warn!(%error, "the log is asked again what time it is"),
        }
        tokio::time::sleep(ASK_TIME_AGAIN).await;
    }
}

/// Says where the wall clock has jumped. Never ends.
async fn watch_clock(clock: Clock, part: Part) {
    let mut jumped = false;
    loop {
        let lead_ms = clock.lead_ms();
        metrics::gauge!("seckill_clock_lead_seconds").set(lead_ms as f64 / 1_000.0);
        let jumps = lead_ms.unsigned_abs() > JUMP_MS.unsigned_abs();
        if jumps {
            let seconds = lead_ms / 1_000;
            let reason = format!(
                "the wall clock has jumped by {seconds} s, or was wrong at the start: sales start and \
                 finish by the time as it was, or as the broker has it; set the clock right, or restart \
                 this process to take the new time"
            );
            if !jumped {
                tracing::error!(seconds, "{reason}");
            }
            part.not_ready(reason);
        } else {
            part.ready();
        }
        jumped = jumps;
        tokio::time::sleep(WATCH_CLOCK_EVERY).await;
    }
}

impl Shared {
    fn new(
        log: Arc<dyn Log>,
        config: NodeConfig,
        health: Health,
        stop: &CancellationToken,
    ) -> (Self, Dispatcher) {
        let mailboxes = Mailboxes::default();
        let retain = config.archive.as_ref().map(|archive| archive.retain);
        let over_http = || Arc::new(HttpPeers::of(&*log)) as Arc<dyn Peers>;
        let peers = config.peers.unwrap_or_else(over_http);
        let (of_log, own) = (Arc::clone(&log), config.endpoint.clone());
        let forwarder = Arc::new(Forwarder::new(of_log, Arc::clone(&peers), own));
        let (boxes, on) = (mailboxes.clone(), Arc::clone(&forwarder));
        let dispatcher = Dispatcher::new(&*log, boxes, config.archive, on);
        let leave =
            Leave { hand_over: config.hand_over, begun: stop.child_token(), end: stop.clone() };
        let own = NodeStatus {
            endpoint: config.endpoint.clone(),
            instance: config.random.id().into(),
            name: config.name.clone(),
            ..NodeStatus::default()
        };
        let (partitions, on) = (log.partitions(), Arc::clone(&peers));
        let neighbours = Neighbours::new(own, partitions, leave.clone(), on, forwarder);
        let of_log = Arc::clone(&log);
        let boxes = mailboxes.clone();
        let standbys = Arc::new(Standbys::new(of_log, config.clock.clone(), retain, boxes));
        let shared = Self {
            log,
            identity: Identity {
                random: config.random,
                node: config.name,
                endpoint: config.endpoint,
                url: config.url,
            },
            snapshot_records: config.snapshot_records,
            leave,
            peers,
            neighbours,
            standbys,
            mailboxes,
            health,
            clock: config.clock,
            views: config.views,
            retain,
            room: config.room.unwrap_or_else(|| watch::channel(None).1),
            snapshot_turn: Arc::new(Semaphore::new(1)),
        };
        (shared, dispatcher)
    }

    /// Owns a partition until `stop`, and has snapshots made of it meanwhile.
    fn look_after(
        self,
        partition: u32,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (mailbox, incoming) = Mailbox::new();
        if self.neighbours.has_adopted(partition) {
            mailbox.set(Gate::Open); // the other nodes send commands here already
        }
        let registered = self.mailboxes.register(partition, mailbox.clone());
        let (confirmed, snapshots_follow) = watch::channel(Checkpoint::default());
        let marks = proof::keep_marking(Arc::clone(&self.log), partition, confirmed.subscribe());
        let (ask, questions) = mpsc::channel(1);
        let owned = Partition {
            log: Arc::clone(&self.log),
            partition,
            identity: self.identity,
            mailbox,
            mailboxes: self.mailboxes,
            incoming,
            peers: self.peers,
            neighbours: self.neighbours,
            standbys: self.standbys,
            confirmed,
            known: Checkpoint::default(),
            views: self.views,
            room: self.room,
            retain: self.retain,
            questions,
            clock: self.clock,
            health: self.health.part(format!("command/partition/{partition}")),
            departure: Arc::new(Departure::new(stop, self.leave)),
            released: false,
        };
        let plan = SnapshotPlan { records: self.snapshot_records, turn: self.snapshot_turn };
        let snapshots = snapshot::keep_making(self.log, partition, snapshots_follow, ask, plan);
        async move {
            let mut beside = JoinSet::new(); // ends with this task, whichever way that ends
            beside.spawn(snapshots);
            beside.spawn(marks);
            owned.run().await;
            drop(registered);
        }
    }
}
