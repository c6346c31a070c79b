//! Which partitions this process is to look after.
//!
//! An assignment says who *should* own a partition. It is not a lock: two processes may believe
//! the same at once, and the fences in the log decide.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Processes that share the partitions out among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// Owners of partitions.
    Command,
    /// Writers of the views.
    Projector,
}

impl Group {
    /// What the name of the Kafka consumer group ends in.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Projector => "projector",
        }
    }
}

/// Takes note of how far partitions of the event log are done with, for those who look at a group from
/// outside: tools and exporters that tell how far it is behind. Nothing here ever reads it.
#[derive(Debug, Clone, Default)]
pub struct Committer {
    /// By partition.
    offsets: Arc<Mutex<BTreeMap<u32, u64>>>,
}

impl Committer {
    /// All before this offset is done.
    pub fn commit(&self, partition: u32, next_offset: u64) {
        self.offsets.lock().insert(partition, next_offset);
    }

    pub(crate) fn offsets(&self) -> BTreeMap<u32, u64> {
        self.offsets.lock().clone()
    }
}

/// What a member knows of its place in the group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Those assigned to it.
    pub partitions: BTreeSet<u32>,
    /// Whether the group counts this process in, with partitions or without.
    pub is_member: bool,
}

/// Partitions beside those assigned.
struct More {
    partitions: watch::Sender<BTreeSet<u32>>,
    changes: watch::Receiver<BTreeSet<u32>>,
}

/// Membership in a group. Dropping it leaves the group.
pub struct Membership {
    /// No other member of any group has the same. None where the process has its log to itself.
    name: Option<String>,
    standing: watch::Receiver<Standing>,
    more: Option<More>,
    committer: Committer,
    leaves_when_dropped: Option<Box<dyn Any + Send>>,
}

impl Membership {
    /// For an engine: what the group says, and what leaves the group when it is dropped, where there is
    /// anything to leave.
    #[must_use]
    pub fn new(
        standing: watch::Receiver<Standing>,
        committer: Committer,
        leaves_when_dropped: Option<Box<dyn Any + Send>>,
    ) -> Self {
        Self { name: None, standing, more: None, committer, leaves_when_dropped }
    }

    /// The same of a member among others, which has a name of its own.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// The same, with partitions that this process looks after beside those assigned. What comes to be assigned is taken
    /// out of them.
    #[must_use]
    pub fn with(self, partitions: watch::Sender<BTreeSet<u32>>) -> Self {
        let changes = partitions.subscribe();
        Self { more: Some(More { partitions, changes }), ..self }
    }

    /// Leaves the group.
    pub async fn leave(self) {
        // It waits for the broker, which must not hold up an async thread.
        if let Some(leaves) = self.leaves_when_dropped {
            let _ = tokio::task::spawn_blocking(move || drop(leaves)).await;
        }
    }

    /// Tells the group's offsets, for as long as this member is in it.
    #[must_use]
    pub fn committer(&self) -> Committer {
        self.committer.clone()
    }

    /// The partitions to look after now.
    pub fn assigned(&mut self) -> BTreeSet<u32> {
        let mut assigned = self.standing.borrow_and_update().partitions.clone();
        let Some(More { partitions, changes }) = &mut self.more else { return assigned };
        partitions.send_if_modified(|more| {
            let before = more.len();
            more.retain(|partition| !assigned.contains(partition));
            more.len() < before
        });
        assigned.extend(changes.borrow_and_update().iter());
        assigned
    }

    /// Whether the group counts this process in: only then does an empty assignment mean that it is to
    /// have none.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.standing.borrow().is_member
    }

    /// Waits until assignment or membership is another one. Never returns once neither can change any more.
    pub async fn changed(&mut self) {
        let more = async {
            match &mut self.more {
                Some(More { changes, .. }) => changed(changes).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = changed(&mut self.standing) => {}
            () = more => {}
        }
    }
}

async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        pending::<()>().await;
    }
}
