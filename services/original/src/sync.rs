//! `GET /sync/{latestId}`: coupons by a number that grows for ever, for a shop that asks again and again.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::routing::get;
use seckill_edge::{Problem, check_no_query, problems};
use seckill_feed::{FeedError, Shop};
use seckill_proto::ProblemKind;
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::coupon::Coupon;

/// Coupons in one answer; the next question gives the next ones.
const LIMIT: usize = 10_000;
/// Who is read for at the same time.
const MAX_ASKED: usize = 8;

#[derive(Clone)]
struct Sync {
    shop: Shop,
    places: Arc<Semaphore>,
}

pub(crate) fn routes(shop: Shop) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(after))
        .route("/sync/{latest}/", get(after))
        .with_state(Sync { shop, places: Arc::new(Semaphore::new(MAX_ASKED)) })
}

problems!(
    SyncProblems: ;
    InvalidParameter, InvalidIdentifier, ViewsUnavailable, TooManyReaders
);

/// Coupons after a number, as in the original
#[utoipa::path(
    get,
    path = "/sync/{latest}",
    operation_id = "originalSync",
    tag = "The original",
    params(("latest" = i64, Path, description = "The greatest id that is known; 0 gives all")),
    responses((status = 200, description = "At most 10,000", body = Vec<Coupon>), SyncProblems),
)]
async fn after(
    State(sync): State<Sync>,
    latest: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Json<Vec<Coupon>>, Problem> {
    check_no_query(&uri)?;
    let latest = latest.ok().and_then(|Path(latest)| latest.parse::<i64>().ok());
    let latest = latest.ok_or_else(|| {
        Problem::new(
            ProblemKind::InvalidIdentifier,
            "The latest id is a whole number; 0 gives all.",
        )
    })?;
    let place = Arc::clone(&sync.places).try_acquire_owned().map_err(|_| {
        let detail = format!("At most {MAX_ASKED} read the feed at the same time.");
        Problem::new(ProblemKind::TooManyReaders, detail)
    })?;
    let after = u64::try_from(latest).unwrap_or_default();
    // By itself: a read that was begun goes on, and has its place, also where nobody waits any more.
    let reading = tokio::spawn(async move {
        let _place = place;
        sync.shop.after(after, LIMIT).await
    });
    let told = reading.await.map_err(|error| unavailable(&error.to_string()))?;
    let told = told.map_err(|error: FeedError| unavailable(&error.to_string()))?;
    Ok(Json(told.into_iter().map(Coupon::from).collect()))
}

fn unavailable(reason: &str) -> Problem {
    Problem::new(ProblemKind::ViewsUnavailable, format!("The feed cannot be read: {reason}."))
}
