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
mod embedded;
mod engine;
mod error;
mod finished_promotions;
mod generation;
mod key;
mod open_promotions;
mod position_text;
mod progress;
mod promotions;
mod view;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cql::CqlViews;
use crate::embedded::EmbeddedViews;
use crate::engine::{Engine, Walk};

pub use coupon::CouponRow;
pub use coupons_by_customer::CouponsByCustomer;
pub use coupons_by_promotion::CouponsByPromotion;
pub use cql::CqlConfig;
pub use error::ViewsError;
pub use finished_promotions::FinishedPromotions;
pub use key::{Key, Kind, Part};
pub use open_promotions::OpenPromotions;
pub use progress::Progress;
pub use promotions::{FinishCause, PromotionRow, PromotionStatus, Promotions};
pub use view::{AnyView, Column, Entry, Schema, View};

/// The views there are. Whoever writes, empties or compares views goes through this list.
pub const VIEWS: [AnyView; 5] = [
    AnyView::of::<Promotions>(),
    AnyView::of::<OpenPromotions>(),
    AnyView::of::<FinishedPromotions>(),
    AnyView::of::<CouponsByPromotion>(),
    AnyView::of::<CouponsByCustomer>(),
];

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

/// The read model of one log; cheap to clone.
///
/// Lists take the `next` of the page before as `cursor`, and a `limit` of at most [`MAX_PAGE`]
/// rows. A cursor that no list of that kind gave is [`ViewsError::InvalidCursor`].
///
/// The lists of each view stand in the view's own file.
#[derive(Clone)]
pub struct Views {
    engine: Arc<dyn Engine>,
    partitions: u32,
}

impl Views {
    /// Opens the views in a directory of this machine, or creates them. `partitions` is the log's
    /// count. Blocks for as long as it takes to recover the journal.
    ///
    /// # Errors
    /// [`ViewsError::Locked`] while another process (or another value) has it open,
    /// [`ViewsError::Setup`] when it cannot be opened.
    pub fn open_directory(directory: &Path, partitions: u32) -> Result<Self, ViewsError> {
        let engine = Arc::new(EmbeddedViews::open(directory, partitions)?);
        Ok(Self { engine, partitions })
    }

    /// Connects to a CQL database, and creates the keyspace and the tables that are missing.
    /// `partitions` is the log's count.
    ///
    /// # Errors
    /// [`ViewsError::Setup`], naming the contact points, when no node answers in time or the
    /// tables cannot be created.
    pub async fn create_in_cql(config: &CqlConfig, partitions: u32) -> Result<Self, ViewsError> {
        let engine = Arc::new(CqlViews::create(config, partitions).await?);
        Ok(Self { engine, partitions })
    }

    /// Connects to views that exist in a CQL database, and creates nothing.
    ///
    /// # Errors
    /// [`ViewsError::Absent`], and as [`Views::create_in_cql`].
    pub async fn open_in_cql(config: &CqlConfig, partitions: u32) -> Result<Self, ViewsError> {
        let engine = Arc::new(CqlViews::open(config, partitions).await?);
        Ok(Self { engine, partitions })
    }

    /// Writes the rows, then the progress, which is never ahead of the rows.
    ///
    /// Safe to repeat after any error, and safe beside other writers of the same partition:
    /// a row or a progress that is older than the stored one changes nothing.
    ///
    /// # Errors
    /// When not everything is known to be written. Some rows may be.
    ///
    /// # Panics
    /// When a row is not of the partition that the progress names: it would never be found again.
    pub async fn write(&self, changes: Changes) -> Result<(), ViewsError> {
        VIEWS.iter().for_each(|view| view.assert_belongs(&changes, self.partitions));
        self.engine.write(changes).await
    }

    /// How far a partition has been written; none before its first write.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn progress(&self, partition: u32) -> Result<Option<Progress>, ViewsError> {
        self.engine.progress(partition).await
    }

    /// Every row of a view, in any order, for an auditor.
    ///
    /// # Errors
    /// As the engine reports them; rows given before stay given.
    pub async fn scan<V: View>(
        &self,
        each: &mut (dyn FnMut(Scanned<V::Row>) + Send),
    ) -> Result<(), ViewsError> {
        let each = &mut |row: Scanned<_>| each(row.map(view::typed::<V>));
        self.engine.scan(AnyView::of::<V>(), each).await
    }

    /// Every row of any view, in any order, for an auditor.
    ///
    /// # Errors
    /// As the engine reports them; rows given before stay given.
    pub async fn scan_entries(
        &self,
        view: AnyView,
        each: &mut (dyn FnMut(Scanned<Entry>) + Send),
    ) -> Result<(), ViewsError> {
        let each = &mut |row: Scanned<_>| each(row.map(|row| view.entry(&row)));
        self.engine.scan(view, each).await
    }

    /// Empties every table, so that a projector makes them again from the log.
    ///
    /// # Errors
    /// As the engine reports them; some tables may be empty.
    pub async fn clear(&self) -> Result<(), ViewsError> {
        self.engine.clear().await
    }

    /// Whether reads are answered at all: one cheap read, for a readiness probe.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn check(&self) -> Result<(), ViewsError> {
        self.progress(0).await.map(drop)
    }

    async fn get<V: View>(&self, key: Key) -> Result<Option<V::Row>, ViewsError> {
        let row = self.engine.get(AnyView::of::<V>(), key).await?;
        Ok(row.map(view::typed::<V>))
    }

    async fn some<V: View>(&self, keys: Vec<Key>) -> Result<Vec<V::Row>, ViewsError> {
        let rows = self.engine.some(AnyView::of::<V>(), keys).await?;
        Ok(rows.into_iter().map(view::typed::<V>).collect())
    }

    async fn list<V: View>(&self, walk: Walk, count: usize) -> Result<Vec<V::Row>, ViewsError> {
        let rows = self.engine.list(AnyView::of::<V>(), walk, count).await?;
        Ok(rows.into_iter().map(view::typed::<V>).collect())
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
