//! A command node: the partitions assigned to it, each with its task.

use std::sync::Arc;

use seckill_log::{Group, Log, LogError, run_assigned};
use seckill_telemetry::Health;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::Dispatcher;
use crate::mailbox::{Mailbox, Mailboxes};
use crate::partition::Partition;
use crate::snapshot;
use crate::takeover::Signature;

/// Who this node is to others.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// A name for log lines and the table of owners.
    pub name: String,
    /// Base URL under which other nodes reach this one.
    pub endpoint: String,
}

/// A command node that runs.
pub struct Node {
    dispatcher: Dispatcher,
    task: JoinHandle<()>,
}

/// What every partition's task is made of.
#[derive(Clone)]
struct Parts {
    log: Arc<dyn Log>,
    signature: Signature,
    mailboxes: Mailboxes,
    health: Health,
    /// One snapshot at a time, because each holds a second copy of a partition's state.
    snapshot_turn: Arc<Semaphore>,
}

impl Node {
    /// Joins the group and looks after whatever partitions it is given, until `stop`.
    ///
    /// # Errors
    /// The group cannot be joined.
    pub async fn start(
        log: Arc<dyn Log>,
        config: NodeConfig,
        health: Health,
        stop: CancellationToken,
    ) -> Result<Self, LogError> {
        let membership = log.join(Group::Command).await?;
        let mailboxes = Mailboxes::default();
        let dispatcher = Dispatcher::new(Arc::clone(&log), mailboxes.clone());
        // Not ready before the first assignment.
        let mut joining = Some(health.part("command/membership"));
        let parts = Parts {
            log,
            signature: Signature { node: config.name, endpoint: config.endpoint },
            mailboxes,
            health,
            snapshot_turn: Arc::new(Semaphore::new(1)),
        };
        let task = run_assigned(membership, stop, move |partition, stop| {
            let task = parts.clone().look_after(partition, stop);
            drop(joining.take());
            task
        });
        Ok(Self { dispatcher, task: tokio::spawn(task) })
    }

    /// The way in for commands.
    #[must_use]
    pub fn dispatcher(&self) -> Dispatcher {
        self.dispatcher.clone()
    }

    /// Waits until everything has been given up, after `stop`.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the command node ended badly");
        }
    }
}

impl Parts {
    /// Owns a partition until `stop`, and has snapshots made of it meanwhile.
    fn look_after(
        self,
        partition: u32,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (mailbox, letters) = Mailbox::new();
        let registered = self.mailboxes.register(partition, mailbox.clone());
        let (confirmed, snapshots_follow) = watch::channel(0);
        let owned = Partition {
            log: Arc::clone(&self.log),
            partition,
            signature: self.signature,
            mailbox,
            letters,
            confirmed,
            health: self.health.part(format!("command/partition/{partition}")),
            stop: stop.clone(),
        };
        let snapshots =
            snapshot::keep_making(self.log, partition, snapshots_follow, self.snapshot_turn);
        async move {
            let mut beside = JoinSet::new(); // ends with this task, whichever way that ends
            beside.spawn(snapshots);
            owned.run().await;
            drop(registered);
        }
    }
}
