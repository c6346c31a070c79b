//! Coupons by a number that grows for ever, for whoever asks again and again.

use std::sync::Arc;

use seckill_log::{Feed, Log};
use seckill_proto::v1::Coupon;

use crate::FeedError;
use crate::progress::coupon_of;

/// Tells of coupons.
#[derive(Clone)]
pub struct Shop(Arc<dyn Feed>);

/// A coupon, and its number.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Greater than that of every coupon before it, from 1 on; there may be holes.
    pub number: u64,
    /// The coupon.
    pub coupon: Coupon,
}

impl Shop {
    /// From the feed of this log.
    #[must_use]
    pub fn of(log: &dyn Log) -> Self {
        Self(log.feed())
    }

    /// The next coupons after a number, up to so many; 0 is before the first.
    ///
    /// # Errors
    /// The feed cannot be read.
    pub async fn after(&self, number: u64, limit: usize) -> Result<Vec<Told>, FeedError> {
        let mut next = number;
        loop {
            let fed = self.0.read(next, limit).await?;
            let Some((last, _)) = fed.last() else { return Ok(Vec::new()) };
            next = last + 1;
            // The number of a coupon is its offset and one.
            let told = fed.into_iter().filter_map(|(offset, record)| {
                coupon_of(record).map(|coupon| Told { number: offset + 1, coupon })
            });
            let told: Vec<_> = told.collect();
            if !told.is_empty() {
                return Ok(told);
            }
        }
    }
}
