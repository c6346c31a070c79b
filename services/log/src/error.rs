//! What can go wrong with a log, and whether trying again can help.

use std::path::PathBuf;

/// A file of the embedded log that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}, byte {position}: {what} (partition {partition}, offset {offset}). Nothing was changed. Put the file \
     back from a copy, or see `seckill repair --help`",
    file.display()
)]
pub struct Damage {
    /// Which file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub position: u64,
    /// Partition of the event log.
    pub partition: u32,
    /// The first offset that cannot be read from there on.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

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
    /// A file of the embedded log is damaged, or gone.
    #[error(transparent)]
    Damaged(#[from] Box<Damage>),
    /// The engine cannot go on before the process is started again.
    #[error("the event log has failed: {0}")]
    Failed(String),
    /// The directory holds a log as version 0.1 kept it.
    #[error(
        "{} holds an embedded log of version 0.1; `seckill upgrade` with the same --data makes one of this \
         version of it", .0.display()
    )]
    OldFormat(PathBuf),
    /// There is no log where one was to be read.
    #[error("there is no embedded log in {}; --data names another directory", .0.display())]
    Absent(PathBuf),
    /// There is no log in Kafka where one was to be used that exists.
    #[error(
        "Kafka at {brokers} has no topic {topic}: no command node has ever started with this prefix"
    )]
    NoTopic {
        /// The topic of the events.
        topic: String,
        /// Where it was looked for.
        brokers: String,
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
    /// Whether there is no log at all.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent(_) | Self::NoTopic { .. })
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Lost { .. }
            | Self::Damaged(_)
            | Self::Failed(_)
            | Self::OldFormat(_)
            | Self::Absent(_)
            | Self::NoTopic { .. }
            | Self::Locked(_)
            | Self::OtherPartitions { .. }
            | Self::Broken(_) => false,
        }
    }
}
