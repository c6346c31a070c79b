//! `open_promotions`: which promotions are not over yet, by log partition.
//!
//! A row holds the ids of some of a partition's promotions, and is written anew whenever one of them
//! is scheduled, starts, stands still, goes on or finishes. Nothing is ever deleted: a database keeps a mark for every row
//! that was, and a list would have to read past as many marks as promotions have ever finished.

use scylla::{DeserializeRow, SerializeRow};
use seckill_proto::Position;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::changes::Changes;
use crate::cql::value::{bigint, unsigned};
use crate::engine::Walk;
use crate::error::ViewsError;
use crate::key::{Key, Kind};
use crate::position_text;
use crate::promotions::{self, Promotions};
use crate::promotions::{PromotionRow, PromotionState};
use crate::view::{Row, Schema, View};
use crate::views::Views;

/// Rows of a partition: as many as keep one small while there are thousands of promotions.
const ROWS: u64 = 64;

/// Another seed than the log's partitioner has: the promotions of one partition lie in all rows.
const SEED: u64 = 1;

/// Some of a partition's promotions that are not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPromotions {
    /// Which of the partition's rows.
    pub row: u32,
    /// Ids of those not on sale yet, in order.
    pub scheduled: Vec<String>,
    /// Ids of those on sale, in order.
    pub active: Vec<String>,
    /// Ids of those that are paused or sold out, in order.
    #[serde(default)]
    pub waiting: Vec<String>,
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
        let (scheduled, active, waiting) = Default::default();
        Self { row, scheduled, active, waiting, position }
    }

    /// Follows a promotion into a state that it came to at a position. Tells whether that is news:
    /// a row reflects everything up to its own position already.
    pub fn follow(
        &mut self,
        promotion_id: &str,
        state: PromotionState,
        position: Position,
    ) -> bool {
        if position.offset <= self.position.offset {
            return false;
        }
        self.position = position;
        place(&mut self.scheduled, promotion_id, state == PromotionState::Scheduled);
        place(&mut self.active, promotion_id, state == PromotionState::Active);
        let waits = matches!(state, PromotionState::Paused | PromotionState::SoldOut);
        place(&mut self.waiting, promotion_id, waits);
        true
    }

    /// Ids among which are those of a state.
    pub(crate) fn of(&self, state: PromotionState) -> &[String] {
        match state {
            PromotionState::Scheduled => &self.scheduled,
            PromotionState::Active => &self.active,
            PromotionState::Paused | PromotionState::SoldOut => &self.waiting,
            PromotionState::Finished => &[],
        }
    }
}

fn place(ids: &mut Vec<String>, id: &str, belongs: bool) {
    match (ids.binary_search_by(|other| other.as_str().cmp(id)), belongs) {
        (Err(at), true) => ids.insert(at, id.to_owned()),
        (Ok(at), false) => drop(ids.remove(at)),
        (Ok(_), true) | (Err(_), false) => {}
    }
}

impl Row for OpenPromotions {
    fn position(&self) -> Position {
        self.position
    }

    fn promotion_id(&self) -> Option<&str> {
        None
    }

    fn texts(&self) -> usize {
        let ids = self.scheduled.iter().chain(&self.active).chain(&self.waiting);
        ids.map(|id| size_of::<u32>() + id.len()).sum()
    }
}

/// The row in CQL. An empty list of CQL is a null.
#[derive(SerializeRow, DeserializeRow)]
pub struct Columns {
    partition: i64,
    row: i64,
    scheduled: Option<Vec<String>>,
    active: Option<Vec<String>>,
    waiting: Option<Vec<String>>,
    position_offset: i64,
}

impl View for OpenPromotions {
    const SCHEMA: Schema = Schema {
        name: "open_promotions",
        group: promotions::GROUP,
        within: &[("row", Kind::Number)],
        values: &[
            ("scheduled", Kind::Texts),
            ("active", Kind::Texts),
            ("waiting", Kind::Texts),
            ("position_offset", Kind::Number),
        ],
        version: 2,
        rewritten: true,
        in_memory: true,
    };
    type Row = Self;
    type Columns = Columns;

    fn changed(changes: &Changes) -> impl Iterator<Item = &Self> {
        changes.open.iter()
    }

    fn key(row: &Self) -> Key {
        Key { group: vec![row.position.partition.into()], within: vec![row.row.into()] }
    }

    fn to_columns(row: &Self) -> Columns {
        Columns {
            partition: row.position.partition.into(),
            row: row.row.into(),
            scheduled: Some(row.scheduled.clone()),
            active: Some(row.active.clone()),
            waiting: Some(row.waiting.clone()),
            position_offset: bigint(row.position.offset),
        }
    }

    fn from_columns(columns: Columns, _partitions: u32) -> Result<Self, String> {
        let partition = unsigned("partition", columns.partition)?;
        let offset = unsigned("position_offset", columns.position_offset)?;
        Ok(Self {
            row: unsigned("row", columns.row)?,
            scheduled: columns.scheduled.unwrap_or_default(),
            active: columns.active.unwrap_or_default(),
            waiting: columns.waiting.unwrap_or_default(),
            position: Position { partition, offset },
        })
    }
}

impl Views {
    /// The rows of a partition's open promotions, by number; those never written are left out.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn open_promotions(&self, partition: u32) -> Result<Vec<OpenPromotions>, ViewsError> {
        let group = Walk::group(vec![partition.into()], None);
        self.list::<OpenPromotions>(group, usize::MAX).await
    }

    /// Up to `count` promotions of a state that is not the last one, by partition and id: from a
    /// partition on, in that one after an id.
    pub(crate) async fn promotions_through_open(
        &self,
        state: PromotionState,
        first: u32,
        after: Option<String>,
        count: usize,
    ) -> Result<Vec<PromotionRow>, ViewsError> {
        let mut after = after.unwrap_or_default();
        let mut found: Vec<PromotionRow> = Vec::new();
        for partition in first..self.partitions {
            let rows = self.open_promotions(partition).await?;
            let ids = rows.iter().flat_map(|row| row.of(state)).map(String::as_str);
            let mut ids: Vec<&str> = ids.filter(|id| *id > after.as_str()).collect();
            ids.sort_unstable();
            let mut ids = ids.as_slice();
            while found.len() < count && !ids.is_empty() {
                let (next, rest) = ids.split_at(ids.len().min(count - found.len()));
                let keys = next.iter().map(|id| promotions::key(partition, id)).collect();
                let rows = self.some::<Promotions>(keys).await?;
                found.extend(rows.into_iter().filter(|row| row.state == state));
                ids = rest;
            }
            if found.len() == count {
                break;
            }
            after.clear();
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PromotionState::{Active, Finished, Scheduled};

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
