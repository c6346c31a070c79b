//! One partition of the log, and the coupons that are granted in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use seckill_log::{Fold, Folded, Log, Reader, Stretch, Witness, contradiction, fold_from};
use seckill_proto::v1::{Checkpoint, Coupon, Event, FedPartition, event::Body, record};
use seckill_proto::{CouponId, Position, decode_record};
use seckill_views::Views;
use tokio::time::Instant;

use crate::FeedError;

/// The feed, as a witness of the log.
const FEED: &str = "the feed";
/// Before a partition that cannot be read on is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// Views that are written as well have a promotion within this.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

pub(crate) struct Source {
    log: Arc<dyn Log>,
    views: Views,
    partition: u32,
    /// Every coupon granted before this was taken.
    checkpoint: Checkpoint,
    /// Nothing granted from here on is in the feed.
    fed: u64,
    /// The last coupon that is known to be in it.
    last: Option<Coupon>,
    open: Option<Open>,
    again: Instant,
    /// Why it is not read.
    stopped: Option<String>,
}

struct Open {
    reader: Box<dyn Reader>,
    fold: Fold,
    /// Of promotions whose coupons were taken.
    discounts: HashMap<String, f64>,
}

impl Source {
    pub(crate) fn new(
        log: &Arc<dyn Log>,
        views: &Views,
        partition: u32,
        kept: FedPartition,
    ) -> Self {
        Self {
            log: Arc::clone(log),
            views: views.clone(),
            partition,
            checkpoint: kept.checkpoint.unwrap_or_default(),
            fed: kept.fed,
            last: None,
            open: None,
            again: Instant::now(),
            stopped: None,
        }
    }

    /// Takes note that a coupon is in the feed.
    pub(crate) fn has(&mut self, coupon: &Coupon) {
        if coupon.offset >= self.fed {
            self.fed = coupon.offset + 1;
            self.last = Some(coupon.clone());
        }
    }

    /// How far it is, once all coupons that were taken are in the feed.
    pub(crate) fn progress(&self) -> FedPartition {
        FedPartition { checkpoint: Some(self.checkpoint.clone()), fed: self.fed }
    }

    /// The first offset that is not taken yet.
    pub(crate) fn next_offset(&self) -> u64 {
        self.checkpoint.next_offset
    }

    /// A feed may be left of another log.
    pub(crate) fn assert_of_this_log(
        &self,
    ) -> impl Future<Output = Result<(), FeedError>> + Send + use<> {
        let (log, next_offset) = (Arc::clone(&self.log), self.next_offset());
        // What was taken before is known by its history.
        let last = self.last.clone().filter(|last| last.offset >= next_offset);
        async move {
            match last {
                Some(last) => assert_granted(&*log, &last).await,
                None => Ok(()),
            }
        }
    }

    /// Why it stands still.
    pub(crate) fn stopped(&self) -> Option<String> {
        let (partition, reason) = (self.partition, self.stopped.as_ref()?);
        Some(format!("the feed of partition {partition} stands still: {reason}"))
    }

    /// The coupons that come within some time, and of how many records. One that cannot be read on keeps no
    /// other waiting.
    pub(crate) async fn take(&mut self, wait: Duration) -> (usize, Vec<Coupon>) {
        if self.open.is_none() && Instant::now() < self.again {
            tokio::time::sleep(wait).await;
            return (0, Vec::new());
        }
        let mut coupons = Vec::new();
        let taken = self.try_take(wait, &mut coupons).await;
        coupons.last().into_iter().for_each(|coupon| self.has(coupon));
        let records = *taken.as_ref().unwrap_or(&0);
        self.note(taken.err());
        (records, coupons)
    }

    /// Whether it can be read on. What was taken before an error is not taken twice.
    fn note(&mut self, error: Option<FeedError>) {
        let reason = error.map(|error| error.to_string());
        if let Some(error) = &reason {
            if self.stopped != reason {
                let partition = self.partition;
                tracing::warn!(partition, error, "the feed of a partition stands still");
            }
            self.open = None;
            self.again = Instant::now() + AGAIN;
        } else if let Some(open) = &self.open {
            self.checkpoint = open.fold.checkpoint();
            self.fed = self.fed.max(self.checkpoint.next_offset);
        }
        self.stopped = reason;
    }

