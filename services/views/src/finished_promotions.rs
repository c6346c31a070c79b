//! `finished_promotions`: the promotions that are over, for good, by log partition and id. Same row,
//! same key and same columns as `promotions`, written once.

use crate::{PromotionRow, PromotionStatus};

/// Name of the view.
pub(crate) const VIEW: &str = "finished_promotions";

/// Whether a promotion belongs here.
pub(crate) fn holds(row: &PromotionRow) -> bool {
    row.state == PromotionStatus::Finished
}
