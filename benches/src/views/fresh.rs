//! How long it takes from the answer to a grab until its coupon can be read.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use seckill_log::Log;
use seckill_projector::Projector;
use seckill_proto::CouponId;
use seckill_proto::v1::{Answer, answer};
use seckill_telemetry::Health;
use seckill_views::Views;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::sale::{OpenSale, Owned};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks whether a coupon is there: no figure is finer than that.
const LOOK: Duration = Duration::from_millis(1);
/// One of so many grabs is waited for: readers are not what is measured.
const WATCHED: u64 = 16;
const PROMOTIONS: u32 = 4;

/// In milliseconds, of so many grabs at a rate.
pub(super) struct Fresh {
    p50: f64,
    p99: f64,
    max: f64,
    count: u64,
    rate: f64,
}

impl fmt::Display for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, max, count, rate } = self;
        write!(
            f,
            "grab answered -> its coupon readable, at {rate:.0} grabs/s: p50 {p50:.1} ms, p99 {p99:.1} ms, \
             most {max:.1} ms ({count} grabs)"
        )
    }
}

/// Grabs come at this rate, whatever became of those before.
pub(super) async fn measure(
    log: Arc<dyn Log>,
    views: Views,
    rate: f64,
    length: Duration,
) -> anyhow::Result<Fresh> {
    let owned = Owned::start(Arc::clone(&log)).await?;
    let stop = CancellationToken::new();
    let projector =
        Projector::start(Arc::clone(&log), views.clone(), Health::default(), stop.clone()).await?;
    let sale = OpenSale::open(owned.dispatcher(), PROMOTIONS, log.partitions()).await?;
    let sale = Arc::new(sale);
    until_caught_up(&*log, &views).await?;
    let (begun, mut watching, mut number) = (Instant::now(), JoinSet::new(), 0_u64);
    while begun.elapsed() < length {
        let due = begun + Duration::from_secs_f64(number as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        watching.spawn(grab(Arc::clone(&sale), views.clone(), number % WATCHED == 0));
        number += 1;
    }
    let mut histogram = Histogram::<u64>::new(3)?;
    while let Some(watched) = watching.join_next().await {
        if let Some(took) = watched?? {
            histogram.record(u64::try_from(took.as_micros())?)?;
        }
    }
    stop.cancel();
    projector.stopped().await;
    owned.stop().await?;
    let ms = |micros: u64| micros as f64 / 1_000.0;
    Ok(Fresh {
        p50: ms(histogram.value_at_quantile(0.5)),
        p99: ms(histogram.value_at_quantile(0.99)),
        max: ms(histogram.max()),
        count: histogram.len(),
        rate,
    })
}

async fn until_caught_up(log: &dyn Log, views: &Views) -> anyhow::Result<()> {
    let begun = Instant::now();
    for partition in 0..log.partitions() {
        let end = log.end(partition).await?;
        while views.next_offset(partition).await? < end {
            ensure!(begun.elapsed() < super::TIMEOUT, "the views do not catch up");
            tokio::time::sleep(super::LOOK).await;
        }
    }
    Ok(())
}

/// From the answer until the coupon can be read.
async fn grab(
    sale: Arc<OpenSale>,
    views: Views,
    watched: bool,
) -> anyhow::Result<Option<Duration>> {
    let number = sale.next_customer().context("nobody is left")?;
    let promotion_id = sale.wanted_by(number).id.clone();
    let answer = sale.dispatcher.send(sale.grab(&promotion_id, number)).await?;
    let answered = Instant::now();
    let Answer { outcome: Some(answer::Outcome::Accepted(accepted)), .. } = answer else {
        anyhow::bail!("a grab was refused: {answer:?}");
    };
    if !watched {
        return Ok(None);
    }
    let id = CouponId { promotion_id, serial: accepted.serial };
    while views.coupon(&id).await?.is_none() {
        ensure!(answered.elapsed() < TIMEOUT, "{id} cannot be read");
        tokio::time::sleep(LOOK).await;
    }
    Ok(Some(answered.elapsed()))
}
