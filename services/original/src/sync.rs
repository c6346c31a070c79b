//! `GET /sync/{latestId}`: coupons by a number that grows for ever, for a shop that asks again and again.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::routing::get;
use axum::{Json, Router};
use prost::Message;
use seckill_edge::{Problem, check_no_query};
use seckill_log::Feed;
use seckill_proto::{ProblemKind, v1};
use serde::Serialize;
use tokio::sync::Semaphore;

/// Coupons in one answer; the next question gives the next ones.
const LIMIT: usize = 10_000;
/// Who is read for at the same time.
const MAX_ASKED: usize = 8;

#[derive(Clone)]
struct Sync {
    feed: Arc<dyn Feed>,
    places: Arc<Semaphore>,
}

/// A coupon as the original sent it to others.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Coupon {
    id: u64,
    promotion_id: String,
    time: i64,
    discount: f64,
    customer_id: String,
}

pub(crate) fn routes(feed: Arc<dyn Feed>) -> Router {
    Router::new()
        .route("/sync/{latest}", get(after))
        .route("/sync/{latest}/", get(after))
        .with_state(Sync { feed, places: Arc::new(Semaphore::new(MAX_ASKED)) })
}

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
    let _place = sync.places.try_acquire().map_err(|_| {
        let detail = format!("At most {MAX_ASKED} read the feed at the same time.");
        Problem::new(ProblemKind::TooManyReaders, detail)
    })?;
    // The id of a coupon is its offset in the feed and one: 0 is before the first.
    let from = u64::try_from(latest).unwrap_or_default();
    let fed = sync.feed.read(from, LIMIT).await.map_err(|error| unavailable(&error.to_string()))?;
    let coupons = fed.into_iter().map(|(offset, record)| coupon(offset + 1, &record));
    coupons.collect::<Result<_, _>>().map(Json)
}

fn coupon(id: u64, record: &[u8]) -> Result<Coupon, Problem> {
    let v1::Coupon { promotion_id, granted_at_ms: time, discount, customer_id, .. } =
        v1::Coupon::decode(record)
            .map_err(|error| unavailable(&format!("{id} is no coupon: {error}")))?;
    Ok(Coupon { id, promotion_id, time, discount, customer_id })
}

fn unavailable(reason: &str) -> Problem {
    Problem::new(ProblemKind::ViewsUnavailable, format!("The feed cannot be read: {reason}."))
}
