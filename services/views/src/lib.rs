//! The read model: rows that the HTTP API returns as they are, behind one trait with two engines.
//!
//! A row is a pure function of the log up to its `position`. So the newest position wins, and
//! writes that are repeated, late or in another order end in the same rows. Nothing here reads
//! a clock, counts, or locks across processes.
//!
//! Deliberately absent: the log, what events mean (the projector makes rows of them), retries
//! (the caller asks [`ViewsError::is_retryable`]), and any second shape of a row.

mod changes;
mod coupon;
mod coupons_by_customer;
mod coupons_by_promotion;
mod cql;
mod embedded;
mod engine;
mod error;
mod finished_promotions;
mod generation;
mod key;
mod open_promotions;
mod page;
mod position_text;
mod progress;
mod promotions;
mod view;
mod views;

use std::path::Path;

use crate::cql::CqlViews;
use crate::embedded::EmbeddedViews;

pub use changes::Changes;
pub use coupon::CouponRow;
pub use coupons_by_customer::CouponsByCustomer;
pub use coupons_by_promotion::CouponsByPromotion;
pub use cql::CqlConfig;
pub use error::ViewsError;
pub use finished_promotions::FinishedPromotions;
pub use key::{Key, Kind, Part};
pub use open_promotions::OpenPromotions;
pub use page::{MAX_PAGE, Page};
pub use progress::Progress;
pub use promotions::{FinishReason, PromotionRow, PromotionState, Promotions};
pub use view::{AnyView, Column, Entry, Row, Scanned, Schema, View};
pub use views::Views;

/// The views there are. Whoever writes, empties or compares views goes through this list.
pub static VIEWS: [AnyView; 5] = [
    AnyView::of::<Promotions>(),
    AnyView::of::<OpenPromotions>(),
    AnyView::of::<FinishedPromotions>(),
    AnyView::of::<CouponsByPromotion>(),
    AnyView::of::<CouponsByCustomer>(),
];

impl Views {
    /// Opens the views in a directory of this machine, or creates them. `partitions` is the log's
    /// count. Blocks for as long as it takes to recover the journal.
    ///
    /// # Errors
    /// [`ViewsError::Locked`] while another process (or another value) has it open,
    /// [`ViewsError::Setup`] when it cannot be opened.
    pub fn open_directory(directory: &Path, partitions: u32) -> Result<Self, ViewsError> {
        Ok(Self::on(EmbeddedViews::open(directory, partitions, &VIEWS)?, partitions, &VIEWS))
    }

    /// Connects to a CQL database, and creates the keyspace and the tables that are missing.
    /// `partitions` is the log's count.
    ///
    /// # Errors
    /// [`ViewsError::Setup`], naming the contact points, when no node answers in time or the
    /// tables cannot be created.
    pub async fn create_in_cql(config: &CqlConfig, partitions: u32) -> Result<Self, ViewsError> {
        Ok(Self::on(CqlViews::create(config, partitions, &VIEWS).await?, partitions, &VIEWS))
    }

    /// Connects to views that exist in a CQL database, and creates nothing.
    ///
    /// # Errors
    /// [`ViewsError::Absent`], and as [`Views::create_in_cql`].
    pub async fn open_in_cql(config: &CqlConfig, partitions: u32) -> Result<Self, ViewsError> {
        Ok(Self::on(CqlViews::open(config, partitions, &VIEWS).await?, partitions, &VIEWS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A view that is not in the list would be made by nobody, and missed by nobody.
    #[test]
    fn every_view_is_in_the_list() {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let files = std::fs::read_dir(source).expect("the source").flatten();
        let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        let mut views: Vec<String> = Vec::new();
        for text in texts {
            let named = text.split("\nimpl View for ").skip(1);
            views.extend(named.filter_map(|rest| Some(rest.split_once(' ')?.0.to_owned())));
        }
        assert_eq!(views.len(), VIEWS.len(), "of {views:?}, {VIEWS:?} are in VIEWS");
        let names = VIEWS.map(AnyView::name);
        let distinct: std::collections::BTreeSet<_> = names.into_iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }
}
