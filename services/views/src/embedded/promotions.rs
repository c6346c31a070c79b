//! Reads of `promotions`.

use super::Store;
use crate::promotions::PromotionKey;
use crate::{Page, PromotionRow, PromotionStatus, ViewsError, clamp_limit};

impl Store {
    pub(super) fn promotion(&self, key: &PromotionKey) -> Result<Option<PromotionRow>, ViewsError> {
        self.tables.promotions.get(&key.to_bytes())
    }

    pub(super) fn promotions(
        &self,
        state: Option<PromotionStatus>,
        after: Option<&PromotionKey>,
        limit: usize,
    ) -> Result<Page<PromotionRow>, ViewsError> {
        let limit = clamp_limit(limit);
        let table = match state {
            Some(PromotionStatus::Active) => &self.tables.active_promotions,
            Some(PromotionStatus::Scheduled | PromotionStatus::Finished) | None => {
                &self.tables.promotions
            }
        };
        let wanted = |row: &Result<PromotionRow, ViewsError>| {
            row.as_ref().map_or(true, |row| state.is_none_or(|state| row.state == state))
        };
        let rows = table.rows(&[], after.map(PromotionKey::to_bytes)).filter(wanted);
        let rows = rows.take(limit + 1).collect::<Result<_, _>>()?;
        Ok(Page::cut(rows, limit, |row: &PromotionRow| row.key().to_cursor()))
    }
}
