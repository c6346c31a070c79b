//! The read model: rows that the HTTP API returns as they are, behind one trait with two engines.
//!
//! A row is a pure function of the log up to its `position`. So the newest position wins, and
//! writes that are repeated, late or in another order end in the same rows. Nothing here reads
//! a clock, counts, or locks across processes.
//!
//! Deliberately absent: the log, what events mean (the projector makes rows of them), retries
//! (the caller asks [`ViewsError::is_retryable`]), and any second shape of a row.

mod coupon;
mod coupons_by_customer;
mod coupons_by_promotion;
mod cql;
mod cursor;
mod embedded;
mod error;
mod finished_promotions;
mod generation;
mod open_promotions;
mod position_text;
mod progress;
mod promotions;

use crate::coupons_by_customer::CouponOfCustomer;
use async_trait::async_trait;
use seckill_proto::CouponId;
use serde::{Deserialize, Serialize};

pub use coupon::CouponRow;
pub use cql::{CqlConfig, CqlViews};
pub use embedded::EmbeddedViews;
pub use error::ViewsError;
pub use open_promotions::OpenPromotions;
pub use progress::Progress;
pub use promotions::{FinishCause, PromotionRow, PromotionStatus};

/// The most rows that one page holds; a greater limit is cut to it, and 0 is taken as 1.
pub const MAX_PAGE: usize = 1_000;

/// What a stretch of one partition's log changes: at most one row per key.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// Promotions, each as the last event of the stretch left it.
    pub promotions: Vec<PromotionRow>,
    /// Rows of open promotions, each as the last event of the stretch left it.
    pub open: Vec<OpenPromotions>,
    /// Coupons granted in the stretch.
    pub coupons: Vec<CouponRow>,
    /// How far the rows reach, once they are all written.
    pub progress: Progress,
}

impl Changes {
    /// Ends the task of a caller that mixes partitions: such rows would never be found again.
    fn assert_one_partition(&self, partitions: u32) {
        let partition = self.progress.partition;
        for row in &self.promotions {
            row.assert_belongs(partition, partitions);
        }
        for row in &self.open {
            row.assert_belongs(partition);
        }
        for row in &self.coupons {
            row.assert_belongs(partition, partitions);
        }
    }
}

/// A row as an auditor finds it, or what is wrong with it: a row that cannot be read, or lies under
/// a key or a position that is not its own, is [`ViewsError::Corrupt`].
pub type Scanned<T> = Result<T, ViewsError>;

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows, in the list's order.
    pub items: Vec<T>,
    /// The cursor of the part that follows, opaque; none when this is the last part.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Of up to `limit + 1` rows; the one too many only tells that there is a next page.
    fn cut(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(cursor);
        Self { items, next }
    }
}

fn clamp_limit(limit: usize) -> usize {
    limit.clamp(1, MAX_PAGE)
}

