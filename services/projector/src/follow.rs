//! One partition: from the log into the views, in sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use prost::Message;
use seckill_log::{
    Contradiction, Fold, FoldError, Folded, Log, LogError, PROJECTOR_MARK, Reader, Table, Witness,
    contradiction,
};
use seckill_proto::v1::{Checkpoint, Event};
use seckill_telemetry::Part;
use seckill_views::{Progress, PromotionRow, Views, ViewsError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::open::Open;
use crate::projection::{Projection, Unscheduled, needs_row};
use crate::projections::Projections;

/// The views, as a witness of the log.
pub(crate) const VIEWS: &str = "the views";

/// How long a read waits for records.
const STEP: Duration = Duration::from_millis(200);
/// How often the views are asked how far they are. A database that restarts takes longer than
/// this, so one that lost its last writes is always noticed.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How often the lag is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(2);
/// In place of an offset, until the views have said how far they are.
const UNKNOWN: u64 = u64::MAX;
/// How long a stopped projector may take to write what is in the log.
const DRAIN: Duration = Duration::from_secs(5);

/// Why a session ended.
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
}

impl SessionError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Log(error) => error.is_retryable(),
            Self::Views(error) => error.is_retryable(),
            Self::WentBack { .. } | Self::LogWentBack { .. } => true,
            Self::Fold(_) | Self::Unscheduled(_) | Self::Contradiction(_) => false,
        }
    }
}

pub(crate) struct Follower {
    log: Arc<dyn Log>,
    views: Views,
    partition: u32,
    health: Part,
    /// The first offset that the views do not have yet, as far as this process knows.
    projected: AtomicU64,
}

/// How far one session has got.
struct Session {
    reader: Box<dyn Reader>,
    fold: Fold,
    projections: Projections,
    checked: Instant,
    /// What the last mark in the table of owners says.
    marked: Checkpoint,
}

