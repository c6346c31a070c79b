//! The log for people and other programs: its events as lines, and the whole of it as one file.
//!
//! What counts is decided by the fold, from the first record on; nobody else may say so. Nothing here
//! writes to a log but [`Import`], and that only to one that has no records.

mod export;
mod http;
mod import;
mod line;
mod merge;
mod selection;
mod source;

use seckill_log::{FoldError, LogError};

pub use export::export;
pub use http::routes;
pub use import::{Import, ImportError};
pub use line::to_json;
pub use merge::Replay;
pub use selection::{Refused, Selection};
pub use source::{Item, What};

/// Why a log is not replayed any further.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log cannot be folded.
    #[error("partition {partition}: {reason}")]
    Fold {
        /// Partition of the event log.
        partition: u32,
        /// What is wrong.
        reason: FoldError,
    },
    /// The file could not be written.
    #[error("the file cannot be written: {0}")]
    File(#[from] std::io::Error),
}
