//! `coupons_by_customer`: a customer's coupons by promotion id and serial.

use scylla::value::CqlTimestamp;
use scylla::{DeserializeRow, SerializeRow};

use crate::changes::Changes;
use crate::coupon::{self, CouponRow};
use crate::cql::value::{bigint, timestamp};
use crate::engine::Walk;
use crate::error::ViewsError;
use crate::key::{Cursor, Key, Kind, Part};
use crate::page::{Page, clamp_limit};
use crate::view::{Schema, View};
use crate::views::Views;

/// The view.
#[derive(Debug)]
pub struct CouponsByCustomer;

/// The row in CQL.
#[derive(SerializeRow, DeserializeRow)]
pub struct Columns {
    customer_id: String,
    promotion_id: String,
    serial: i64,
    discount: f64,
    grabbed_at: CqlTimestamp,
    position_offset: i64,
}

const CURSOR: Cursor = Cursor { letter: 'c', kinds: &[Kind::Text, Kind::Number] };

impl View for CouponsByCustomer {
    const SCHEMA: Schema = Schema {
        name: "coupons_by_customer",
        group: &[("customer_id", Kind::Text)],
        within: &[("promotion_id", Kind::Text), ("serial", Kind::Number)],
        values: &[
            ("discount", Kind::Double),
            ("grabbed_at", Kind::Time),
            ("position_offset", Kind::Number),
        ],
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
        Key { group: vec![row.customer_id.as_str().into()], within: within(row) }
    }

    fn to_columns(row: &CouponRow) -> Columns {
        Columns {
            customer_id: row.customer_id.clone(),
            promotion_id: row.promotion_id.clone(),
            serial: row.serial.into(),
            discount: row.discount,
            grabbed_at: timestamp(row.grabbed_at),
            position_offset: bigint(row.position.offset),
        }
    }

    fn from_columns(columns: Columns, partitions: u32) -> Result<CouponRow, String> {
        let Columns { customer_id, promotion_id, serial, discount, grabbed_at, position_offset } =
            columns;
        let of = (promotion_id, serial, customer_id);
        coupon::from_columns(of, (discount, grabbed_at), position_offset, partitions)
    }
}

fn within(row: &CouponRow) -> Vec<Part> {
    vec![row.promotion_id.as_str().into(), row.serial.into()]
}

impl Views {
    /// A customer's coupons by promotion id and serial.
    ///
    /// # Errors
    /// [`ViewsError::InvalidCursor`], or as the engine reports them.
    pub async fn coupons_of_customer(
        &self,
        customer_id: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<CouponRow>, ViewsError> {
        let limit = clamp_limit(limit);
        let after = cursor.map(|cursor| CURSOR.open(cursor)).transpose()?;
        let walk = Walk::group(vec![customer_id.into()], after);
        let rows = self.list::<CouponsByCustomer>(walk, limit + 1).await?;
        Ok(Page::cut(rows, limit, |row| CURSOR.seal(&within(row))))
    }

    /// The first coupon that a customer holds of a promotion.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn coupon_of(
        &self,
        customer_id: &str,
        promotion_id: &str,
    ) -> Result<Option<CouponRow>, ViewsError> {
        let before = vec![promotion_id.into(), 0.into()];
        let walk = Walk::group(vec![customer_id.into()], Some(before));
        let first = self.list::<CouponsByCustomer>(walk, 1).await?.pop();
        Ok(first.filter(|coupon| coupon.promotion_id == promotion_id))
    }
}
