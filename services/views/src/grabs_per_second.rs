//! `grabs_per_second`: how a sale went, a row for every second in which a promotion gave coupons.
//!
//! A row holds how many had been given by the end of its second: a number that the log says, where a
//! count of that second alone would have to be read before it is written. What a second gave is the
//! difference to the row before it. A group has at most as many rows as the promotion has coupons, and
//! as its sale has seconds.

use jiff::Timestamp;
use scylla::{DeserializeRow, SerializeRow};
use seckill_proto::{Position, partition_of};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::changes::Changes;
use crate::coupon::CouponRow;
use crate::cql::value::{bigint, unsigned};
use crate::engine::Walk;
use crate::error::ViewsError;
use crate::key::{Cursor, Key, Kind, Part};
use crate::page::{Page, clamp_limit};
use crate::position_text;
use crate::view::{Row, Schema, View};
use crate::views::Views;

/// A second of a sale, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrabsPerSecond {
    /// The promotion.
    pub promotion_id: String,
    /// Seconds since 1970.
    pub second: u32,
    /// Coupons given by its end, since the sale began.
    pub total: u32,
    /// The last event that this row reflects.
    #[serde(with = "position_text")]
    pub position: Position,
}

/// A second of a sale, as the API returns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineSecond {
    /// Its beginning.
    #[schema(value_type = String, format = DateTime)]
    pub second: Timestamp,
    /// Coupons given in it.
    pub granted: u32,
    /// Coupons given by its end, since the sale began.
    pub total: u32,
}

impl GrabsPerSecond {
    /// The row that a coupon changes.
    #[must_use]
    pub fn of(coupon: &CouponRow) -> Self {
        let second = coupon.grabbed_at.as_second().clamp(0, u32::MAX.into());
        Self {
            promotion_id: coupon.promotion_id.clone(),
            second: u32::try_from(second).expect("it is clamped"),
            total: coupon.serial,
            position: coupon.position,
        }
    }
}

impl Row for GrabsPerSecond {
    fn position(&self) -> Position {
        self.position
    }

    fn promotion_id(&self) -> Option<&str> {
        Some(&self.promotion_id)
    }

    fn texts(&self) -> usize {
        self.promotion_id.len()
    }
}

/// The row in CQL.
#[derive(SerializeRow, DeserializeRow)]
pub struct Columns {
    promotion_id: String,
    second: i64,
    total: i64,
    position_offset: i64,
}

const CURSOR: Cursor = Cursor { letter: 't', kinds: &[Kind::Number, Kind::Number] };

impl View for GrabsPerSecond {
    const SCHEMA: Schema = Schema {
        name: "grabs_per_second",
        group: &[("promotion_id", Kind::Text)],
        within: &[("second", Kind::Number)],
        values: &[("total", Kind::Number), ("position_offset", Kind::Number)],
        version: 1,
        rewritten: true,
        in_memory: false,
    };
    type Row = Self;
    type Columns = Columns;

    fn changed(changes: &Changes) -> impl Iterator<Item = &Self> {
        changes.seconds.iter()
    }

    fn key(row: &Self) -> Key {
        Key { group: vec![row.promotion_id.as_str().into()], within: vec![row.second.into()] }
    }

    fn to_columns(row: &Self) -> Columns {
        Columns {
            promotion_id: row.promotion_id.clone(),
            second: row.second.into(),
            total: row.total.into(),
            position_offset: bigint(row.position.offset),
        }
    }

    fn from_columns(columns: Columns, partitions: u32) -> Result<Self, String> {
        let partition = partition_of(&columns.promotion_id, partitions);
        let offset = unsigned("position_offset", columns.position_offset)?;
        Ok(Self {
            promotion_id: columns.promotion_id,
            second: unsigned("second", columns.second)?,
            total: unsigned("total", columns.total)?,
            position: Position { partition, offset },
        })
    }
}

impl Views {
    /// A sale by seconds, in order; seconds in which nothing was given are left out.
    ///
    /// # Errors
    /// [`ViewsError::InvalidCursor`], or as the engine reports them.
    pub async fn timeline(
        &self,
        promotion_id: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<TimelineSecond>, ViewsError> {
        let limit = clamp_limit(limit);
        let after = cursor.map(|cursor| CURSOR.open(cursor)).transpose()?;
        let (after, before) = match after.as_deref() {
            Some([second, Part::Number(total)]) => (Some(vec![second.clone()]), *total),
            _ => (None, 0),
        };
        let walk = Walk::group(vec![promotion_id.into()], after);
        let rows = self.list::<GrabsPerSecond>(walk, limit + 1).await?;
        let page =
            Page::cut(rows, limit, |row| CURSOR.seal(&[row.second.into(), row.total.into()]));
        let mut before = before;
        let items = page.items.into_iter().map(|GrabsPerSecond { second, total, .. }| {
            let granted = total.saturating_sub(std::mem::replace(&mut before, total));
            TimelineSecond { second: timestamp(second), granted, total }
        });
        Ok(Page { items: items.collect(), next: page.next })
    }
}

fn timestamp(second: u32) -> Timestamp {
    Timestamp::from_second(second.into()).expect("the next hundred years are in every calendar")
}
