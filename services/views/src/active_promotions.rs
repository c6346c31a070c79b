//! `active_promotions`: the promotions on sale, by log partition and id. Same row, same key and
//! same columns as `promotions`.
//!
//! A promotion enters when it starts and leaves when it finishes, for good: leaving is written at
//! its own log position, so that no older row brings it back.

use crate::PromotionStatus;

/// Name of the view.
pub(crate) const VIEW: &str = "active_promotions";

/// What a promotion's row means for this view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    /// Not in it yet; nothing is written.
    NotYet,
    /// In it.
    In,
    /// Out of it, for good.
    Out,
}

pub(crate) fn membership(state: PromotionStatus) -> Membership {
    match state {
        PromotionStatus::Scheduled => Membership::NotYet,
        PromotionStatus::Active => Membership::In,
        PromotionStatus::Finished => Membership::Out,
    }
}
