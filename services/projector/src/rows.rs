//! From records of one partition to the rows of every view.

use std::sync::Arc;

use bytes::Bytes;
use seckill_log::{
    Contradiction, Fold, FoldError, Folded, Log, LogError, Witness, contradiction, fold_from,
};
use seckill_proto::v1::{Checkpoint, Event, Skip};
use seckill_views::{Changes, Progress, PromotionRow, Views, ViewsError};

use crate::open::Open;
use crate::projection::{Projection, Unscheduled, needs_row};
use crate::projections::Projections;

/// The views, as a witness of the log.
const VIEWS: &str = "the views";

/// Why rows are not made or written any further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Views(#[from] ViewsError),
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error(transparent)]
    Unscheduled(#[from] Unscheduled),
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    #[error("the views went back from offset {from} to {to}: they have lost writes")]
    WentBack { from: u64, to: u64 },
    #[error("the log went back from offset {from} to {to}")]
    LogWentBack { from: u64, to: u64 },
    #[error("the tables of the rebuild are of another history than those that are read")]
    OtherHistory,
}

impl SessionError {
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Log(error) => error.is_retryable(),
            Self::Views(error) => error.is_retryable(),
            Self::WentBack { .. } | Self::LogWentBack { .. } => true,
            Self::Fold(_) | Self::Unscheduled(_) | Self::Contradiction(_) | Self::OtherHistory => {
                false
            }
        }
    }
}

/// Makes the rows of a partition, from where some tables are.
pub(crate) struct RowMaker {
    log: Arc<dyn Log>,
    partition: u32,
    fold: Fold,
    pub(crate) projections: Projections,
}

/// What some records make.
pub(crate) struct Made {
    pub(crate) changes: Changes,
    pub(crate) events: u64,
    /// When the last of the events was decided.
    pub(crate) at_ms: Option<i64>,
    /// Why the record after those cannot be folded.
    pub(crate) stopped: Option<FoldError>,
}

impl RowMaker {
    /// From a checkpoint that is one of this log, with the rows that are stored there.
    pub(crate) async fn begin(
        log: &Arc<dyn Log>,
        partition: u32,
        checkpoint: &Checkpoint,
        stored: &Views,
    ) -> Result<Self, SessionError> {
        assert_history(&**log, partition, checkpoint).await?;
        let open = Open::resume(stored.open_promotions(partition).await?);
        let projections = Projections { promotions: Projection::default(), open };
        let (log, fold) = (Arc::clone(log), fold_from(&**log, partition, checkpoint).await?);
        Ok(Self { log, partition, fold, projections })
    }

    pub(crate) fn next_offset(&self) -> u64 {
        self.fold.next_offset()
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        self.fold.checkpoint()
    }

    /// Makes rows of the records that follow. `stored` has those that came before.
    pub(crate) async fn make(
        &mut self,
        records: &[(u64, Bytes)],
        stored: &Views,
    ) -> Result<Made, SessionError> {
        let before = self.fold.checkpoint();
        let (events, stopped) = self.step(records);
        if self.fold.term() != before.term {
            // A new owner: it may have begun on a log that had lost its end.
            assert_history(&*self.log, self.partition, &before).await?;
        }
        load_rows(stored, &mut self.projections.promotions, &events).await?;
        let reason = stopped.as_ref().map(ToString::to_string);
        let progress = Progress::at(self.partition, &self.fold.checkpoint(), reason);
        let changes = self.projections.changes(&events, progress)?;
        self.projections.promotions.forget_finished();
        let at_ms = events.last().map(|(_, event)| event.at_ms);
        Ok(Made { changes, events: events.len() as u64, at_ms, stopped })
    }

    /// Events that count, up to the first record that cannot be folded.
    fn step(&mut self, records: &[(u64, Bytes)]) -> (Vec<(u64, Event)>, Option<FoldError>) {
        let mut events = Vec::with_capacity(records.len());
        for (offset, record) in records {
            match self.fold.step(*offset, record) {
                Ok(Folded::Event(event)) => events.push((*offset, event)),
                Ok(Folded::Fence(_) | Folded::Skip(_)) => {}
                Ok(Folded::Skipped(skip)) => self.tell_skipped(&skip),
                Ok(Folded::Void) => metrics::counter!("seckill_void_records_total").increment(1),
                Err(error) => return (events, Some(error)),
            }
        }
        (events, None)
    }

    fn tell_skipped(&self, Skip { offset, by, reason, .. }: &Skip) {
        tracing::warn!(partition = self.partition, offset, by, reason, "a record is skipped");
        metrics::counter!("seckill_skipped_records_total").increment(1);
    }
}

/// Some tables have got somewhere in a log: is it this one, with all that they have seen of it?
async fn assert_history(
    log: &dyn Log,
    partition: u32,
    checkpoint: &Checkpoint,
) -> Result<(), SessionError> {
    let views = [Witness::new(VIEWS, checkpoint.clone())];
    match contradiction(log, partition, &views).await? {
        Some(contradiction) => Err(contradiction.into()),
        None => Ok(()),
    }
}

async fn load_rows(
    stored: &Views,
    projection: &mut Projection,
    events: &[(u64, Event)],
) -> Result<(), SessionError> {
    for (_, event) in events {
        if !projection.knows(&event.promotion_id)
            && let Some(row) = stored_row(stored, event, events).await?
        {
            projection.insert(row);
        }
    }
    Ok(())
}

/// The stored row, unless the first of these events about it makes it.
async fn stored_row(
    stored: &Views,
    event: &Event,
    events: &[(u64, Event)],
) -> Result<Option<PromotionRow>, SessionError> {
    let first = events.iter().find(|(_, other)| other.promotion_id == event.promotion_id);
    if !first.is_some_and(|(_, first)| needs_row(first)) {
        return Ok(None);
    }
    Ok(stored.promotion(&event.promotion_id).await?)
}