/// The read model of one log.
///
/// Lists take the `next` of the page before as `cursor`, and a `limit` of at most [`MAX_PAGE`]
/// rows. A cursor that no list of that kind gave is [`ViewsError::InvalidCursor`].
#[async_trait]
pub trait Views: Send + Sync + 'static {
    /// Writes the rows, then the progress, which is never ahead of the rows.
    ///
    /// Safe to repeat after any error, and safe beside other writers of the same partition:
    /// a row or a progress that is older than the stored one changes nothing.
    ///
    /// # Errors
    /// When not everything is known to be written. Some rows may be.
    ///
    /// # Panics
    /// When a row is not of the partition that the progress names.
    async fn write(&self, changes: Changes) -> Result<(), ViewsError>;

    /// How far a partition has been written; none before its first write.
    ///
    /// # Errors
    /// As the engine reports them.
    async fn progress(&self, partition: u32) -> Result<Option<Progress>, ViewsError>;

    /// The rows of a partition's open promotions, by number; those never written are left out.
    ///
    /// # Errors
    /// As the engine reports them.
    async fn open_promotions(&self, partition: u32) -> Result<Vec<OpenPromotions>, ViewsError>;

    /// Promotions by partition and id, of one state or of all. A page is filled up to its limit, and
    /// costs no more where other states are many.
    ///
    /// # Errors
    /// [`ViewsError::InvalidCursor`], or as the engine reports them.
    async fn promotions(
        &self,
        state: Option<PromotionStatus>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<PromotionRow>, ViewsError>;

    /// One promotion.
    ///
    /// # Errors
    /// As the engine reports them.
    async fn promotion(&self, id: &str) -> Result<Option<PromotionRow>, ViewsError>;

    /// A customer's coupons by promotion id and serial.
    ///
    /// # Errors
    /// [`ViewsError::InvalidCursor`], or as the engine reports them.
    async fn coupons_of_customer(
        &self,
        customer_id: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<CouponRow>, ViewsError>;

    /// The first coupon that a customer holds of a promotion.
    ///
    /// # Errors
    /// As the engine reports them.
    async fn coupon_of(
        &self,
        customer_id: &str,
        promotion_id: &str,
    ) -> Result<Option<CouponRow>, ViewsError> {
        let before = CouponOfCustomer { promotion_id: promotion_id.to_owned(), serial: 0 };
        let page = self.coupons_of_customer(customer_id, Some(&before.to_cursor()), 1).await?;
        Ok(page.items.into_iter().find(|coupon| coupon.promotion_id == promotion_id))
    }

    /// A promotion's coupons by serial. Serials are dense, so the list may end where some
    /// thousands in a row are missing; only [`Views::scan_coupons_by_promotion`] sees past that.
    ///
    /// # Errors
    /// [`ViewsError::InvalidCursor`], or as the engine reports them.
    async fn coupons_of_promotion(
        &self,
        promotion_id: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<CouponRow>, ViewsError>;

    /// One coupon.
    ///
    /// # Errors
    /// As the engine reports them.
    async fn coupon(&self, id: &CouponId) -> Result<Option<CouponRow>, ViewsError>;

    /// Every row of `promotions`, in any order, for an auditor.
    ///
    /// # Errors
    /// As the engine reports them; rows given before stay given.
    async fn scan_promotions(
        &self,
        each: &mut (dyn FnMut(Scanned<PromotionRow>) + Send),
    ) -> Result<(), ViewsError>;

    /// Every row of `open_promotions`, in any order, for an auditor.
    ///
    /// # Errors
    /// As the engine reports them; rows given before stay given.
    async fn scan_open_promotions(
        &self,
        each: &mut (dyn FnMut(Scanned<OpenPromotions>) + Send),
    ) -> Result<(), ViewsError>;

    /// Every row of `finished_promotions`, in any order, for an auditor.
    ///
    /// # Errors
    /// As the engine reports them; rows given before stay given.
    async fn scan_finished_promotions(
        &self,
        each: &mut (dyn FnMut(Scanned<PromotionRow>) + Send),
    ) -> Result<(), ViewsError>;

    /// Every row of `coupons_by_promotion`, in any order, for an auditor.
    ///
    /// # Errors
    /// As the engine reports them; rows given before stay given.
    async fn scan_coupons_by_promotion(
        &self,
        each: &mut (dyn FnMut(Scanned<CouponRow>) + Send),
    ) -> Result<(), ViewsError>;

    /// Every row of `coupons_by_customer`, in any order, for an auditor.
    ///
    /// # Errors
    /// As the engine reports them; rows given before stay given.
    async fn scan_coupons_by_customer(
        &self,
        each: &mut (dyn FnMut(Scanned<CouponRow>) + Send),
    ) -> Result<(), ViewsError>;

    /// Whether reads are answered at all: one cheap read, for a readiness probe.
    ///
    /// # Errors
    /// As the engine reports them.
    async fn check(&self) -> Result<(), ViewsError>;
}
