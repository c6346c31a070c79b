//! Reads of `active_promotions`.

use super::Store;
use crate::{PromotionRow, ViewsError};

impl Store {
    pub(super) fn active_promotions(&self) -> Result<Vec<PromotionRow>, ViewsError> {
        self.tables.active_promotions.rows(&[], None).collect()
    }
}
