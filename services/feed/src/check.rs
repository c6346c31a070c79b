//! Whether the feed has every coupon of the log once, in order, and nothing else.

use prost::Message;
use seckill_log::Log;
use seckill_proto::Position;
use seckill_proto::v1::{Coupon, FeedProgress};
use seckill_views::CouponRow;
use twox_hash::XxHash3_64;

use crate::FeedError;
use crate::progress::{is_lost, load, read_on};

/// Differences that are told in words.
const SHOWN: usize = 20;

/// Holds the feed against the log.
#[derive(Default)]
pub struct FeedCheck {
    partitions: Vec<Fed>,
    compared: FeedCompared,
}

/// What was counted and found different.
#[derive(Debug, Default)]
pub struct FeedCompared {
    /// Coupons in the feed.
    pub fed: u64,
    /// Coupons in the feed that the log has lost, which an operator has accepted.
    pub lost: u64,
    /// Coupons of the log that are not in the feed yet.
    pub to_come: u64,
    /// What is wrong with the feed, the first in words.
    pub differences: Vec<String>,
    /// All of it.
    pub different: u64,
}

impl FeedCompared {
    fn differ(&mut self, what: impl FnOnce() -> String) {
        self.different += 1;
        if self.differences.len() < SHOWN {
            self.differences.push(what());
        }
    }
}

/// Of one partition of the log.
#[derive(Default)]
struct Fed {
    /// After the last coupon that is in the feed.
    reached: u64,
    found: Sum,
    expected: Sum,
}

/// Coupons, and the sum of their hashes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    coupons: u64,
    hash: u64,
}

impl Sum {
    fn add(&mut self, coupon: &Coupon) {
        self.coupons += 1;
        self.hash = self.hash.wrapping_add(XxHash3_64::oneshot(&coupon.encode_to_vec()));
    }
}

impl FeedCheck {
    /// Reads the feed up to its end.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn read(log: &dyn Log) -> Result<Self, FeedError> {
        let FeedProgress { losses, feed_end, .. } = load(log).await?;
        let partitions = (0..log.partitions()).map(|_| Fed::default()).collect();
        let mut check = Self { partitions, ..Self::default() };
        let read = read_on(log, 0, |at, coupon| match is_lost(&losses, at, &coupon) {
            true => check.compared.lost += 1,
            false => check.take(at, &coupon),
        })
        .await?;
        if read.end < feed_end {
            let end = read.end;
            let what = || format!("the feed ends at {end}, and was seen up to {feed_end}");
            check.compared.differ(what);
        }
        for at in read.foreign {
            check.compared.differ(|| format!("offset {at} of the feed is no coupon"));
        }
        Ok(check)
    }

    /// A coupon at an offset of the feed.
    fn take(&mut self, at: u64, coupon: &Coupon) {
        self.compared.fed += 1;
        let Coupon { partition, offset, .. } = *coupon;
        let Some(fed) = self.partitions.get_mut(partition as usize) else {
            return self.compared.differ(|| format!("offset {at} of the feed is of no partition"));
        };
        if offset < fed.reached {
            let position = Position { partition, offset };
            self.compared.differ(|| {
                format!("{position} is in the feed twice, or out of order, at its offset {at}")
            });
        }
        fed.reached = fed.reached.max(offset + 1);
        fed.found.add(coupon);
    }

    /// Takes note of coupons of the log.
    pub fn note(&mut self, coupons: &[CouponRow]) {
        for row in coupons {
            let Position { partition, offset } = row.position;
            let Some(fed) = self.partitions.get_mut(partition as usize) else { continue };
            if offset < fed.reached {
                fed.expected.add(&coupon(row));
            } else {
                self.compared.to_come += 1;
            }
        }
    }

    /// What came of it, once all coupons of the log are noted.
    #[must_use]
    pub fn compare(mut self) -> FeedCompared {
        for (partition, Fed { reached, found, expected }) in self.partitions.iter().enumerate() {
            if found != expected {
                let (found, expected) = (found.coupons, expected.coupons);
                self.compared.differ(|| {
                    format!(
                        "the feed has {found} coupons of partition {partition} before offset {reached}, the \
                         log {expected}, or others"
                    )
                });
            }
        }
        self.compared
    }
}

/// The coupon as it is fed.
fn coupon(row: &CouponRow) -> Coupon {
    Coupon {
        id: row.id.clone(),
        promotion_id: row.promotion_id.clone(),
        serial: row.serial,
        customer_id: row.customer_id.clone(),
        discount: row.discount,
        granted_at_ms: row.grabbed_at.as_millisecond(),
        partition: row.position.partition,
        offset: row.position.offset,
    }
}
