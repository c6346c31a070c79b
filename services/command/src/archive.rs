//! Coupons of promotions that were over for so long that their holders have left the owner's memory.
//!
//! The views show them all. A coupon that is found there was given; that there is none counts only where
//! the views have got past the end of the promotion, as they have long since as a rule.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use seckill_proto::v1::{Accepted, Answer, answer};
use tokio::time::Instant;

use crate::Failure;
use crate::mailbox::{Answered, Asker};

/// How long the views may take to get past the end of a promotion.
const WITHIN: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What the views show of one customer in one promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Serial and time of the coupon, in milliseconds since 1970.
    pub coupon: Option<(u32, i64)>,
    /// The first offset of the promotion's partition that the views did not have before they were asked.
    pub next_offset: u64,
}

/// Asks the views for a promotion's coupon of a customer: partition, promotion, customer; an error in
/// words.
pub type AskViews =
    Arc<dyn Fn(u32, String, String) -> BoxFuture<'static, Result<Shown, String>> + Send + Sync>;

/// Where archived coupons are found, and after how long finished promotions go there.
#[derive(Clone)]
pub struct Archive {
    /// Promotions that have been over for longer are archived.
    pub retain: Duration,
    /// The views.
    pub ask: AskViews,
}

/// Makes the answer of an archived promotion whole.
pub(crate) async fn complete(told: Answered, archive: Option<&Archive>) -> Result<Answer, Failure> {
    let Answered { mut answer, unless_held } = told;
    let Some(asker) = unless_held else { return Ok(answer) };
    let archive = archive.ok_or(Failure::Unavailable)?;
    let shown = shown(archive, answer.partition, *asker).await.ok_or(Failure::Unavailable)?;
    if let Some((serial, at_ms)) = shown {
        answer.outcome =
            Some(answer::Outcome::Accepted(Accepted { repeated: true, serial, at_ms }));
    }
    Ok(answer)
}

/// The coupon, if there is one; none where the views do not say.
async fn shown(archive: &Archive, partition: u32, asker: Asker) -> Option<Option<(u32, i64)>> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let Asker { promotion_id, customer_id, ended_by } = asker.clone();
        let asked = (archive.ask)(partition, promotion_id, customer_id);
        match tokio::time::timeout_at(deadline, asked).await.ok()? {
            Ok(shown) if shown.coupon.is_some() || shown.next_offset >= ended_by => {
                return Some(shown.coupon);
            }
            Ok(_) => tokio::time::sleep(LOOK_AGAIN).await,
            Err(error) => {
                tracing::warn!(error, "an archived promotion cannot be looked up in the views");
                return None;
            }
        }
        if Instant::now() >= deadline {
            return None;
        }
    }
}
