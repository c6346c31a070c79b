//! `coupons_by_day`: the coupons that were granted on a day, of all promotions.
//!
//! A day lies in shards by serial, so that one with a hot sale spreads over the nodes of a database. A
//! list goes through the shards one after another, and in each by promotion and serial.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use scylla::value::CqlTimestamp;
use scylla::{DeserializeRow, SerializeRow};

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
pub struct CouponsByDay;

/// The row in CQL.
#[derive(SerializeRow, DeserializeRow)]
pub struct Columns {
    day: String,
    shard: i64,
    promotion_id: String,
    serial: i64,
    customer_id: String,
    discount: f64,
    grabbed_at: CqlTimestamp,
    position_offset: i64,
}

const SHARDS: u32 = 32;
const CURSOR: Cursor = Cursor { letter: 'd', kinds: &[Kind::Number, Kind::Text, Kind::Number] };

/// The day of UTC in which a coupon was granted, as ISO 8601 writes it.
fn day_of(grabbed_at: Timestamp) -> String {
    TimeZone::UTC.to_datetime(grabbed_at).date().to_string()
}

fn shard_of(serial: u32) -> u32 {
    serial % SHARDS
}

fn within(row: &CouponRow) -> Vec<Part> {
    vec![row.promotion_id.as_str().into(), row.serial.into()]
}

impl View for CouponsByDay {
    const SCHEMA: Schema = Schema {
        name: "coupons_by_day",
        group: &[("day", Kind::Text), ("shard", Kind::Number)],
        within: &[("promotion_id", Kind::Text), ("serial", Kind::Number)],
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
        let day = day_of(row.grabbed_at);
        Key { group: vec![day.as_str().into(), shard_of(row.serial).into()], within: within(row) }
    }

    fn to_columns(row: &CouponRow) -> Columns {
        Columns {
            day: day_of(row.grabbed_at),
            shard: shard_of(row.serial).into(),
            promotion_id: row.promotion_id.clone(),
            serial: row.serial.into(),
            customer_id: row.customer_id.clone(),
            discount: row.discount,
            grabbed_at: timestamp(row.grabbed_at),
            position_offset: bigint(row.position.offset),
        }
    }

    fn from_columns(columns: Columns, partitions: u32) -> Result<CouponRow, String> {
        let (day, shard) = (columns.day, columns.shard);
        let of = (columns.promotion_id, columns.serial, columns.customer_id);
        let granted = (columns.discount, columns.grabbed_at);
        let row = coupon::from_columns(of, granted, columns.position_offset, partitions)?;
        if day != day_of(row.grabbed_at) || shard != i64::from(shard_of(row.serial)) {
            return Err(format!("coupon {} is in shard {shard} of {day}", row.id));
        }
        Ok(row)
    }
}

impl Views {
    /// The coupons granted on a day of UTC, each once, in an order that stays.
    ///
    /// # Errors
    /// [`ViewsError::InvalidCursor`], or as the engine reports them.
    pub async fn coupons_of_day(
        &self,
        day: Date,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<CouponRow>, ViewsError> {
        let limit = clamp_limit(limit);
        let after = cursor.map(|cursor| CURSOR.open(cursor)).transpose()?;
        let (first, mut within) = match after.as_deref() {
            Some([Part::Number(shard), within @ ..]) => (*shard, Some(within.to_vec())),
            _ => (0, None),
        };
        let day = day.to_string();
        let range = move |shard: u32| {
            let group = vec![day.as_str().into(), shard.into()];
            Range { group, after: within.take() }
        };
        let walk = Walk { ranges: Box::new((first..SHARDS).map(range)), dense: false };
        let rows = self.list::<CouponsByDay>(walk, limit + 1).await?;
        Ok(Page::cut(rows, limit, |row| {
            let shard = Part::from(shard_of(row.serial));
            CURSOR.seal(&[vec![shard], self::within(row)].concat())
        }))
    }
}
