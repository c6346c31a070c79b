//! `active_promotions`, which everybody lists all the time, is kept in memory beside its table.
//!
//! The table itself is slow to list: the row of a hot promotion is written anew with every batch,
//! and a range read goes past every version that has not been flushed yet.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::Store;
use super::table::Table;
use crate::{PromotionRow, ViewsError};

/// The rows of the table by its keys.
pub(super) struct ActivePromotions {
    rows: RwLock<BTreeMap<Vec<u8>, PromotionRow>>,
}

/// A row that came, or one that went.
pub(super) type Change = (Vec<u8>, Option<PromotionRow>);

impl ActivePromotions {
    pub(super) fn load(table: &Table) -> Result<Self, ViewsError> {
        let rows = table.rows::<PromotionRow>(&[], None);
        let rows = rows.map(|row| row.map(|row| (row.key().to_bytes(), row)));
        Ok(Self { rows: RwLock::new(rows.collect::<Result<_, _>>()?) })
    }

    /// Follows a batch that has been committed. A map is whole after every step, so one that
    /// panicked leaves nothing half done.
    pub(super) fn follow(&self, changes: Vec<Change>) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for (key, row) in changes {
            match row {
                Some(row) => rows.insert(key, row),
                None => rows.remove(&key),
            };
        }
    }
}

impl Store {
    pub(super) fn active_promotions(&self) -> Vec<PromotionRow> {
        let rows = self.active.rows.read().unwrap_or_else(PoisonError::into_inner);
        rows.values().cloned().collect()
    }
}
