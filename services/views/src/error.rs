//! What can go wrong with a view, and who can do something about it.

use std::error::Error;
use std::path::PathBuf;

/// An operating error of the read model.
#[derive(Debug, thiserror::Error)]
pub enum ViewsError {
    /// The engine does not answer now.
    #[error("the read model is unavailable ({during})")]
    Unavailable {
        /// What was being done.
        during: String,
        /// What the engine said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A cursor that no list of this kind gave: the caller's fault.
    #[error("the cursor is not one that this list gave")]
    InvalidCursor,
    /// A stored row that this version cannot have written.
    #[error("the row {key} of table {table} is corrupt: {reason}")]
    Corrupt {
        /// The table, with its generation.
        table: String,
        /// The row's key, or the part of it that was asked for.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process has the directory open.
    #[error("the views in {} are open in another process", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// There are no views where some were to be used that exist.
    #[error("there are no views in {place}: `up`, or a projector, makes them from the log")]
    Absent {
        /// Directory or keyspace.
        place: String,
    },
    /// A view has no tables yet: it is younger than the others.
    #[error(
        "the view {view} is not built yet: `seckill rebuild --view {view}` makes it from the log"
    )]
    NotBuilt {
        /// Its name.
        view: &'static str,
    },
    /// A view holds rows of another version of this program.
    #[error(
        "the view {view} holds rows of version {found}, and this program knows version {known}: run the newer \
         program of the two, or make it again with `seckill rebuild --view {view}`"
    )]
    OtherVersion {
        /// Its name.
        view: &'static str,
        /// Of the rows.
        found: u32,
        /// Of this program.
        known: u32,
    },
    /// There are tables that a newer version of this program has made.
    #[error(
        "there is a view {view} that this program does not know, and without it the views cannot be written: run \
         the newer program that has made it"
    )]
    UnknownView {
        /// Its name.
        view: String,
    },
    /// The views were made of a log with another number of partitions: of another log.
    #[error(
        "the views in {place} are of a log with {found} partitions, and this log has {partitions}: it was \
         made anew, or is another one. Name the log and the views that belong together; where the log is lost \
         for good, other views (another --data or --cql-keyspace)"
    )]
    OtherPartitions {
        /// Directory or keyspace.
        place: String,
        /// Partitions of the log that the views are of.
        found: u32,
        /// Partitions of the log at hand.
        partitions: u32,
    },
    /// The engine could not be opened, or its tables could not be created.
    #[error("the read model at {place} could not be opened")]
    Setup {
        /// Directory or contact points.
        place: String,
        /// What the engine said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The engine has failed, or refused a request, for good: trying again does not help.
    #[error("the read model has failed ({during})")]
    Failed {
        /// What was being done.
        during: String,
        /// What the engine said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl ViewsError {
    /// Whether the same call may succeed later. Every call of the trait is safe to repeat.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::InvalidCursor
            | Self::Corrupt { .. }
            | Self::Locked { .. }
            | Self::Absent { .. }
            | Self::NotBuilt { .. }
            | Self::OtherVersion { .. }
            | Self::UnknownView { .. }
            | Self::OtherPartitions { .. }
            | Self::Setup { .. }
            | Self::Failed { .. } => false,
        }
    }
}
