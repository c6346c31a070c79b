//! `progress`: how far the log has been written into the views, per partition, and which history
//! that was.

use seckill_proto::v1::Checkpoint;
use serde::{Deserialize, Serialize};

/// How far one partition has been written, and where the fold of the log stands there.
///
/// The greater `next_offset` wins. `stopped` is not a function of the log but of who reads it, so
/// at one and the same `next_offset` it can be set, changed and cleared by one writer after
/// another, each of which has read the progress before it took over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Partition of the event log.
    pub partition: u32,
    /// Hex id of the fence at `term`. Empty before the first.
    pub origin: String,
    /// First offset that the rows do not reflect.
    pub next_offset: u64,
    /// Term of the fold there; none before the first fence.
    pub term: Option<u64>,
    /// Sequence number that the fold expects next in that term.
    pub next_seq: u64,
    /// Rolling hash of all records before `next_offset`.
    pub history: u64,
    /// The same without the last of them.
    pub history_before_last: u64,
    /// Of a rebuild's tables: the revision of the catalog by which they were last written together with
    /// those that are read. 0 where they were not.
    #[serde(default)]
    pub revision: u64,
    /// Why nothing is read any further; none (or an empty text) while it is.
    pub stopped: Option<String>,
}

impl Progress {
    /// The progress of views that hold everything up to a checkpoint.
    #[must_use]
    pub fn at(partition: u32, checkpoint: &Checkpoint, stopped: Option<String>) -> Self {
        Self {
            partition,
            origin: hex::encode(&checkpoint.fence_id),
            next_offset: checkpoint.next_offset,
            term: checkpoint.term,
            next_seq: checkpoint.next_seq,
            history: checkpoint.history,
            history_before_last: checkpoint.history_before_last,
            revision: 0,
            stopped,
        }
    }

    /// Where the fold of the log stands. An origin that is not hex is that of no fence.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            next_offset: self.next_offset,
            term: self.term,
            next_seq: self.next_seq,
            fence_id: hex::decode(&self.origin).unwrap_or_default(),
            history: self.history,
            history_before_last: self.history_before_last,
        }
    }

    /// The same with an empty reason told as none: the CQL engine cannot tell them apart.
    pub(crate) fn normal(&self) -> Self {
        let stopped = self.stopped.clone().filter(|reason| !reason.is_empty());
        Self { stopped, ..self.clone() }
    }
}
