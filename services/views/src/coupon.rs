//! A granted coupon: the row of both coupon views.

use jiff::Timestamp;
use seckill_proto::{CouponId, Position, partition_of};
use serde::{Deserialize, Serialize};

use crate::position_text;

/// A coupon as the API returns it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CouponRow {
    /// Text of its [`CouponId`].
    pub id: String,
    /// The promotion that gave it.
    pub promotion_id: String,
    /// 1, 2, 3, ... within the promotion.
    pub serial: u32,
    /// Whose it is.
    pub customer_id: String,
    /// Part of the price taken off, in (0, 1].
    pub discount: f64,
    /// When it was granted, to the millisecond.
    pub grabbed_at: Timestamp,
    /// The event that granted it.
    #[serde(with = "position_text")]
    pub position: Position,
}

impl CouponRow {
    pub(crate) fn coupon_id(promotion_id: &str, serial: u32) -> String {
        CouponId { promotion_id: promotion_id.into(), serial }.to_string()
    }

    pub(crate) fn assert_belongs(&self, partition: u32, partitions: u32) {
        let belongs = partition_of(&self.promotion_id, partitions) == partition
            && self.position.partition == partition;
        assert!(belongs, "coupon {} is not of partition {partition}", self.id);
        debug_assert_eq!(self.id, Self::coupon_id(&self.promotion_id, self.serial));
    }
}
