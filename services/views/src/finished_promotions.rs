//! `finished_promotions`: the promotions that are over, for good, by log partition and id. Same row,
//! same key and same columns as `promotions`, written once.

use crate::changes::Changes;
use crate::key::Key;
use crate::promotions::{self, Promotions};
use crate::promotions::{PromotionRow, PromotionState};
use crate::view::{Schema, View};

/// The view.
#[derive(Debug)]
pub struct FinishedPromotions;

impl View for FinishedPromotions {
    const SCHEMA: Schema = promotions::table("finished_promotions");
    type Row = PromotionRow;
    type Columns = promotions::Columns;

    fn changed(changes: &Changes) -> impl Iterator<Item = &PromotionRow> {
        changes.promotions.iter().filter(|row| row.state == PromotionState::Finished)
    }

    fn key(row: &PromotionRow) -> Key {
        Promotions::key(row)
    }

    fn to_columns(row: &PromotionRow) -> promotions::Columns {
        Promotions::to_columns(row)
    }

    fn from_columns(columns: promotions::Columns, partitions: u32) -> Result<PromotionRow, String> {
        let row = Promotions::from_columns(columns, partitions)?;
        match row.state {
            PromotionState::Finished => Ok(row),
            state => Err(format!("promotion {:?} is {state:?}", row.id)),
        }
    }
}