impl Follower {
    pub(crate) fn new(log: Arc<dyn Log>, views: Views, partition: u32, health: Part) -> Self {
        Self { log, views, partition, health, projected: AtomicU64::new(UNKNOWN) }
    }

    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.sessions(&stop) => {}
            () = self.measure_lag() => {}
        }
    }

    /// Also while no session goes well: then it matters most.
    async fn measure_lag(&self) {
        let partition = self.partition.to_string();
        loop {
            let projected = self.projected.load(Ordering::Relaxed);
            if projected != UNKNOWN
                && let Ok(end) = self.log.end(self.partition).await
            {
                // Anew each time: a gauge that was not set for a while is gone.
                metrics::gauge!("seckill_projector_lag_records", "partition" => partition.clone())
                    .set(end.saturating_sub(projected) as f64);
            }
            tokio::time::sleep(MEASURE_EVERY).await;
        }
    }

    async fn sessions(&self, stop: &CancellationToken) {
        let (mut backoff, mut said) = (backoff(), String::new());
        while !stop.is_cancelled() {
            let before = Instant::now();
            let Err(error) = self.session(stop).await else { return };
            if before.elapsed() > Duration::from_secs(10) {
                (backoff, said) = (self::backoff(), String::new());
            }
            self.report(&error, &mut said);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(backoff.next().unwrap_or_default()) => {}
            }
        }
    }

    /// One line for as long as the reason is the same.
    fn report(&self, error: &SessionError, said: &mut String) {
        let partition = self.partition;
        self.health.not_ready(error.to_string());
        metrics::counter!("seckill_projector_sessions_failed_total").increment(1);
        let before = std::mem::replace(said, error.to_string());
        if before == *said {
            tracing::debug!(partition, %error, "the views still stand still");
        } else if error.is_retryable() {
            tracing::warn!(partition, %error, "the views stand still; beginning again");
        } else {
            tracing::error!(partition, %error, "the views of the partition have stopped");
        }
    }

    /// Follows the log until `stop`, then writes what is left.
    async fn session(&self, stop: &CancellationToken) -> Result<(), SessionError> {
        let mut session = self.begin().await?;
        let target = self.log.end(self.partition).await?;
        let mut behind = true;
        self.health.not_ready(format!("the views are being brought up to offset {target}"));
        while !stop.is_cancelled() {
            if behind && session.fold.next_offset() >= target {
                behind = false;
                self.health.ready();
                tracing::info!(partition = self.partition, offset = target, "views are up to date");
            }
            let records = tokio::select! {
                records = session.reader.next(STEP) => records?,
                () = stop.cancelled() => break,
            };
            self.project(&mut session, records).await?;
            self.check(&mut session).await?;
        }
        self.finish(&mut session).await
    }

    async fn begin(&self) -> Result<Session, SessionError> {
        let progress = self.views.progress(self.partition).await?;
        let checkpoint = progress.map(|progress| progress.checkpoint()).unwrap_or_default();
        // Told to the owners before anything else: this may be the only proof that there is.
        self.mark(&checkpoint).await?;
        self.assert_history(&checkpoint).await?;
        let fold = Fold::resume(&checkpoint);
        self.projected.store(fold.next_offset(), Ordering::Relaxed);
        let reader = self.log.read(self.partition, fold.next_offset()).await?;
        let open = Open::resume(self.views.open_promotions(self.partition).await?);
        let projections = Projections { promotions: Projection::default(), open };
        let (checked, marked) = (Instant::now(), checkpoint);
        Ok(Session { reader, fold, projections, checked, marked })
    }

    /// The views have got somewhere in a log: is it this one, with all that they have seen of it?
    async fn assert_history(&self, checkpoint: &Checkpoint) -> Result<(), SessionError> {
        let views = [Witness::new(VIEWS, checkpoint.clone())];
        match contradiction(&*self.log, self.partition, &views).await? {
            Some(contradiction) => Err(contradiction.into()),
            None => Ok(()),
        }
    }

    /// Leaves word in the table of owners how far the views have seen the log.
    async fn mark(&self, checkpoint: &Checkpoint) -> Result<(), LogError> {
        if checkpoint.next_offset == 0 {
            return Ok(());
        }
        let mark = (PROJECTOR_MARK.to_owned(), Bytes::from(checkpoint.encode_to_vec()));
        self.log.put(Table::Owners, self.partition, vec![mark]).await
    }

    /// Makes rows of records and writes them. At a record that cannot be folded: of those before
    /// it, and the reason beside the progress.
    async fn project(
        &self,
        session: &mut Session,
        records: Vec<(u64, Bytes)>,
    ) -> Result<(), SessionError> {
        if records.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let before = session.fold.checkpoint();
        let (events, stopped) = session.step(&records);
        if session.fold.term() != before.term {
            // A new owner: it may have begun on a log that had lost its end.
            self.assert_history(&before).await?;
        }
        self.load_rows(&mut session.projections.promotions, &events).await?;
        let reason = stopped.as_ref().map(ToString::to_string);
        let progress = Progress::at(self.partition, &session.fold.checkpoint(), reason);
        let changes = session.projections.changes(&events, progress)?;
        self.views.write(changes).await?;
        self.projected.store(session.fold.next_offset(), Ordering::Relaxed);
        session.projections.promotions.forget_finished();
        metrics::counter!("seckill_projected_events_total").increment(events.len() as u64);
        metrics::histogram!("seckill_project_seconds").record(begun.elapsed());
        stopped.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn load_rows(
        &self,
        projection: &mut Projection,
        events: &[(u64, Event)],
    ) -> Result<(), SessionError> {
        for (_, event) in events {
            if !projection.knows(&event.promotion_id)
                && let Some(row) = self.stored(event, events).await?
            {
                projection.insert(row);
            }
        }
        Ok(())
    }

    /// The stored row, unless the first of these events about it makes it.
    async fn stored(
        &self,
        event: &Event,
        events: &[(u64, Event)],
    ) -> Result<Option<PromotionRow>, SessionError> {
        let first = events.iter().find(|(_, other)| other.promotion_id == event.promotion_id);
        if !first.is_some_and(|(_, first)| needs_row(first)) {
            return Ok(None);
        }
        Ok(self.views.promotion(&event.promotion_id).await?)
    }

    /// Sees to it that views and log still have what they said they have.
    async fn check(&self, session: &mut Session) -> Result<(), SessionError> {
        if session.checked.elapsed() < CHECK_EVERY {
            return Ok(());
        }
        session.checked = Instant::now();
        let stored = self.views.progress(self.partition).await?;
        let (from, to) = (session.fold.next_offset(), stored.map_or(0, |p| p.next_offset));
        if to < from && from > 0 {
            return Err(SessionError::WentBack { from, to });
        }
        let to = self.log.end(self.partition).await?;
        if to < from {
            return Err(SessionError::LogWentBack { from, to });
        }
        let checkpoint = session.fold.checkpoint();
        if checkpoint != session.marked {
            self.mark(&checkpoint).await?;
            session.marked = checkpoint;
        }
        Ok(())
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SessionError> {
        let deadline = Instant::now() + DRAIN;
        let end = self.log.end(self.partition).await?;
        while session.fold.next_offset() < end && Instant::now() < deadline {
            let records = session.reader.next(STEP).await?;
            self.project(session, records).await?;
        }
        Ok(())
    }
}

impl Session {
    /// Events that count, up to the first record that cannot be folded.
    fn step(&mut self, records: &[(u64, Bytes)]) -> (Vec<(u64, Event)>, Option<FoldError>) {
        let mut events = Vec::with_capacity(records.len());
        for (offset, record) in records {
            match self.fold.step(*offset, record) {
                Ok(Folded::Event(event)) => events.push((*offset, event)),
                Ok(Folded::Fence(_)) => {}
                Ok(Folded::Void) => metrics::counter!("seckill_void_records_total").increment(1),
                Err(error) => return (events, Some(error)),
            }
        }
        (events, None)
    }
}

/// Says what the metrics of this crate are.
pub(crate) fn describe_metrics() {
    metrics::describe_gauge!(
        "seckill_projector_lag_records",
        "Records in the log that the views do not have yet, by partition"
    );
    metrics::describe_counter!(
        "seckill_projected_events_total",
        "Events whose rows were written; after a restart some are counted again"
    );
    metrics::counter!("seckill_projected_events_total").increment(0);
    metrics::describe_histogram!(
        "seckill_project_seconds",
        "From reading a batch of records until its rows are written"
    );
    metrics::describe_counter!(
        "seckill_void_records_total",
        "Records that count for nobody, left behind by an owner that was deposed"
    );
    metrics::counter!("seckill_void_records_total").increment(0);
    metrics::describe_counter!(
        "seckill_projector_sessions_failed_total",
        "Times that a partition's views had to begin again at their progress"
    );
    metrics::counter!("seckill_projector_sessions_failed_total").increment(0);
}

fn backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times()
        .build()
}
