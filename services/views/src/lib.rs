//! The read model: rows that the HTTP API returns as they are, behind one trait with two engines.
//!
//! A row is a pure function of the log up to its `position`. So the newest position wins, and
//! writes that are repeated, late or in another order end in the same rows. Nothing here reads
//! a clock, counts, or locks across processes.
//!
//! Deliberately absent: the log, what events mean (the projector makes rows of them), retries
//! (the caller asks [`ViewsError::is_retryable`]), and any second shape of a row.

mod catalog;
mod changes;
mod coupon;
mod coupons_by_customer;
mod coupons_by_day;
mod coupons_by_promotion;
mod cql;
mod embedded;
mod engine;
mod error;
mod finished_promotions;
mod generation;
mod grabs_per_second;
mod key;
mod memory;
mod open_promotions;
mod page;
mod position_text;
mod progress;
mod promotions;
mod rebuild;
mod view;
mod views;

use std::path::Path;
use std::sync::Arc;

use crate::cql::CqlViews;
use crate::embedded::EmbeddedViews;
use crate::memory::MemoryViews;

pub use changes::Changes;
pub use coupon::CouponRow;
pub use coupons_by_customer::CouponsByCustomer;
pub use coupons_by_day::CouponsByDay;
pub use coupons_by_promotion::{CouponsByPromotion, coupons_page, last_serial};
pub use cql::CqlConfig;
pub use error::ViewsError;
pub use finished_promotions::FinishedPromotions;
pub use grabs_per_second::{GrabsPerSecond, TimelineSecond};
pub use key::{Key, Kind, Part};
pub use memory::{Faults, MemoryStore};
pub use open_promotions::OpenPromotions;
pub use page::{MAX_PAGE, Page};
pub use progress::Progress;
pub use promotions::{FinishReason, PromotionRow, PromotionState, Promotions};
pub use rebuild::{Comparison, NewRebuild, Phase, Rebuild, Step, StepError, SwitchMode};
pub use view::{AnyView, Column, Entry, Row, Scanned, Schema, View};
pub use views::{CATALOG_MAX_AGE, Views};

/// The views there are. Whoever writes, empties or compares views goes through this list.
pub static VIEWS: [AnyView; 7] = [
    AnyView::of::<Promotions>(),
    AnyView::of::<OpenPromotions>(),
    AnyView::of::<FinishedPromotions>(),
    AnyView::of::<CouponsByPromotion>(),
    AnyView::of::<CouponsByCustomer>(),
    AnyView::of::<CouponsByDay>(),
    AnyView::of::<GrabsPerSecond>(),
];

impl Views {
    /// Opens the views in a directory of this machine, or creates them. `partitions` is the log's
    /// count. Takes as long as it takes to recover the journal.
    ///
    /// # Errors
    /// [`ViewsError::Locked`] while another process (or another value) has it open,
    /// [`ViewsError::Setup`] when it cannot be opened.
    pub async fn open_directory(directory: &Path, partitions: u32) -> Result<Self, ViewsError> {
        let engine = Box::new(EmbeddedViews::open(directory).await?);
        let views = Self::create(engine, partitions, &VIEWS).await?;
        for partition in 0..partitions {
            // What everything begins with: if it cannot be read, that is noticed here.
            views.progress(partition).await?;
            views.open_promotions(partition).await?;
        }
        Ok(views)
    }

    /// Opens the views in a store of this process's memory, or creates them.
    ///
    /// # Errors
    /// The store fails.
    pub async fn open_in_memory(
        store: MemoryStore,
        faults: Arc<dyn Faults>,
        partitions: u32,
    ) -> Result<Self, ViewsError> {
        Self::create(Box::new(MemoryViews { store, faults }), partitions, &VIEWS).await
    }

    /// Connects to a CQL database, and creates the keyspace and the tables that are missing.
    /// `partitions` is the log's count.
    ///
    /// # Errors
    /// [`ViewsError::Setup`], naming the contact points, when no node answers in time or the
    /// tables cannot be created.
    pub async fn create_in_cql(config: &CqlConfig, partitions: u32) -> Result<Self, ViewsError> {
        let engine = Box::new(CqlViews::create(config, partitions).await?);
        Self::create(engine, partitions, &VIEWS).await
    }

    /// Connects to views that exist in a CQL database, and creates nothing.
    ///
    /// # Errors
    /// [`ViewsError::Absent`], and as [`Views::create_in_cql`].
    pub async fn open_in_cql(config: &CqlConfig, partitions: u32) -> Result<Self, ViewsError> {
        let absent = || ViewsError::Absent { place: format!("keyspace {}", config.keyspace) };
        let engine = CqlViews::open(config, partitions).await?.ok_or_else(absent)?;
        Self::open(Box::new(engine), partitions, &VIEWS).await?.ok_or_else(absent)
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

    fn golden(name: &str) -> std::collections::BTreeSet<String> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    /// Tables and rows that are stored are read by this version, or are of another version number. Where
    /// this fails, a view has changed: give its schema a new `version`, and add the lines as they are printed.
    #[test]
    fn rows_change_only_with_their_version() {
        let changes = one_of_each();
        let mut now = std::collections::BTreeSet::new();
        for view in VIEWS {
            let (schema, version) = (view.schema(), view.version());
            let columns = |columns: &[Column]| {
                let column = |(name, kind): &Column| format!("{name} {kind:?}");
                columns.iter().map(column).collect::<Vec<_>>().join(", ")
            };
            let parts = [schema.group, schema.within, schema.values].map(columns);
            now.insert(format!("{} {version} columns {}", view.name(), parts.join(" | ")));
            for entry in view.entries(&changes) {
                let json = String::from_utf8(entry.json.to_vec()).expect("JSON is text");
                let row = view.decode_json(&entry.json).expect("a row");
                assert_eq!(view.entry(&row), entry, "{json}");
                now.insert(format!("{} {version} row {} {json}", view.name(), entry.key));
            }
        }
        let kept = golden("rows.txt");
        let new: Vec<_> = now.difference(&kept).map(String::as_str).collect();
        assert!(new.is_empty(), "not in golden/rows.txt:\n{}", new.join("\n"));
    }

    fn one_of_each() -> Changes {
        use seckill_proto::Position;
        use seckill_proto::v1::Checkpoint;

        let position = Position { partition: 3, offset: 41 };
        let time = |ms| jiff::Timestamp::from_millisecond(ms).expect("a time");
        let promotion = PromotionRow {
            id: "spring".into(),
            name: "Spring 春".into(),
            coupons: 5_000,
            remaining: 0,
            discount: 0.1 + 0.2,
            limit_per_customer: 2,
            starts_at: time(1_794_391_200_000),
            finishes_at: Some(time(1_794_394_800_000)),
            state: PromotionState::Finished,
            finish_reason: Some(FinishReason::SoldOut),
            created: Position { partition: 3, offset: 1 },
            position,
        };
        let coupon = CouponRow {
            id: "spring-300".into(),
            promotion_id: "spring".into(),
            serial: 300,
            customer_id: "ann".into(),
            discount: 0.15,
            grabbed_at: time(1_794_391_200_123),
            position,
        };
        let mut open = OpenPromotions::empty(3, 9);
        open.follow("spring", PromotionState::Active, position);
        let progress = Progress::at(3, &Checkpoint::default(), None);
        Changes {
            promotions: vec![promotion],
            open: vec![open],
            seconds: vec![GrabsPerSecond::of(&coupon)],
            coupons: vec![coupon],
            ..Changes::none(progress)
        }
    }
}
