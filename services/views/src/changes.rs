//! What a projector writes at once.

use crate::coupon::CouponRow;
use crate::generation::ProgressId;
use crate::grabs_per_second::GrabsPerSecond;
use crate::open_promotions::OpenPromotions;
use crate::progress::Progress;
use crate::promotions::PromotionRow;

/// What a stretch of one partition's log changes: at most one row per key.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// Promotions, each as the last event of the stretch left it.
    pub promotions: Vec<PromotionRow>,
    /// Rows of open promotions, each as the last event of the stretch left it.
    pub open: Vec<OpenPromotions>,
    /// Coupons granted in the stretch.
    pub coupons: Vec<CouponRow>,
    /// Seconds in which they were granted, each as the last event of the stretch left it.
    pub seconds: Vec<GrabsPerSecond>,
    /// How far the rows reach, once they are all written.
    pub progress: Progress,
}

impl Changes {
    /// The progress as it is told of these tables: only that of a rebuild says by which catalog.
    pub(crate) fn progress_of(&self, id: ProgressId) -> Progress {
        let revision = if id == ProgressId::Live { 0 } else { self.progress.revision };
        Progress { revision, ..self.progress.clone() }
    }

    /// No rows, and how far that is.
    #[must_use]
    pub fn none(progress: Progress) -> Self {
        let (promotions, open, coupons, seconds) = Default::default();
        Self { promotions, open, coupons, seconds, progress }
    }
}
