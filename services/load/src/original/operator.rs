//! The operator of the original model, who opens promotions over the original's route.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hyper::Uri;
use tokio_util::sync::CancellationToken;

use super::Market;
use crate::backoff::Backoff;
use crate::promotion::said;
use crate::target::{Ask, Unanswered};

impl Market {
    /// Opens a promotion at once and then every so often, until the time is over or the run is
    /// stopped.
    ///
    /// # Errors
    /// One was refused, or could not be opened in time.
    pub(super) async fn open_promotions(&self, stop: &CancellationToken) -> Result<()> {
        let ends = Instant::now() + self.plan.duration;
        let mut ticks = tokio::time::interval(self.plan.open_every);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(ends.into()) => return Ok(()),
                _ = ticks.tick() => {}
            }
            self.open_one().await?;
        }
    }

    /// This route takes no id, so after an unknown outcome the same request again could open a
    /// second promotion. Such a one is left alone: it may exist, but nobody of ours wants it.
    async fn open_one(&self) -> Result<()> {
        let deadline = Instant::now() + self.counter.give_up;
        let mut backoff = Backoff::new();
        loop {
            let ask = Ask::post(Uri::from_static("/admin/promotions/"), self.promotion()?);
            let (reason, retry_after) = match self.admin.send(&ask).await {
                Ok(reply) if reply.status == 200 => {
                    let id = std::str::from_utf8(&reply.body).context("a promotion's id")?;
                    return self.put_up(id.trim());
                }
                Ok(reply) if matches!(reply.status, 429 | 503) => (said(&reply), reply.retry_after),
                Ok(reply) if reply.status < 500 => bail!("a new promotion: {}", said(&reply)),
                Ok(reply) => {
                    self.leave_alone(&said(&reply));
                    return Ok(());
                }
                Err(Unanswered::Lost(reason)) => {
                    self.leave_alone(&reason);
                    return Ok(());
                }
                Err(Unanswered::Unsent(reason)) => (reason, None),
            };
            let pause = backoff.pause(retry_after);
            if Instant::now() + pause > deadline {
                bail!("a new promotion could not be opened: {reason}");
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn promotion(&self) -> Result<Bytes> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the body names the time, as the original's script did"
        )]
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let coupons = self.coupons;
        let body =
            format!("{{\"numberOfCoupons\":{coupons},\"discount\":0.5,\"publishTime\":{now}}}");
        Ok(Bytes::from(body))
    }

    fn leave_alone(&self, reason: &str) {
        self.counter.ledger.surprise(&format!("a new promotion's outcome is unknown: {reason}"));
    }
}
