//! A granted coupon: the row of both coupon views.

use jiff::Timestamp;
use scylla::value::CqlTimestamp;
use seckill_proto::{CouponId, Position, partition_of};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cql::value::{time, unsigned};
use crate::key::Kind;
use crate::position_text;
use crate::view::{Column, Row};

/// Columns of what a coupon's promotion and serial do not tell.
pub(crate) const VALUES: &[Column] = &[
    ("customer_id", Kind::Text),
    ("discount", Kind::Double),
    ("grabbed_at", Kind::Time),
    ("position_offset", Kind::Number),
];

/// A coupon as the API returns it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Coupon)]
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
    #[schema(value_type = String, format = DateTime)]
    pub grabbed_at: Timestamp,
    /// The event that granted it.
    #[serde(with = "position_text")]
    #[schema(value_type = String, example = "3:1042")]
    pub position: Position,
}

impl Row for CouponRow {
    fn position(&self) -> Position {
        self.position
    }

    fn promotion_id(&self) -> Option<&str> {
        Some(&self.promotion_id)
    }

    fn texts(&self) -> usize {
        self.promotion_id.len() + self.customer_id.len()
    }
}

/// A coupon of what both tables hold: promotion, serial and customer, what was granted when, and where.
pub(crate) fn from_columns(
    (promotion_id, serial, customer_id): (String, i64, String),
    (discount, grabbed_at): (f64, CqlTimestamp),
    position_offset: i64,
    partitions: u32,
) -> Result<CouponRow, String> {
    let serial = unsigned("serial", serial)?;
    let partition = partition_of(&promotion_id, partitions);
    Ok(CouponRow {
        id: CouponId { promotion_id: promotion_id.clone(), serial }.to_string(),
        promotion_id,
        serial,
        customer_id,
        discount,
        grabbed_at: time("grabbed_at", grabbed_at)?,
        position: Position { partition, offset: unsigned("position_offset", position_offset)? },
    })
}
