//! Writes the feed: one record for every coupon granted, in one order, for programs of others.
//!
//! Whoever has the first partition does it, for all of them. It follows the log as everybody does, so what
//! is void is never fed. What keeps a coupon from being fed twice is the feed itself: whoever takes it over
//! is its only writer from then on, and reads what was written since the progress that was kept.

mod compare;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use prost::Message;
use seckill_log::{
    Contradiction, FeedRecord, FeedWriter, Fold, FoldError, Folded, Log, LogError, Reader, Table,
    Witness, contradiction, fold_from,
};
use seckill_proto::v1::{
    Checkpoint, Coupon, Event, FedPartition, FeedLoss, FeedProgress, event::Body,
};
use seckill_proto::{CouponId, Position, decode_strictly};
use seckill_telemetry::Part;
use seckill_views::{Views, ViewsError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::follow::backoff;

pub(crate) use compare::FeedCheck;

/// The feed, as a witness of the log.
const FEED: &str = "the feed";
/// Its progress, in the table of owners of the first partition.
const KEY: &str = "feed";
const FIRST: u32 = 0;
/// Coupons that are written at once are collected for so long.
const COLLECT: Duration = Duration::from_millis(100);
/// Records of a round that say that there is more.
const MANY: usize = 1_000;
/// Coupons that are written at once, at most.
const MAX_WRITTEN: usize = 10_000;
/// Records of the feed that are read at once.
const READ: usize = 10_000;
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// Before a partition that cannot be read on is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// How long a feeder that is stopped may take to feed what is in the log.
const DRAIN: Duration = Duration::from_secs(5);

/// Why the feed does not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Views(#[from] ViewsError),
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    #[error("the feed ends at {end}, and was seen up to {seen}: put it back from a copy")]
    Lost { end: u64, seen: u64 },
    #[error("offset {0} of the feed is no coupon")]
    Foreign(u64),
    #[error("its progress in the table of owners cannot be read")]
    Progress,
    #[error("the views do not have promotion {0:?} yet")]
    Unknown(String),
}

pub(crate) struct Feeder {
    log: Arc<dyn Log>,
    views: Views,
    health: Part,
}

/// One partition of the log, as far as it is fed.
struct Source {
    partition: u32,
    checkpoint: Checkpoint,
    /// Nothing granted from here on is in the feed.
    fed: u64,
    open: Option<Open>,
    again: Instant,
    /// Why it is not read.
    stopped: Option<String>,
}

struct Open {
    reader: Box<dyn Reader>,
    fold: Fold,
    /// Of promotions whose coupons were fed.
    discounts: HashMap<String, f64>,
}

impl Feeder {
    pub(crate) fn new(log: Arc<dyn Log>, views: Views, health: Part) -> Self {
        health.ready();
        Self { log, views, health }
    }

