//! One partition: from the log into the views, in sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use prost::Message;
use seckill_log::{Committer, Log, LogError, PROJECTOR_MARK, Reader, Table};
use seckill_proto::v1::Checkpoint;
use seckill_telemetry::{Part, Span};
use seckill_views::Views;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::beside::Beside;
use crate::build::Turns;
use crate::rows::{RowMaker, SessionError};

/// How long a read waits for records.
const STEP: Duration = Duration::from_millis(200);
/// Between the beginnings of two writes, as long as records come in small numbers: a write costs as much as the rows of many
/// coupons. One that comes alone is written at once.
const WRITE_EVERY: Duration = Duration::from_millis(5);
/// Of so many records nobody waits for more.
const MANY: usize = 500;
/// How often the views are asked how far they are. A database that restarts takes longer than
/// this, so one that lost its last writes is always noticed.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How often the lag is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(2);
/// In place of an offset, until the views have said how far they are.
const UNKNOWN: u64 = u64::MAX;
/// How long a stopped projector may take to write what is in the log.
const DRAIN: Duration = Duration::from_secs(5);

pub(crate) struct Follower {
    log: Arc<dyn Log>,
    views: Views,
    partition: u32,
    health: Part,
    /// The first offset that the views do not have yet, as far as this process knows.
    projected: Arc<AtomicU64>,
    /// When the last event that they have was decided.
    projected_at_ms: AtomicI64,
    /// Of the builders of this process.
    turns: Turns,
    /// Told how far the partition is, for those who look at the group from outside.
    committer: Committer,
}

/// How far one session has got.
struct Session {
    reader: Box<dyn Reader>,
    rows: RowMaker,
    checked: Instant,
    /// When the next write may begin.
    write_at: Instant,
    /// What the last mark in the table of owners says.
    marked: Checkpoint,
}

impl Session {
    /// Records that are to be written now.
    async fn next(&mut self) -> Result<Vec<(u64, Bytes)>, LogError> {
        tokio::time::sleep_until(self.write_at).await;
        let records = self.reader.next(STEP).await?;
        if (1..MANY).contains(&records.len()) {
            self.write_at = Instant::now() + WRITE_EVERY;
        }
        Ok(records)
    }
}

impl Follower {
    pub(crate) fn new(
        log: Arc<dyn Log>,
        views: Views,
        partition: u32,
        health: Part,
        turns: Turns,
    ) -> Self {
        let projected = Arc::new(AtomicU64::new(UNKNOWN));
        let projected_at_ms = AtomicI64::new(i64::MAX);
        let committer = Committer::default();
        Self { log, views, partition, health, projected, projected_at_ms, turns, committer }
    }

    pub(crate) fn with_committer(self, committer: Committer) -> Self {
        Self { committer, ..self }
    }

