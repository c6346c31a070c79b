//! `promotions`: every promotion ever scheduled, by log partition and id.

use jiff::Timestamp;
use scylla::value::CqlTimestamp;
use scylla::{DeserializeRow, SerializeRow};
use seckill_proto::{Position, partition_of};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::changes::Changes;
use crate::cql::value::{bigint, time, timestamp, unsigned};
use crate::engine::Walk;
use crate::error::ViewsError;
use crate::finished_promotions::FinishedPromotions;
use crate::key::{Cursor, Key, Kind};
use crate::page::{Page, clamp_limit};
use crate::position_text;
use crate::view::{Column, Row, Schema, View};
use crate::views::Views;

/// The view.
#[derive(Debug)]
pub struct Promotions;

/// Where a promotion is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PromotionState {
    /// Not on sale yet.
    Scheduled,
    /// On sale.
    Active,
    /// No coupon is given until it is resumed.
    Paused,
    /// No coupon is left; more may come.
    SoldOut,
    /// Over, for ever.
    Finished,
}

/// Why a promotion is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The last coupon was granted.
    SoldOut,
    /// Its end came.
    Time,
    /// An operator took it back.
    Cancelled,
    /// An operator ended it before its time.
    Closed,
}

/// A promotion as the API returns it. Times are to the millisecond.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Promotion)]
pub struct PromotionRow {
    /// The operator's id.
    pub id: String,
    /// The operator's name for it.
    pub name: String,
    /// Coupons offered, granted ones included.
    pub coupons: u32,
    /// Coupons left.
    pub remaining: u32,
    /// Part of the price taken off, in (0, 1].
    pub discount: f64,
    /// Coupons that one customer may hold.
    pub limit_per_customer: u32,
    /// When the sale starts.
    #[schema(value_type = String, format = DateTime)]
    pub starts_at: Timestamp,
    /// When it ends at the latest; none: when sold out or cancelled.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finishes_at: Option<Timestamp>,
    /// Where it is in its life.
    pub state: PromotionState,
    /// Why it is over; none before that.
    pub finish_reason: Option<FinishReason>,
    /// Where in the log it was scheduled.
    #[serde(with = "position_text")]
    #[schema(value_type = String, example = "3:1042")]
    pub created: Position,
    /// The last event that this row reflects.
    #[serde(with = "position_text")]
    #[schema(value_type = String, example = "3:1042")]
    pub position: Position,
}

impl Row for PromotionRow {
    fn position(&self) -> Position {
        self.position
    }

    fn promotion_id(&self) -> Option<&str> {
        Some(&self.id)
    }

    fn texts(&self) -> usize {
        self.id.len() + self.name.len() + "scheduled".len() + "cancelled".len()
    }
}

/// The row in CQL.
#[derive(SerializeRow, DeserializeRow)]
pub struct Columns {
    partition: i64,
    id: String,
    name: String,
    coupons: i64,
    remaining: i64,
    discount: f64,
    limit_per_customer: i64,
    starts_at: CqlTimestamp,
    finishes_at: Option<CqlTimestamp>,
    state: String,
    finish_reason: Option<String>,
    created_offset: i64,
    position_offset: i64,
}

/// Partitioned as the log is, so that one list covers a few groups in a known order.
pub(crate) const GROUP: &[Column] = &[("partition", Kind::Number)];
const WITHIN: &[Column] = &[("id", Kind::Text)];
const CURSOR: Cursor = Cursor { letter: 'p', kinds: &[Kind::Number, Kind::Text] };

/// A table of promotions: this one, and that of those that are over.
pub(crate) const fn table(name: &'static str) -> Schema {
    Schema {
        name,
        group: GROUP,
        within: WITHIN,
        values: &[
            ("name", Kind::Text),
            ("coupons", Kind::Number),
            ("remaining", Kind::Number),
            ("discount", Kind::Double),
            ("limit_per_customer", Kind::Number),
            ("starts_at", Kind::Time),
            ("finishes_at", Kind::Time),
            ("state", Kind::Text),
            ("finish_reason", Kind::Text),
            ("created_offset", Kind::Number),
            ("position_offset", Kind::Number),
        ],
        version: 1,
        rewritten: true,
        in_memory: false,
    }
}

pub(crate) fn key(partition: u32, id: &str) -> Key {
    Key { group: vec![partition.into()], within: vec![id.into()] }
}

impl View for Promotions {
    const SCHEMA: Schema = table("promotions");
    type Row = PromotionRow;
    type Columns = Columns;

    fn changed(changes: &Changes) -> impl Iterator<Item = &PromotionRow> {
        changes.promotions.iter()
    }

    fn key(row: &PromotionRow) -> Key {
        key(row.position.partition, &row.id)
    }

    fn to_columns(row: &PromotionRow) -> Columns {
        Columns {
            partition: row.position.partition.into(),
            id: row.id.clone(),
            name: row.name.clone(),
            coupons: row.coupons.into(),
            remaining: row.remaining.into(),
            discount: row.discount,
            limit_per_customer: row.limit_per_customer.into(),
            starts_at: timestamp(row.starts_at),
            finishes_at: row.finishes_at.map(timestamp),
            state: state_text(row.state).into(),
            finish_reason: row.finish_reason.map(|reason| reason_text(reason).into()),
            created_offset: bigint(row.created.offset),
            position_offset: bigint(row.position.offset),
        }
    }

