//! Reads of `promotions`, and of those of one state.

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
        let (after, count) = (after.map(PromotionKey::to_bytes), limit + 1);
        let rows = match state {
            Some(state @ (PromotionStatus::Scheduled | PromotionStatus::Active)) => {
                self.listed.page(state, after, count)
            }
            Some(PromotionStatus::Finished) => {
                let rows = self.tables.finished_promotions.rows(&[], after);
                rows.take(count).collect::<Result<_, _>>()?
            }
            None => {
                self.tables.promotions.rows(&[], after).take(count).collect::<Result<_, _>>()?
            }
        };
        Ok(Page::cut(rows, limit, |row: &PromotionRow| row.key().to_cursor()))
    }
}
