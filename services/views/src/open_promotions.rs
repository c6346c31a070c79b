//! `open_promotions`: which promotions are not over yet, by log partition.
//!
//! A row holds the ids of some of a partition's promotions, and is written anew whenever one of them
//! is scheduled, starts or finishes. Nothing is ever deleted: a database keeps a mark for every row
//! that was, and a list would have to read past as many marks as promotions have ever finished.

use seckill_proto::Position;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::{PromotionStatus, position_text};

/// Name of the view.
pub(crate) const VIEW: &str = "open_promotions";

/// Rows of a partition: as many as keep one small while there are thousands of promotions.
const ROWS: u64 = 64;

/// Another seed than the log's partitioner has: the promotions of one partition lie in all rows.
const SEED: u64 = 1;

/// The columns in CQL, in the order in which they are bound and read.
pub(crate) const COLUMNS: &str = "partition, row, scheduled, active, position_offset";

/// Some of a partition's promotions that are not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPromotions {
    /// Which of the partition's rows.
    pub row: u32,
    /// Ids of those not on sale yet, in order.
    pub scheduled: Vec<String>,
    /// Ids of those on sale, in order.
    pub active: Vec<String>,
    /// The last event that this row reflects.
    #[serde(with = "position_text")]
    pub position: Position,
}

impl OpenPromotions {
    /// The row that a promotion belongs to.
    #[must_use]
    pub fn row_of(promotion_id: &str) -> u32 {
        let row = XxHash3_64::oneshot_with_seed(SEED, promotion_id.as_bytes()) % ROWS;
        u32::try_from(row).expect("a remainder of a small number is small")
    }

    /// A row that has never been written: no event is before the partition's first fence.
    #[must_use]
    pub fn empty(partition: u32, row: u32) -> Self {
        let position = Position { partition, offset: 0 };
        Self { row, scheduled: Vec::new(), active: Vec::new(), position }
    }

    /// Follows a promotion into a state that it came to at a position. Tells whether that is news:
    /// a row reflects everything up to its own position already.
    pub fn follow(
        &mut self,
        promotion_id: &str,
        state: PromotionStatus,
        position: Position,
    ) -> bool {
        if position.offset <= self.position.offset {
            return false;
        }
        self.position = position;
        place(&mut self.scheduled, promotion_id, state == PromotionStatus::Scheduled);
        place(&mut self.active, promotion_id, state == PromotionStatus::Active);
        true
    }

    pub(crate) fn of(&self, state: PromotionStatus) -> &[String] {
        match state {
            PromotionStatus::Scheduled => &self.scheduled,
            PromotionStatus::Active => &self.active,
            PromotionStatus::Finished => &[],
        }
    }

    pub(crate) fn key(&self) -> Vec<u8> {
        [prefix(self.position.partition), self.row.to_be_bytes()].concat()
    }

    pub(crate) fn assert_belongs(&self, partition: u32) {
        assert_eq!(self.position.partition, partition, "a row of open promotions");
    }
}

fn place(ids: &mut Vec<String>, id: &str, belongs: bool) {
    match (ids.binary_search_by(|other| other.as_str().cmp(id)), belongs) {
        (Err(at), true) => ids.insert(at, id.to_owned()),
        (Ok(at), false) => drop(ids.remove(at)),
        (Ok(_), true) | (Err(_), false) => {}
    }
}

pub(crate) fn prefix(partition: u32) -> [u8; 4] {
    partition.to_be_bytes()
}

pub(crate) fn create_table(table: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (partition bigint, row bigint, \
         scheduled frozen<list<text>>, active frozen<list<text>>, position_offset bigint, \
         PRIMARY KEY ((partition), row))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use PromotionStatus::{Active, Finished, Scheduled};

    fn at(offset: u64) -> Position {
        Position { partition: 3, offset }
    }

    #[test]
    fn a_row_follows_what_is_newer_than_itself() {
        let mut row = OpenPromotions::empty(3, 0);
        assert!(row.follow("b", Scheduled, at(1)) && row.follow("a", Scheduled, at(2)));
        assert_eq!(row.scheduled, ["a", "b"]);
        assert!(row.follow("b", Active, at(5)) && !row.follow("c", Active, at(4)));
        assert_eq!(
            (row.scheduled.as_slice(), row.active.as_slice()),
            (&["a".into()][..], &["b".into()][..])
        );
        assert!(row.follow("b", Finished, at(6)) && row.active.is_empty());
    }

    /// Pinned: another row means that a promotion is listed for ever.
    #[test]
    fn the_row_of_a_promotion_never_changes() {
        let rows = ["a", "spring-sale", "春"].map(OpenPromotions::row_of);
        assert_eq!(rows, [32, 24, 5]);
    }
}