    fn from_columns(columns: Columns, _partitions: u32) -> Result<PromotionRow, String> {
        let partition = unsigned("partition", columns.partition)?;
        let place = |column, offset| {
            Ok::<_, String>(Position { partition, offset: unsigned(column, offset)? })
        };
        Ok(PromotionRow {
            id: columns.id,
            name: columns.name,
            coupons: unsigned("coupons", columns.coupons)?,
            remaining: unsigned("remaining", columns.remaining)?,
            discount: columns.discount,
            limit_per_customer: unsigned("limit_per_customer", columns.limit_per_customer)?,
            starts_at: time("starts_at", columns.starts_at)?,
            finishes_at: columns.finishes_at.map(|end| time("finishes_at", end)).transpose()?,
            state: state_of(&columns.state)?,
            finish_reason: columns.finish_reason.as_deref().map(reason_of).transpose()?,
            created: place("created_offset", columns.created_offset)?,
            position: place("position_offset", columns.position_offset)?,
        })
    }
}

impl Views {
    /// Those of some promotions of one partition that are there, by id.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn promotions_of_ids(
        &self,
        partition: u32,
        ids: &[String],
    ) -> Result<Vec<PromotionRow>, ViewsError> {
        self.some::<Promotions>(ids.iter().map(|id| key(partition, id)).collect()).await
    }

    /// One promotion.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn promotion(&self, id: &str) -> Result<Option<PromotionRow>, ViewsError> {
        self.get::<Promotions>(key(partition_of(id, self.partitions), id)).await
    }

    /// Promotions by partition and id, of one state or of all. A page is filled up to its limit, and
    /// costs no more where other states are many.
    ///
    /// # Errors
    /// [`ViewsError::InvalidCursor`], or as the engine reports them.
    pub async fn promotions(
        &self,
        state: Option<PromotionState>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<PromotionRow>, ViewsError> {
        let limit = clamp_limit(limit);
        let (first, after) = cursor.map(place_of).transpose()?.unzip();
        let first = first.unwrap_or(0);
        let rows = match state {
            Some(PromotionState::Finished) => {
                let walk = self.walk(first, after);
                self.list::<FinishedPromotions>(walk, limit + 1).await?
            }
            Some(open) => self.promotions_through_open(open, first, after, limit + 1).await?,
            None => self.list::<Promotions>(self.walk(first, after), limit + 1).await?,
        };
        Ok(Page::cut(rows, limit, |row| {
            CURSOR.seal(&[row.position.partition.into(), row.id.as_str().into()])
        }))
    }

    fn walk(&self, first: u32, after: Option<String>) -> Walk {
        let after = after.map(|id| vec![id.as_str().into()]);
        Walk::partitions(first, self.partitions, after)
    }
}

/// Partition and id of the last row given.
fn place_of(cursor: &str) -> Result<(u32, String), ViewsError> {
    match CURSOR.open(cursor)?.as_slice() {
        [crate::Part::Number(partition), crate::Part::Text(id)] => Ok((*partition, id.clone())),
        _ => Err(ViewsError::InvalidCursor),
    }
}

fn state_text(state: PromotionState) -> &'static str {
    match state {
        PromotionState::Scheduled => "scheduled",
        PromotionState::Active => "active",
        PromotionState::Paused => "paused",
        PromotionState::SoldOut => "sold_out",
        PromotionState::Finished => "finished",
    }
}

fn state_of(text: &str) -> Result<PromotionState, String> {
    match text {
        "scheduled" => Ok(PromotionState::Scheduled),
        "active" => Ok(PromotionState::Active),
        "paused" => Ok(PromotionState::Paused),
        "sold_out" => Ok(PromotionState::SoldOut),
        "finished" => Ok(PromotionState::Finished),
        _ => Err(format!("{text:?} is no state")),
    }
}

fn reason_text(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::SoldOut => "sold_out",
        FinishReason::Time => "time",
        FinishReason::Cancelled => "cancelled",
        FinishReason::Closed => "closed",
    }
}

fn reason_of(text: &str) -> Result<FinishReason, String> {
    match text {
        "sold_out" => Ok(FinishReason::SoldOut),
        "time" => Ok(FinishReason::Time),
        "cancelled" => Ok(FinishReason::Cancelled),
        "closed" => Ok(FinishReason::Closed),
        _ => Err(format!("{text:?} is no reason to finish")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_json_that_the_api_returns() {
        let json = r#"{"id":"p","name":"P","coupons":3,"remaining":1,"discount":0.1,
            "limit_per_customer":1,"starts_at":"2026-11-11T10:00:00Z","finishes_at":null,
            "state":"finished","finish_reason":"sold_out","created":"3:4","position":"3:9"}"#;
        let row: PromotionRow = serde_json::from_str(json).unwrap();
        assert_eq!(row.position, Position { partition: 3, offset: 9 });
        let again = serde_json::to_value(&row).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(json).unwrap());
    }
}
