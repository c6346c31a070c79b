//! Writes the feed.
//!
//! Whoever has the first partition does it, for all of them. It follows the log as everybody does, so what
//! is void is never fed. What keeps a coupon from being fed twice is the feed itself: whoever takes it over
//! is its only writer from then on, and reads what was written since the progress that was kept.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use prost::Message;
use seckill_log::{FeedRecord, FeedWriter, Log};
use seckill_proto::Position;
use seckill_proto::v1::{Coupon, FeedProgress};
use seckill_telemetry::Part;
use seckill_views::Views;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::FeedError;
use crate::progress::{is_lost, load, read_on, store};
use crate::source::Source;

/// Coupons that are written at once are collected for so long.
const COLLECT: Duration = Duration::from_millis(100);
/// Records of a round that say that there is more.
const MANY: usize = 1_000;
/// Coupons that are written at once, at most.
const MAX_WRITTEN: usize = 10_000;
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// Before the feed is taken over again.
const AGAIN: Duration = Duration::from_secs(1);
/// A session that went well for so long: what ends it is news.
const LONG: Duration = Duration::from_secs(10);
/// How long a feeder that is stopped may take to feed what is in the log.
const DRAIN: Duration = Duration::from_secs(3);

/// Writes the feed of a log.
pub struct Feeder {
    log: Arc<dyn Log>,
    views: Views,
    health: Part,
}

/// From taking the feed over until something goes wrong.
struct Session<'a> {
    feeder: &'a Feeder,
    writer: Box<dyn FeedWriter>,
    sources: Vec<Source>,
    /// Where the feed ends, as far as this session has seen it.
    end: u64,
    /// What was kept last, and when.
    kept: FeedProgress,
    saved: Instant,
}

impl Feeder {
    /// Of this log; promotions are asked of the views.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, views: Views, health: Part) -> Self {
        health.ready();
        Self { log, views, health }
    }

    /// Feeds until `stop`, and then what is in the log.
    pub async fn run(self, stop: CancellationToken) {
        let mut said = String::new();
        self.health.not_ready("the feed is being taken over");
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let Err(error) = self.session(&stop).await else { return };
            if begun.elapsed() > LONG {
                said.clear();
            }
            let error = error.to_string();
            self.health.not_ready(format!("the feed stands still: {error}"));
            if error != said {
                tracing::warn!(error, "the feed stands still; taking it over again");
                said = error;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    async fn session(&self, stop: &CancellationToken) -> Result<(), FeedError> {
        let mut session = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            session = self.take_over() => session?,
        };
        let mut wait = Duration::ZERO;
        while !stop.is_cancelled() {
            let records = session.feed(wait).await?;
            wait = if records < MANY { COLLECT } else { Duration::ZERO };
            if session.saved.elapsed() > SAVE_EVERY {
                session.save().await?;
            }
        }
        session.finish().await?;
        session.save().await
    }

    /// Becomes the only writer: then what was kept, and what was written since, say how far the feed is.
    async fn take_over(&self) -> Result<Session<'_>, FeedError> {
        let writer = self.log.feed().take_over().await?;
        let kept = load(&*self.log).await?;
        let source = |partition: u32| {
            let kept = kept.partitions.get(partition as usize).cloned().unwrap_or_default();
            Source::new(&self.log, &self.views, partition, kept)
        };
        let mut sources: Vec<_> = (0..self.log.partitions()).map(source).collect();
        let losses = &kept.losses;
        let end = read_on(&*self.log, kept.feed_end, |at, coupon| {
            let source = sources.get_mut(coupon.partition as usize);
            let source = source.filter(|_| !is_lost(losses, at, &coupon));
            source.into_iter().for_each(|source| source.has(&coupon));
        })
        .await?
        .end;
        let checks: Vec<_> = sources.iter().map(Source::assert_of_this_log).collect();
        for check in checks {
            check.await?;
        }
        tracing::debug!(end, "feeding");
        Ok(Session { feeder: self, writer, sources, end, kept, saved: Instant::now() })
    }
}

impl Session<'_> {
    /// Feeds what comes within some time: of how many records of the log.
    async fn feed(&mut self, wait: Duration) -> Result<usize, FeedError> {
        let taken = join_all(self.sources.iter_mut().map(|source| source.take(wait))).await;
        let records = taken.iter().map(|(records, _)| records).sum();
        let mut coupons = taken.into_iter().flat_map(|(_, coupons)| coupons).peekable();
        while coupons.peek().is_some() {
            let written: Vec<_> = coupons.by_ref().take(MAX_WRITTEN).map(record).collect();
            let count = written.len() as u64;
            self.end = self.writer.append(written).await?;
            metrics::counter!("seckill_fed_coupons_total").increment(count);
        }
        match self.sources.iter().find_map(Source::stopped) {
            Some(reason) => drop(self.feeder.health.not_ready(reason)),
            None => self.feeder.health.ready(),
        }
        Ok(records)
    }

    /// Feeds what is in the log now.
    async fn finish(&mut self) -> Result<(), FeedError> {
        let (log, mut ends) = (&*self.feeder.log, Vec::new());
        for partition in 0..log.partitions() {
            ends.push(log.end(partition).await?);
        }
        let deadline = Instant::now() + DRAIN;
        while self.sources.iter().zip(&ends).any(|(source, end)| source.next_offset() < *end)
            && Instant::now() < deadline
        {
            self.feed(COLLECT).await?;
        }
        Ok(())
    }

    /// Keeps what this session itself has seen: another one may have taken over since, and know more.
    async fn save(&mut self) -> Result<(), FeedError> {
        let partitions = self.sources.iter().map(Source::progress).collect();
        let losses = self.kept.losses.clone();
        let now = FeedProgress { feed_end: self.end, partitions, losses };
        if self.kept != now {
            store(&*self.feeder.log, &now).await?;
            self.kept = now;
        }
        self.saved = Instant::now();
        Ok(())
    }
}

fn record(coupon: Coupon) -> FeedRecord {
    let position = Position { partition: coupon.partition, offset: coupon.offset };
    let headers =
        vec![("promotion", coupon.promotion_id.clone()), ("position", position.to_string())];
    let value = coupon.encode_to_vec();
    FeedRecord { key: coupon.promotion_id, headers, value }
}
