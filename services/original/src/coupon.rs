//! A coupon as the original's clients know it, from a row of the views or from the feed.

use seckill_feed::Told;
use seckill_proto::Position;
use seckill_views::CouponRow;
use serde::Serialize;
use utoipa::ToSchema;

/// A coupon as the original showed it.
#[derive(Serialize, ToSchema)]
#[schema(as = OriginalCoupon)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Coupon {
    id: u64,
    promotion_id: String,
    /// In milliseconds since 1970.
    time: i64,
    discount: f64,
    customer_id: String,
}

impl From<CouponRow> for Coupon {
    fn from(row: CouponRow) -> Self {
        Self {
            id: number(row.position),
            promotion_id: row.promotion_id,
            time: row.grabbed_at.as_millisecond(),
            discount: row.discount,
            customer_id: row.customer_id,
        }
    }
}

impl From<Told> for Coupon {
    fn from(Told { number, coupon }: Told) -> Self {
        Self {
            id: number,
            promotion_id: coupon.promotion_id,
            time: coupon.granted_at_ms,
            discount: coupon.discount,
            customer_id: coupon.customer_id,
        }
    }
}

/// A position as one number: unlike for every position, growing within a partition, and exact in
/// clients that hold numbers as doubles while the offset is below 2^41.
pub(crate) fn number(position: Position) -> u64 {
    position.offset * 4_096 + u64::from(position.partition)
}
