//! The query gateway: reads views and nothing else, so it never replays and never waits for a sale.
//!
//! `?after=POSITION`, or the header `Seckill-After`, on any native route waits, for a bounded
//! time, until the view shows what an answer at that position said.

mod coupons;
mod page;
mod promotions;
mod visible;

use std::sync::Arc;

use axum::Router;
use seckill_edge::Problem;
use seckill_views::{Views, ViewsError};

/// What every route works on.
#[derive(Clone)]
pub(crate) struct Gateway {
    views: Arc<dyn Views>,
    /// Partitions of the log that the views are made of.
    partitions: u32,
}

/// The routes of readers, native and compatible, on the views of a log of so many partitions.
pub fn routes(views: Arc<dyn Views>, partitions: u32) -> Router {
    promotions::routes().merge(coupons::routes()).with_state(Gateway { views, partitions })
}

/// From an error of the views to what a client is told.
fn problem(error: &ViewsError) -> Problem {
    if matches!(error, ViewsError::InvalidCursor) {
        return Problem::bad_request(
            "invalid-cursor",
            "The cursor is not one that this list gave.",
        );
    }
    tracing::warn!(%error, "a view could not be read");
    Problem::new(
        axum::http::StatusCode::SERVICE_UNAVAILABLE,
        "views-unavailable",
        "The views cannot be read now",
        "Coupons are not affected. Try again after the time given.",
    )
    .retry_after_s(1)
}

fn absent(what: &'static str) -> Problem {
    Problem::new(axum::http::StatusCode::NOT_FOUND, "not-found", "There is no such thing", what)
}
