//! Which partitions this process is to look after.
//!
//! An assignment says who *should* own a partition. It is not a lock: two processes may believe
//! the same at once, and the fences in the log decide.

use std::any::Any;
use std::collections::BTreeSet;

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

/// Membership in a group. Dropping it leaves the group.
pub struct Membership {
    assigned: watch::Receiver<BTreeSet<u32>>,
    _leaves_when_dropped: Box<dyn Any + Send>,
}

impl Membership {
    pub(crate) fn new(
        assigned: watch::Receiver<BTreeSet<u32>>,
        leaves_when_dropped: Box<dyn Any + Send>,
    ) -> Self {
        Self { assigned, _leaves_when_dropped: leaves_when_dropped }
    }

    /// The partitions assigned now.
    pub fn assigned(&mut self) -> BTreeSet<u32> {
        self.assigned.borrow_and_update().clone()
    }

    /// Waits until the assignment is another one. Never returns once it cannot change any more.
    pub async fn changed(&mut self) {
        if self.assigned.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
