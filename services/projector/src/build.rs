//! Brings one partition of the tables of a rebuild up from the start of the log, or from where an
//! earlier builder got to, until it is close to where the views are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use seckill_log::{Log, Reader, next_records};
use seckill_views::{Changes, Phase, Rebuild, Views, ViewsError};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::follow::backoff;
use crate::rows::{RowMaker, SessionError};

/// Records that are left to the session that writes the views: it stands still for them.
const NEAR: u64 = 1_024;
/// Records that are written at once.
const CHUNK: usize = 4_096;
/// How long a read waits for records.
const STEP: Duration = Duration::from_millis(200);

pub(crate) struct Builder {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) views: Views,
    pub(crate) partition: u32,
    /// Of the rebuild.
    pub(crate) number: u32,
    /// The first offset that the views do not have.
    pub(crate) projected: Arc<AtomicU64>,
    pub(crate) turns: Turns,
}

/// Lets some of the builders of a process write at a time: those who write what is read come first, and
/// the builders of all partitions together would leave them little of a database.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Semaphore>);

impl Turns {
    /// One for every two cores.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((cores / 2).max(1))))
    }

    async fn next(&self) -> SemaphorePermit<'_> {
        self.0.acquire().await.expect("nobody closes it")
    }
}

/// Where a builder has got to.
pub(crate) struct Built {
    partition: u32,
    /// Of the rebuild.
    number: u32,
    /// The tables that it writes.
    beside: Views,
    reader: Box<dyn Reader>,
    /// Read, and not written yet.
    read: VecDeque<(u64, Bytes)>,
    pub(crate) rows: RowMaker,
}

impl Builder {
    /// Returns once it is close, and not before.
    pub(crate) async fn run(self) -> Built {
        let (mut backoff, mut said) = (backoff(self.partition), String::new());
        loop {
            match self.session().await {
                Ok(built) => return built,
                Err(error) => self.report(&error, &mut said).await,
            }
            tokio::time::sleep(backoff.next().unwrap_or_default()).await;
        }
    }

    async fn report(&self, error: &SessionError, said: &mut String) {
        let (partition, number) = (self.partition, self.number);
        let text = error.to_string();
        if *said != text {
            tracing::warn!(partition, number, %error, "the rebuild stands still; beginning again");
            // Shown beside its progress, if that can be written; it is said above anyway.
            let _ = self.note(&text).await;
            *said = text;
        }
    }

    async fn note(&self, reason: &str) -> Result<(), ViewsError> {
        let beside = self.views.beside();
        let Some(mut progress) = beside.progress(self.partition).await? else { return Ok(()) };
        progress.stopped = Some(reason.to_owned());
        self.views.write_beside(Changes::none(progress), self.number).await
    }

    async fn session(&self) -> Result<Built, SessionError> {
        let mut built = self.begin().await?;
        loop {
            let rebuild = self.rebuild().await?;
            if rebuild.phase == Phase::Paused {
                tokio::time::sleep(STEP).await;
                continue;
            }
            // Always short of where the views are, so that nobody takes it to be written with them.
            let end = self.projected.load(Ordering::Acquire);
            let missing = end.saturating_sub(built.rows.next_offset());
            if missing <= NEAR {
                return Ok(built);
            }
            let turn = self.turns.next().await;
            let pace = Pace::new(rebuild.rate, self.log.partitions());
            let most = usize::try_from(missing - 1).unwrap_or(CHUNK).min(pace.most());
            let written = built.write(most).await?;
            drop(turn);
            self.measure(written, missing);
            pace.keep(written).await;
        }
    }

    async fn begin(&self) -> Result<Built, SessionError> {
        let (partition, beside) = (self.partition, self.views.beside());
        let progress = beside.progress(partition).await?;
        let checkpoint = progress.map(|progress| progress.checkpoint()).unwrap_or_default();
        let rows = RowMaker::begin(&self.log, partition, &checkpoint, &beside).await?;
        let reader = self.log.read(partition, rows.next_offset()).await?;
        let number = self.number;
        Ok(Built { partition, number, beside, reader, read: VecDeque::new(), rows })
    }

    /// The rebuild that this is for; one that has ended is waited for, until this is dropped.
    async fn rebuild(&self) -> Result<Rebuild, SessionError> {
        match self.views.rebuild().await? {
            Some(rebuild) if rebuild.number == self.number => Ok(rebuild),
            Some(_) | None => std::future::pending().await,
        }
    }

    fn measure(&self, written: usize, missing: u64) {
        metrics::counter!("seckill_rebuild_records_total").increment(written as u64);
        let left = missing.saturating_sub(written as u64) as f64;
        let partition = self.partition.to_string();
        metrics::gauge!("seckill_rebuild_left_records", "partition" => partition).set(left);
    }
}

impl Built {
    /// Writes what is missing up to an offset.
    pub(crate) async fn advance(&mut self, end: u64) -> Result<(), SessionError> {
        while self.rows.next_offset() < end {
            let missing = end - self.rows.next_offset();
            self.write(usize::try_from(missing).unwrap_or(CHUNK).min(CHUNK)).await?;
        }
        Ok(())
    }

    /// Writes up to so many of the records that follow. How many it was.
    async fn write(&mut self, most: usize) -> Result<usize, SessionError> {
        if self.read.is_empty() {
            self.read.extend(next_records(&mut *self.reader, self.partition).await?);
        }
        let records: Vec<_> = self.read.drain(..most.min(self.read.len())).collect();
        let made = self.rows.make(&records, &self.beside).await?;
        self.beside.write_beside(made.changes, self.number).await?;
        made.stopped.map_or(Ok(records.len()), |error| Err(error.into()))
    }
}

/// How fast records may be read.
struct Pace {
    begun: Instant,
    /// In all partitions together; none: as fast as it goes.
    rate: Option<u32>,
    /// Who share the rate.
    partitions: u32,
}

impl Pace {
    fn new(rate: Option<u32>, partitions: u32) -> Self {
        Self { begun: Instant::now(), rate, partitions }
    }

    /// Records that may be written at once: those of a fifth of a second.
    fn most(&self) -> usize {
        let share = |rate: u32| usize::try_from(rate / self.partitions / 5).unwrap_or(CHUNK);
        self.rate.map_or(CHUNK, |rate| share(rate).clamp(1, CHUNK))
    }

    /// Waits for as long as so many records are to take.
    async fn keep(&self, written: usize) {
        if let Some(rate) = self.rate {
            let per_second = f64::from(rate) / f64::from(self.partitions);
            let due = Duration::from_secs_f64(written as f64 / per_second);
            tokio::time::sleep_until(self.begun + due).await;
        }
    }
}