    pub(crate) async fn run(self, stop: CancellationToken) {
        let (mut backoff, mut said) = (backoff(), String::new());
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let Err(error) = self.session(&stop).await else { return };
            if begun.elapsed() > Duration::from_secs(10) {
                (backoff, said) = (self::backoff(), String::new());
            }
            let error = error.to_string();
            self.health.not_ready(format!("the feed stands still: {error}"));
            if error != said {
                tracing::warn!(error, "the feed stands still; beginning again");
                said = error;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(backoff.next().unwrap_or_default()) => {}
            }
        }
    }

    /// Feeds until `stop`, and then what is left.
    async fn session(&self, stop: &CancellationToken) -> Result<(), FeedError> {
        let mut writer = self.log.feed().take_over().await?;
        let (mut kept, mut sources, mut end) = self.resume().await?;
        tracing::debug!(end, "feeding");
        let (mut saved, mut deadline) = (Instant::now(), None);
        let mut collect = Duration::ZERO;
        loop {
            let (records, written) = self.feed(&mut sources, &mut *writer, collect).await?;
            end = written.unwrap_or(end);
            collect = if records < MANY { COLLECT } else { Duration::ZERO };
            self.tell(&sources);
            let deadline = stop
                .is_cancelled()
                .then(|| *deadline.get_or_insert_with(|| Instant::now() + DRAIN));
            let ends = deadline.is_some_and(|at| records == 0 || Instant::now() > at);
            if ends || saved.elapsed() > SAVE_EVERY {
                let now = progress(&sources, end, &kept.losses);
                self.save(&mut kept, now).await?;
                saved = Instant::now();
            }
            if ends {
                return Ok(());
            }
        }
    }

    /// What was kept, and what the feed says of the time since.
    async fn resume(&self) -> Result<(FeedProgress, Vec<Source>, u64), FeedError> {
        let progress = load(&*self.log).await?;
        let source = |partition| {
            let kept = progress.partitions.get(partition as usize).cloned().unwrap_or_default();
            Source {
                partition,
                checkpoint: kept.checkpoint.unwrap_or_default(),
                fed: kept.fed,
                open: None,
                again: Instant::now(),
                stopped: None,
            }
        };
        let mut sources: Vec<_> = (0..self.log.partitions()).map(source).collect();
        let end = read_on(&*self.log, progress.feed_end, |_, coupon| {
            if let Some(source) = sources.get_mut(coupon.partition as usize) {
                source.fed = source.fed.max(coupon.offset + 1);
            }
        })
        .await?;
        Ok((progress, sources, end))
    }

    /// Feeds what has come: how many records of the log that were, and where the feed ends then, if it was
    /// written.
    async fn feed(
        &self,
        sources: &mut [Source],
        writer: &mut dyn FeedWriter,
        wait: Duration,
    ) -> Result<(usize, Option<u64>), FeedError> {
        let taken = join_all(sources.iter_mut().map(|source| self.take(source, wait))).await;
        let (records, mut end) = (taken.iter().map(|(records, _)| records).sum(), None);
        let mut coupons = taken.into_iter().flat_map(|(_, coupons)| coupons).peekable();
        while coupons.peek().is_some() {
            let written: Vec<_> = coupons.by_ref().take(MAX_WRITTEN).map(record).collect();
            let count = written.len() as u64;
            end = Some(writer.append(written).await?);
            metrics::counter!("seckill_fed_coupons_total").increment(count);
        }
        Ok((records, end))
    }

    /// The coupons of a partition that come within some time. One that cannot be read on keeps none of the
    /// others waiting.
    async fn take(&self, source: &mut Source, wait: Duration) -> (usize, Vec<Coupon>) {
        if source.open.is_none() && Instant::now() < source.again {
            tokio::time::sleep(wait).await;
            return (0, Vec::new());
        }
        let mut coupons = Vec::new();
        let taken = self.try_take(source, wait, &mut coupons).await;
        match &source.open {
            Some(open) if taken.is_ok() => {
                source.checkpoint = open.fold.checkpoint();
                source.fed = source.fed.max(source.checkpoint.next_offset);
            }
            // Read again from the checkpoint; what was taken of it is not taken twice.
            Some(_) | None => {
                let last = coupons.last().map(|coupon: &Coupon| coupon.offset + 1);
                source.fed = source.fed.max(last.unwrap_or_default());
            }
        }
        let records = taken.as_ref().copied().unwrap_or_default();
        source.stop(taken.err().map(|error| error.to_string()));
        (records, coupons)
    }

    /// How many records of the log came.
    async fn try_take(
        &self,
        source: &mut Source,
        wait: Duration,
        coupons: &mut Vec<Coupon>,
    ) -> Result<usize, FeedError> {
        let open = match &mut source.open {
            Some(open) => open,
            None => source.open.insert(self.open(source.partition, &source.checkpoint).await?),
        };
        let records = open.reader.next(wait).await?;
        for (offset, record) in &records {
            let Folded::Event(event) = open.fold.step(*offset, record)? else { continue };
            let position = Position { partition: source.partition, offset: *offset };
            let coupon = self.coupon(position, event, &mut open.discounts).await?;
            coupons.extend(coupon.filter(|_| *offset >= source.fed));
        }
        Ok(records.len())
    }

    async fn open(&self, partition: u32, checkpoint: &Checkpoint) -> Result<Open, FeedError> {
        let feed = [Witness::new(FEED, checkpoint.clone())];
        if let Some(contradiction) = contradiction(&*self.log, partition, &feed).await? {
            return Err(contradiction.into());
        }
        let fold = fold_from(&*self.log, partition, checkpoint).await?;
        let reader = self.log.read(partition, fold.next_offset()).await?;
        Ok(Open { reader, fold, discounts: HashMap::new() })
    }

    /// The coupon that an event grants, if it does.
    async fn coupon(
        &self,
        position: Position,
        event: Event,
        discounts: &mut HashMap<String, f64>,
    ) -> Result<Option<Coupon>, FeedError> {
        let Event { at_ms, promotion_id, body, .. } = event;
        match body {
            Some(Body::Grabbed(grabbed)) => {
                let serial = grabbed.serial;
                Ok(Some(Coupon {
                    id: CouponId { promotion_id: promotion_id.clone(), serial }.to_string(),
                    discount: self.discount(discounts, &promotion_id).await?,
                    promotion_id,
                    serial,
                    customer_id: grabbed.customer_id,
                    granted_at_ms: at_ms,
                    partition: position.partition,
                    offset: position.offset,
                }))
            }
            Some(Body::Finished(_)) => {
                discounts.remove(&promotion_id);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Does not change once there is a coupon.
    async fn discount(
        &self,
        discounts: &mut HashMap<String, f64>,
        promotion_id: &str,
    ) -> Result<f64, FeedError> {
        if let Some(discount) = discounts.get(promotion_id) {
            return Ok(*discount);
        }
        let row = self.views.promotion(promotion_id).await?;
        let discount = row.ok_or_else(|| FeedError::Unknown(promotion_id.to_owned()))?.discount;
        discounts.insert(promotion_id.to_owned(), discount);
        Ok(discount)
    }

    /// How it goes.
    fn tell(&self, sources: &[Source]) {
        let stopped = sources.iter().find_map(|source| Some((source, source.stopped.as_ref()?)));
        match stopped {
            Some((source, reason)) => {
                let partition = source.partition;
                let reason = format!("the feed of partition {partition} stands still: {reason}");
                self.health.not_ready(reason);
            }
            None => self.health.ready(),
        }
    }

    /// Keeps what this feeder itself has seen: another one may have taken over since, and knows more.
    async fn save(&self, before: &mut FeedProgress, now: FeedProgress) -> Result<(), FeedError> {
        if *before != now {
            store(&*self.log, &now).await?;
            *before = now;
        }
        Ok(())
    }
}

fn progress(sources: &[Source], feed_end: u64, losses: &[FeedLoss]) -> FeedProgress {
    let of_source = |source: &Source| FedPartition {
        checkpoint: Some(source.checkpoint.clone()),
        fed: source.fed,
    };
    let (partitions, losses) = (sources.iter().map(of_source).collect(), losses.to_vec());
    FeedProgress { feed_end, partitions, losses }
}

impl Source {
    /// Takes note of why it cannot be read on, or that it can.
    fn stop(&mut self, reason: Option<String>) {
        if let Some(error) = &reason {
            if self.stopped != reason {
                let partition = self.partition;
                tracing::warn!(partition, error, "the feed of a partition stands still");
            }
            self.open = None;
            self.again = Instant::now() + AGAIN;
        }
        self.stopped = reason;
    }
}

async fn load(log: &dyn Log) -> Result<FeedProgress, FeedError> {
    let entries = log.scan(Table::Owners, FIRST).await?;
    let Some((_, value)) = entries.into_iter().find(|(key, _)| key == KEY) else {
        return Ok(FeedProgress::default());
    };
    decode_strictly(&value).map_err(|_| FeedError::Progress)
}

async fn store(log: &dyn Log, progress: &FeedProgress) -> Result<(), LogError> {
    let entry = (KEY.to_owned(), Bytes::from(progress.encode_to_vec()));
    log.put(Table::Owners, FIRST, vec![entry]).await
}

/// Hands on the coupons of the feed from an offset on; where it ends.
async fn read_on(
    log: &dyn Log,
    from: u64,
    mut take: impl FnMut(u64, Coupon),
) -> Result<u64, FeedError> {
    let (feed, mut next) = (log.feed(), from);
    let end = feed.end().await?;
    if end < from {
        return Err(FeedError::Lost { end, seen: from });
    }
    loop {
        let records = feed.read(next, READ).await?;
        let Some((last, _)) = records.last() else { return Ok(next) };
        next = last + 1;
        for (offset, record) in records {
            take(offset, Coupon::decode(record).map_err(|_| FeedError::Foreign(offset))?);
        }
    }
}

fn record(coupon: Coupon) -> FeedRecord {
    let position = Position { partition: coupon.partition, offset: coupon.offset };
    let headers =
        vec![("promotion", coupon.promotion_id.clone()), ("position", position.to_string())];
    FeedRecord { key: coupon.promotion_id.clone(), headers, value: coupon.encode_to_vec() }
}