    async fn try_take(
        &mut self,
        wait: Duration,
        coupons: &mut Vec<Coupon>,
    ) -> Result<usize, FeedError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => open(Arc::clone(&self.log), self.partition, self.checkpoint.clone()).await?,
        };
        let records = open.reader.next(wait).await?;
        for (offset, record) in &records {
            let Folded::Event(event) = open.fold.step(*offset, record)? else { continue };
            let position = Position { partition: self.partition, offset: *offset };
            let coupon = coupon(&self.views, position, event, &mut open.discounts).await?;
            coupons.extend(coupon.filter(|coupon| coupon.offset >= self.fed));
        }
        self.open = Some(open);
        Ok(records.len())
    }
}

/// At a checkpoint that is one of this log.
async fn open(
    log: Arc<dyn Log>,
    partition: u32,
    checkpoint: Checkpoint,
) -> Result<Open, FeedError> {
    let fold = fold_from(&*log, partition, &checkpoint).await?;
    let feed = [Witness::new(FEED, checkpoint)];
    if let Some(contradiction) = contradiction(&*log, partition, &feed).await? {
        return Err(contradiction.into());
    }
    let reader = log.read(partition, fold.next_offset()).await?;
    Ok(Open { reader, fold, discounts: HashMap::new() })
}

/// What cannot be read says nothing: the fold comes to it too.
async fn assert_granted(log: &dyn Log, coupon: &Coupon) -> Result<(), FeedError> {
    let Coupon { partition, offset, .. } = *coupon;
    let other = || FeedError::OtherLog(Position { partition, offset });
    if offset >= log.end(partition).await? {
        return Err(other());
    }
    let records = Stretch::between(log, partition, offset, offset + 1).await?.next().await?;
    match records.first().map(|(_, record)| decode_record(record)) {
        Some(Err(_)) => Ok(()),
        Some(Ok(record::Kind::Event(event))) if grants(&event, coupon) => Ok(()),
        Some(Ok(_)) | None => Err(other()),
    }
}

fn grants(event: &Event, coupon: &Coupon) -> bool {
    let Some(Body::Grabbed(grabbed)) = &event.body else { return false };
    event.promotion_id == coupon.promotion_id
        && grabbed.serial == coupon.serial
        && grabbed.customer_id == coupon.customer_id
}

/// The coupon that an event grants, if it does.
async fn coupon(
    views: &Views,
    position: Position,
    event: Event,
    discounts: &mut HashMap<String, f64>,
) -> Result<Option<Coupon>, FeedError> {
    let Event { at_ms, promotion_id, body, .. } = event;
    let grabbed = match body {
        Some(Body::Grabbed(grabbed)) => grabbed,
        Some(Body::Finished(_)) => {
            discounts.remove(&promotion_id);
            return Ok(None);
        }
        _ => return Ok(None),
    };
    let serial = grabbed.serial;
    Ok(Some(Coupon {
        id: CouponId { promotion_id: promotion_id.clone(), serial }.to_string(),
        discount: discount(views, &promotion_id, discounts).await?,
        promotion_id,
        serial,
        customer_id: grabbed.customer_id,
        granted_at_ms: at_ms,
        partition: position.partition,
        offset: position.offset,
    }))
}

/// It does not change once there is a coupon.
async fn discount(
    views: &Views,
    promotion_id: &str,
    discounts: &mut HashMap<String, f64>,
) -> Result<f64, FeedError> {
    if let Some(discount) = discounts.get(promotion_id) {
        return Ok(*discount);
    }
    let deadline = Instant::now() + SHOWN_WITHIN;
    let discount = loop {
        match views.promotion(promotion_id).await? {
            Some(row) => break row.discount,
            None if Instant::now() > deadline => {
                return Err(FeedError::Unknown(promotion_id.to_owned()));
            }
            None => tokio::time::sleep(SHOWN_WITHIN / 40).await,
        }
    };
    discounts.insert(promotion_id.to_owned(), discount);
    Ok(discount)
}
