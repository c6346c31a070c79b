//! `open_promotions`, and the promotions that it names in memory, because everybody lists them all the
//! time.
//!
//! Reading them from the table is slow: the row of a hot promotion is written anew with every batch,
//! and a range read goes past every version that has not been flushed yet.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use super::{Store, Tables};
use crate::promotions::PromotionKey;
use crate::{OpenPromotions, PromotionRow, PromotionStatus, ViewsError};

type Rows = BTreeMap<Vec<u8>, PromotionRow>;

/// Rows of promotions that are not over, by their keys.
#[derive(Default)]
pub(super) struct Listed {
    open: RwLock<Open>,
}

#[derive(Default)]
struct Open {
    scheduled: Rows,
    active: Rows,
}

impl Open {
    fn place(&mut self, row: PromotionRow) {
        let key = row.key().to_bytes();
        self.scheduled.remove(&key);
        match row.state {
            PromotionStatus::Scheduled => drop(self.scheduled.insert(key, row)),
            PromotionStatus::Active => drop(self.active.insert(key, row)),
            PromotionStatus::Finished => drop(self.active.remove(&key)),
        }
    }
}

impl Listed {
    pub(super) fn load(tables: &Tables) -> Result<Self, ViewsError> {
        let mut open = Open::default();
        for row in tables.open_promotions.rows::<OpenPromotions>(&[], None) {
            let OpenPromotions { scheduled, active, position, .. } = row?;
            for id in scheduled.into_iter().chain(active) {
                let key = PromotionKey { partition: position.partition, id };
                let row = tables.promotions.get::<PromotionRow>(&key.to_bytes())?;
                row.into_iter().for_each(|row| open.place(row));
            }
        }
        Ok(Self { open: RwLock::new(open) })
    }

    /// Follows a batch that has been committed. A map is whole after every step, so one that
    /// panicked leaves nothing half done.
    pub(super) fn follow(&self, rows: Vec<PromotionRow>) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        rows.into_iter().for_each(|row| open.place(row));
    }

    /// Up to `count` rows after a key.
    pub(super) fn page(
        &self,
        state: PromotionStatus,
        after: Option<Vec<u8>>,
        count: usize,
    ) -> Vec<PromotionRow> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let rows = match state {
            PromotionStatus::Scheduled => &open.scheduled,
            PromotionStatus::Active => &open.active,
            PromotionStatus::Finished => return Vec::new(),
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        rows.range((from, Bound::Unbounded)).take(count).map(|(_, row)| row.clone()).collect()
    }
}

impl Store {
    pub(super) fn open_promotions(
        &self,
        partition: u32,
    ) -> Result<Vec<OpenPromotions>, ViewsError> {
        let prefix = crate::open_promotions::prefix(partition);
        self.tables.open_promotions.rows(&prefix, None).collect()
    }
}
