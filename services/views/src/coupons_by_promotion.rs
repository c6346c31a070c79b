//! `coupons_by_promotion`: a promotion's coupons by serial.

use scylla::value::CqlTimestamp;
use scylla::{DeserializeRow, SerializeRow};
use seckill_proto::CouponId;

use crate::changes::Changes;
use crate::coupon::{self, CouponRow};
use crate::cql::value::{bigint, timestamp};
use crate::engine::{Range, Walk};
use crate::error::ViewsError;
use crate::key::{Cursor, Key, Kind, Part};
use crate::page::{Page, clamp_limit};
use crate::view::{Schema, View};
use crate::views::Views;

/// The view.
#[derive(Debug)]
pub struct CouponsByPromotion;

/// The row in CQL.
#[derive(SerializeRow, DeserializeRow)]
pub struct Columns {
    promotion_id: String,
    bucket: i64,
    serial: i64,
    customer_id: String,
    discount: f64,
    grabbed_at: CqlTimestamp,
    position_offset: i64,
}

/// Serials in one group. A hot promotion's coupons spread over many groups and so over the nodes of a
/// database, and no group grows past some hundred kilobytes.
const BUCKET: u32 = 4_096;
const CURSOR: Cursor = Cursor { letter: 's', kinds: &[Kind::Number] };

fn bucket_of(serial: u32) -> u32 {
    serial / BUCKET
}

fn group(promotion_id: &str, bucket: u32) -> Vec<Part> {
    vec![promotion_id.into(), bucket.into()]
}

fn key(promotion_id: &str, serial: u32) -> Key {
    Key { group: group(promotion_id, bucket_of(serial)), within: vec![serial.into()] }
}

impl View for CouponsByPromotion {
    const SCHEMA: Schema = Schema {
        name: "coupons_by_promotion",
        group: &[("promotion_id", Kind::Text), ("bucket", Kind::Number)],
        within: &[("serial", Kind::Number)],
        values: coupon::VALUES,
        version: 1,
        rewritten: false,
        in_memory: false,
    };
    type Row = CouponRow;
    type Columns = Columns;

    fn changed(changes: &Changes) -> impl Iterator<Item = &CouponRow> {
        changes.coupons.iter()
    }

    fn key(row: &CouponRow) -> Key {
        key(&row.promotion_id, row.serial)
    }

    fn to_columns(row: &CouponRow) -> Columns {
        Columns {
            promotion_id: row.promotion_id.clone(),
            bucket: bucket_of(row.serial).into(),
            serial: row.serial.into(),
            customer_id: row.customer_id.clone(),
            discount: row.discount,
            grabbed_at: timestamp(row.grabbed_at),
            position_offset: bigint(row.position.offset),
        }
    }

    fn from_columns(columns: Columns, partitions: u32) -> Result<CouponRow, String> {
        let bucket = columns.bucket;
        let of = (columns.promotion_id, columns.serial, columns.customer_id);
        let granted = (columns.discount, columns.grabbed_at);
        let row = coupon::from_columns(of, granted, columns.position_offset, partitions)?;
        if bucket != i64::from(bucket_of(row.serial)) {
            return Err(format!("coupon {} is in bucket {bucket}", row.id));
        }
        Ok(row)
    }
}

impl Views {
    /// One coupon.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn coupon(&self, id: &CouponId) -> Result<Option<CouponRow>, ViewsError> {
        self.get::<CouponsByPromotion>(key(&id.promotion_id, id.serial)).await
    }

    /// A promotion's coupons by serial. Serials are dense, so the list may end where some
    /// thousands in a row are missing; only a scan sees past that.
    ///
    /// # Errors
    /// [`ViewsError::InvalidCursor`], or as the engine reports them.
    pub async fn coupons_of_promotion(
        &self,
        promotion_id: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<CouponRow>, ViewsError> {
        let limit = clamp_limit(limit);
        let after = last_serial(cursor)?;
        let (promotion_id, mut within) = (promotion_id.to_owned(), Some(vec![after.into()]));
        let ranges = (bucket_of(after)..=bucket_of(u32::MAX))
            .map(move |bucket| Range { group: group(&promotion_id, bucket), after: within.take() });
        let walk = Walk { ranges: Box::new(ranges), dense: true };
        let rows = self.list::<CouponsByPromotion>(walk, limit + 1).await?;
        Ok(coupons_page(rows, limit))
    }
}

/// The serial that the page before ended with; 0, which is never granted, before the first page.
///
/// # Errors
/// [`ViewsError::InvalidCursor`].
pub fn last_serial(cursor: Option<&str>) -> Result<u32, ViewsError> {
    Ok(match cursor.map(|cursor| CURSOR.open(cursor)).transpose()?.as_deref() {
        Some([Part::Number(serial)]) => *serial,
        _ => 0,
    })
}

/// A page of a promotion's coupons, of up to one row more than the limit.
#[must_use]
pub fn coupons_page(rows: Vec<CouponRow>, limit: usize) -> Page<CouponRow> {
    Page::cut(rows, limit, |row| CURSOR.seal(&[row.serial.into()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other() {
        let buckets = [1, 4_095, 4_096, 8_191, 8_192, u32::MAX].map(bucket_of);
        assert_eq!(buckets, [0, 0, 1, 1, 2, 1_048_575]);
    }
}
