//! The wanted events of one partition.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use seckill_log::{Fold, Folded, Log, LogError, Reader, fold_from};
use seckill_proto::v1::{Checkpoint, Event, record};
use seckill_proto::{Position, decode_record};

use crate::ReplayError;
use crate::selection::Selection;

/// A log that gives nothing for so long, though it has more, is not there.
const STALLED: Duration = Duration::from_secs(20);

/// An event of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Where it is.
    pub position: Position,
    /// What happened.
    pub event: Event,
    /// Whether it counts for nobody: left behind by an owner that was deposed.
    pub void: bool,
    /// The record as it is in the log.
    pub record: Bytes,
}

pub(crate) struct Source {
    partition: u32,
    reader: Box<dyn Reader>,
    fold: Fold,
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
        Ok(Self { partition, reader, fold, end, ready, ended: false, failed: None })
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
        let (event, void) =
            match folded.map_err(|reason| ReplayError::Fold { partition, reason })? {
                Folded::Event(event) => (event, false),
                Folded::Void if selection.void => match decode_record(record) {
                    Ok(record::Kind::Event(event)) => (event, true),
                    Ok(_) | Err(_) => return Ok(()),
                },
                Folded::Fence(_) | Folded::Void | Folded::Skipped(_) | Folded::Skip(_) => {
                    return Ok(());
                }
            };
        let position = Position { partition, offset };
        self.ended = selection.has_ended(position);
        let too_late = selection.is_after(position, event.at_ms);
        let of_promotion =
            selection.promotion_id.as_ref().is_none_or(|id| *id == event.promotion_id);
        if !too_late && of_promotion && selection.has_begun(position, event.at_ms) {
            let record = record.clone();
            self.ready.push_back(Item { position, event, void, record });
        }
        Ok(())
    }
}
