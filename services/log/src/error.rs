//! What can go wrong with a log, and whether trying again can help.

use std::path::PathBuf;

/// An operating error of an engine.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The engine does not answer now.
    #[error("the event log is not available: {0}")]
    Unavailable(String),
    /// Records that must be there are gone.
    #[error("records of partition {partition} from offset {from} on are not in the log any more")]
    Lost {
        /// Partition of the event log.
        partition: u32,
        /// First offset asked for.
        from: u64,
    },
    /// Another process has the directory open.
    #[error("{} is in use by another process; stop it, or choose another directory", .0.display())]
    Locked(PathBuf),
    /// The log exists with another number of partitions than was asked for.
    #[error("this log has {found} partitions, which cannot change; {asked} were asked for")]
    OtherPartitions {
        /// What the log was created with.
        found: u32,
        /// What the caller wants.
        asked: u32,
    },
    /// The engine cannot be used: damaged files, refused settings.
    #[error("the event log cannot be used: {0}")]
    Broken(String),
}

impl LogError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Lost { .. }
            | Self::Locked(_)
            | Self::OtherPartitions { .. }
            | Self::Broken(_) => false,
        }
    }
}
