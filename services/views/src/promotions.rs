//! `promotions`: every promotion ever scheduled, by log partition and id.

use jiff::Timestamp;
use seckill_proto::{Position, check_identifier, partition_of};
use serde::{Deserialize, Serialize};

use crate::cursor::{self, Kind};
use crate::{ViewsError, position_text};

/// Name of the view.
pub(crate) const VIEW: &str = "promotions";

/// The columns of a promotion in CQL, in the order in which they are bound and read.
pub(crate) const COLUMNS: &str = "partition, id, name, coupons, remaining, discount, \
     limit_per_customer, starts_at, finishes_at, state, finish_reason, created_offset, \
     position_offset";

/// Where a promotion is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromotionStatus {
    /// Not on sale yet.
    Scheduled,
    /// On sale.
    Active,
    /// Over, for ever.
    Finished,
}

/// Why a promotion is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishCause {
    /// The last coupon was granted.
    SoldOut,
    /// Its end came.
    Time,
    /// An operator ended it.
    Cancelled,
}

/// A promotion as the API returns it. Times are to the millisecond.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    pub starts_at: Timestamp,
    /// When it ends at the latest; none: when sold out or cancelled.
    pub finishes_at: Option<Timestamp>,
    /// Where it is in its life.
    pub state: PromotionStatus,
    /// Why it is over; none before that.
    pub finish_reason: Option<FinishCause>,
    /// Where in the log it was scheduled.
    #[serde(with = "position_text")]
    pub created: Position,
    /// The last event that this row reflects.
    #[serde(with = "position_text")]
    pub position: Position,
}

impl PromotionRow {
    pub(crate) fn key(&self) -> PromotionKey {
        PromotionKey { partition: self.position.partition, id: self.id.clone() }
    }

    pub(crate) fn assert_belongs(&self, partition: u32, partitions: u32) {
        let belongs = partition_of(&self.id, partitions) == partition
            && self.position.partition == partition
            && self.created.partition == partition;
        assert!(belongs, "promotion {} is not of partition {partition}", self.id);
    }
}

/// The key of a promotion: lists are in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PromotionKey {
    pub(crate) partition: u32,
    pub(crate) id: String,
}

impl PromotionKey {
    pub(crate) fn find(id: &str, partitions: u32) -> Self {
        Self { partition: partition_of(id, partitions), id: id.into() }
    }

    /// Sorts as the key does; the id is last, so it needs no end mark.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.partition.to_be_bytes().to_vec();
        bytes.extend_from_slice(self.id.as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (partition, id) = bytes.split_first_chunk()?;
        let id = std::str::from_utf8(id).ok()?;
        check_identifier(id).ok()?;
        Some(Self { partition: u32::from_be_bytes(*partition), id: id.into() })
    }

    pub(crate) fn to_cursor(&self) -> String {
        cursor::seal(Kind::Promotions, &self.to_bytes())
    }

    pub(crate) fn from_cursor(text: &str) -> Result<Self, ViewsError> {
        let bytes = cursor::open(Kind::Promotions, text)?;
        Self::from_bytes(&bytes).ok_or(ViewsError::InvalidCursor)
    }
}

/// Partitioned as the log is, so that one list covers a few partitions in a known order.
pub(crate) fn create_table(table: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (partition bigint, id text, name text, \
         coupons bigint, remaining bigint, discount double, limit_per_customer bigint, \
         starts_at timestamp, finishes_at timestamp, state text, finish_reason text, \
         created_offset bigint, position_offset bigint, PRIMARY KEY ((partition), id))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_the_key() {
        let key = PromotionKey { partition: 70_000, id: "春 \"sale\"/1".into() };
        assert_eq!(PromotionKey::from_cursor(&key.to_cursor()).ok(), Some(key));
        for text in ["p", "p000000", "p00000001", "p00000001ff", "p0000000100"] {
            assert!(PromotionKey::from_cursor(text).is_err(), "{text}");
        }
    }

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