    /// Takes note that the views have all before this offset.
    fn reached(&self, next_offset: u64) {
        self.projected.store(next_offset, Ordering::Release);
        self.committer.commit(self.partition, next_offset);
    }

    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            biased;
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
                let records = end.saturating_sub(projected);
                // Anew each time: a gauge that was not set for a while is gone.
                metrics::gauge!("seckill_projector_lag_records", "partition" => partition.clone())
                    .set(records as f64);
                let seconds = if records == 0 { 0.0 } else { self.seconds_behind() };
                metrics::gauge!("seckill_projector_lag_seconds", "partition" => partition.clone())
                    .set(seconds);
            }
            tokio::time::sleep(MEASURE_EVERY).await;
        }
    }

    /// Since the last event that the views have.
    fn seconds_behind(&self) -> f64 {
        let now_ms = seckill_edge::now_ms();
        let at_ms = self.projected_at_ms.load(Ordering::Relaxed);
        (now_ms.saturating_sub(at_ms).max(0)) as f64 / 1_000.0
    }

    async fn sessions(&self, stop: &CancellationToken) {
        let (mut backoff, mut said) = (backoff(self.partition), String::new());
        let mut beside = Beside::new(
            Arc::clone(&self.log),
            self.views.clone(),
            self.partition,
            self.turns.clone(),
            Arc::clone(&self.projected),
        );
        while !stop.is_cancelled() {
            let before = Instant::now();
            let Err(error) = self.session(&mut beside, stop).await else { return };
            if before.elapsed() > Duration::from_secs(10) {
                (backoff, said) = (self::backoff(self.partition), String::new());
            }
            self.report(&error, &mut said);
            tokio::select! {
                biased;
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
    async fn session(
        &self,
        beside: &mut Beside,
        stop: &CancellationToken,
    ) -> Result<(), SessionError> {
        let mut session = self.begin(beside).await?;
        let target = self.log.end(self.partition).await?;
        let mut behind = true;
        self.health.not_ready(format!("the views are being brought up to offset {target}"));
        while !stop.is_cancelled() {
            if behind && session.rows.next_offset() >= target {
                behind = false;
                self.health.ready();
                tracing::info!(partition = self.partition, offset = target, "views are up to date");
            }
            beside.follow(&mut session.rows).await?;
            let next = stop.run_until_cancelled(session.next()).await;
            let Some(records) = next.transpose()? else { break };
            self.project(&mut session, beside, records).await?;
            self.check(&mut session, beside).await?;
        }
        self.finish(&mut session, beside).await
    }

    async fn begin(&self, beside: &mut Beside) -> Result<Session, SessionError> {
        let progress = self.views.progress(self.partition).await?;
        let checkpoint = progress.map(|progress| progress.checkpoint()).unwrap_or_default();
        // Told to the owners before anything else: this may be the only proof that there is.
        self.mark(&checkpoint).await?;
        beside.begin_session(checkpoint.next_offset).await;
        let stored = beside.newest().await?;
        let rows = RowMaker::begin(&self.log, self.partition, &checkpoint, &stored).await?;
        self.committer.commit(self.partition, rows.next_offset());
        let reader = self.log.read(self.partition, rows.next_offset()).await?;
        let now = Instant::now();
        Ok(Session { reader, rows, checked: now, write_at: now, marked: checkpoint })
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
        beside: &Beside,
        records: Vec<(u64, Bytes)>,
    ) -> Result<(), SessionError> {
        if records.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let spans = self.spans(&mut *session.reader);
        let stored = beside.newest().await?;
        let made = session.rows.make(&records, &stored).await?;
        beside.write(made.changes).await?;
        drop(spans);
        self.reached(session.rows.next_offset());
        made.at_ms.into_iter().for_each(|at| self.projected_at_ms.store(at, Ordering::Relaxed));
        metrics::counter!("seckill_projected_events_total").increment(made.events);
        metrics::histogram!("seckill_project_seconds").record(begun.elapsed());
        made.stopped.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Of records that were just read and belong to traces: until their rows are written.
    fn spans(&self, reader: &mut dyn Reader) -> Vec<Span> {
        let of_record = |(offset, traceparent): (u64, String)| {
            let span = Span::of(&traceparent, "project");
            span.set("seckill.position", format!("{}:{offset}", self.partition));
            span
        };
        reader.traced().into_iter().map(of_record).collect()
    }

    /// Sees to it that views and log still have what they said they have.
    async fn check(&self, session: &mut Session, beside: &Beside) -> Result<(), SessionError> {
        if session.checked.elapsed() < CHECK_EVERY {
            return Ok(());
        }
        session.checked = Instant::now();
        let stored = self.views.progress(self.partition).await?;
        let (from, to) = (session.rows.next_offset(), stored.map_or(0, |p| p.next_offset));
        if to < from && from > 0 {
            return Err(SessionError::WentBack { from, to });
        }
        beside.check(from).await?;
        let to = self.log.end(self.partition).await?;
        if to < from {
            return Err(SessionError::LogWentBack { from, to });
        }
        let checkpoint = session.rows.checkpoint();
        if checkpoint != session.marked {
            self.mark(&checkpoint).await?;
            session.marked = checkpoint;
        }
        Ok(())
    }

    async fn finish(&self, session: &mut Session, beside: &Beside) -> Result<(), SessionError> {
        let deadline = Instant::now() + DRAIN;
        let end = self.log.end(self.partition).await?;
        while session.rows.next_offset() < end && Instant::now() < deadline {
            let records = session.reader.next(STEP).await?;
            self.project(session, beside, records).await?;
        }
        Ok(())
    }
}

/// Spread, so that partitions do not all come back at once.
pub(crate) fn backoff(partition: u32) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .with_jitter_seed(u64::from(partition))
        .without_max_times()
        .build()
}
