//! Whether the feed has every coupon of the log once, in order, and nothing else.

use prost::Message;
use seckill_log::Log;
use seckill_proto::Position;
use seckill_proto::v1::{Coupon, FeedLoss};
use seckill_views::CouponRow;
use twox_hash::XxHash3_64;

use crate::feed::{FeedError, load, read_on};
use crate::verify::Report;

/// What the feed has, and what the log says that it should have.
pub(crate) struct FeedCheck {
    partitions: Vec<Fed>,
    /// Coupons of the log that are not in it yet.
    to_come: u64,
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
    pub(crate) async fn read(log: &dyn Log, report: &mut Report) -> Result<Self, FeedError> {
        let losses = load(log).await?.losses;
        let mut partitions: Vec<Fed> = (0..log.partitions()).map(|_| Fed::default()).collect();
        read_on(log, 0, |at, coupon| {
            if losses.iter().any(|loss| has_lost(loss, at, &coupon)) {
                report.count("coupons in the feed that the log has lost", 1);
                return;
            }
            report.count("coupons in the feed", 1);
            let Coupon { partition, offset, .. } = coupon;
            let Some(fed) = partitions.get_mut(partition as usize) else {
                return report.differ(|| format!("offset {at} of the feed is of no partition"));
            };
            if offset < fed.reached {
                let position = Position { partition, offset };
                report.differ(|| {
                    format!(
                        "the coupon of {position} is in the feed twice, or too late: at offset {at}"
                    )
                });
            }
            fed.reached = fed.reached.max(offset + 1);
            fed.found.add(&coupon);
        })
        .await?;
        Ok(Self { partitions, to_come: 0 })
    }

    /// Takes note of coupons of the log.
    pub(crate) fn note(&mut self, coupons: &[CouponRow]) {
        for row in coupons {
            let Position { partition, offset } = row.position;
            let Some(fed) = self.partitions.get_mut(partition as usize) else { continue };
            if offset < fed.reached {
                fed.expected.add(&coupon(row));
            } else {
                self.to_come += 1;
            }
        }
    }

    pub(crate) fn compare(self, report: &mut Report) {
        report.count("coupons not in the feed yet", self.to_come);
        for (partition, fed) in self.partitions.into_iter().enumerate() {
            let Fed { reached, found, expected } = fed;
            if found != expected {
                let (found, expected) = (found.coupons, expected.coupons);
                report.differ(|| {
                    format!(
                        "the feed has {found} coupons of partition {partition} before offset {reached}; the \
                         log has {expected}, or others"
                    )
                });
            }
        }
    }
}

/// Whether an operator has accepted the loss of a coupon that is at this offset of the feed.
fn has_lost(loss: &FeedLoss, at: u64, coupon: &Coupon) -> bool {
    loss.partition == coupon.partition && at < loss.feed_end && coupon.offset >= loss.end
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
