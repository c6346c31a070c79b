//! The wanted events of one partition.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use seckill_log::{Fold, Folded, Log, LogError, Reader, fold_from};
use seckill_proto::v1::{Checkpoint, Event, Fence, Skip, record};
use seckill_proto::{Position, decode_record};

use crate::ReplayError;
use crate::selection::Selection;

/// A log that gives nothing for so long, though it has more, is not there.
const STALLED: Duration = Duration::from_secs(20);

/// A record of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Where it is.
    pub position: Position,
    /// When it came to be, in milliseconds since 1970; of a fence, the last event before it.
    pub at_ms: i64,
    /// What it says.
    pub what: What,
    /// The record as it is in the log.
    pub record: Bytes,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// What happened; `void` where it counts for nobody: left behind by an owner that was deposed.
    Event {
        /// The event.
        event: Event,
        /// It counts for nobody.
        void: bool,
    },
    /// Somebody takes the partition over.
    Fence(Fence),
    /// An operator's word that another record counts for nobody.
    Skip(Skip),
}

pub(crate) struct Source {
    partition: u32,
    reader: Box<dyn Reader>,
    fold: Fold,
    /// Time of the last event.
    at_ms: i64,
    /// Where the partition ended when this began.
    end: u64,
    pub(crate) ready: VecDeque<Item>,
    /// Whether the selection ends before what comes next.
    ended: bool,
    /// Why what comes next cannot be told; raised once all before it is.
    pub(crate) failed: Option<ReplayError>,
}

impl Source {
    pub(crate) async fn open(log: &dyn Log, partition: u32) -> Result<Self, LogError> {
        let (end, reader) = (log.end(partition).await?, log.read(partition, 0).await?);
        let fold = fold_from(log, partition, &Checkpoint::default()).await?;
        let ready = VecDeque::new();
        Ok(Self { partition, reader, fold, at_ms: 0, end, ready, ended: false, failed: None })
    }

    /// Whether nothing comes any more of what was there at the beginning.
    pub(crate) fn is_done(&self) -> bool {
        let ended = self.ended || self.failed.is_some() || self.fold.next_offset() >= self.end;
        self.ready.is_empty() && ended
    }

    /// Reads on until there is an item, or all is read that was there at the beginning.
    pub(crate) async fn fill(&mut self, selection: &Selection) -> Result<(), ReplayError> {
        while self.ready.is_empty() && !self.is_done() {
            // Who follows wants what has come since too.
            let end = if selection.follow { u64::MAX } else { self.end };
            if !self.read(selection, STALLED, end).await? {
                let reason = format!("partition {} cannot be read on", self.partition);
                return Err(LogError::Unavailable(reason).into());
            }
        }
        Ok(())
    }

    /// Reads what comes within some time.
    pub(crate) async fn follow(
        &mut self,
        selection: &Selection,
        wait: Duration,
    ) -> Result<(), ReplayError> {
        self.read(selection, wait, u64::MAX).await.map(drop)
    }

    /// Whether there were records.
    async fn read(
        &mut self,
        selection: &Selection,
        wait: Duration,
        end: u64,
    ) -> Result<bool, ReplayError> {
        let records = self.reader.next(wait).await?;
        for (offset, record) in &records {
            if *offset >= end || self.ended {
                self.ended = true; // the reader is past them
                break;
            }
            if let Err(error) = self.take(*offset, record, selection) {
                self.failed = Some(error);
                break;
            }
        }
        Ok(!records.is_empty())
    }

    fn take(
        &mut self,
        offset: u64,
        record: &Bytes,
        selection: &Selection,
    ) -> Result<(), ReplayError> {
        let partition = self.partition;
        let folded = self.fold.step(offset, record);
        let folded = folded.map_err(|reason| ReplayError::Fold { partition, reason })?;
        let Some(what) = wanted(folded, record, selection) else { return Ok(()) };
        match &what {
            What::Event { event, .. } => self.at_ms = event.at_ms,
            What::Skip(skip) => self.at_ms = skip.at_ms,
            What::Fence(_) => {}
        }
        let (position, at_ms) = (Position { partition, offset }, self.at_ms);
        self.ended = selection.has_ended(position);
        let too_late = selection.is_after(position, at_ms);
        let promotion_id = match &what {
            What::Event { event, .. } => Some(&event.promotion_id),
            What::Fence(_) | What::Skip(_) => None, // of every promotion of the partition
        };
        let of_promotion = match (&selection.promotion_id, promotion_id) {
            (Some(asked), Some(id)) => asked == id,
            (None, _) | (_, None) => true,
        };
        if !too_late && of_promotion && selection.has_begun(position, at_ms) {
            let record = record.clone();
            self.ready.push_back(Item { position, at_ms, what, record });
        }
        Ok(())
    }
}

/// What a record says, where it is of a kind that is wanted.
fn wanted(folded: Folded, record: &Bytes, selection: &Selection) -> Option<What> {
    match folded {
        Folded::Event(event) => Some(What::Event { event, void: false }),
        Folded::Void if selection.void => match decode_record(record) {
            Ok(record::Kind::Event(event)) => Some(What::Event { event, void: true }),
            Ok(_) | Err(_) => None,
        },
        Folded::Fence(fence) if selection.fences => Some(What::Fence(fence)),
        Folded::Skip(skip) if selection.fences => Some(What::Skip(skip)),
        Folded::Fence(_) | Folded::Skip(_) | Folded::Void | Folded::Skipped(_) => None,
    }
}
