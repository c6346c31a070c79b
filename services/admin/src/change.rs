//! `PATCH /v1/promotions/{id}`: until it starts.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::patch;
use seckill_command::Dispatcher;
use seckill_edge::{Body, Moment, PathId, Problem, checked};
use seckill_proto::ProblemKind;
use seckill_proto::v1::{ChangePromotion, command};
use serde::{Deserialize, Deserializer};

/// Fields left out stay as they are; `finishes_at: null` takes the end away. The others cannot be
/// taken away, so null is no value for them.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Change {
    #[serde(deserialize_with = "present")]
    name: Option<String>,
    #[serde(deserialize_with = "present")]
    coupons: Option<u32>,
    #[serde(deserialize_with = "present")]
    discount: Option<f64>,
    #[serde(deserialize_with = "present")]
    starts_at: Option<Moment>,
    #[serde(deserialize_with = "present")]
    finishes_at: Option<Option<Moment>>,
    #[serde(deserialize_with = "present")]
    limit_per_customer: Option<u32>,
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

pub(crate) fn routes() -> Router<Dispatcher> {
    Router::new().route("/v1/promotions/{id}", patch(change))
}

async fn change(
    State(dispatcher): State<Dispatcher>,
    PathId(id): PathId,
    Body(change): Body<Change>,
) -> Result<Response, Problem> {
    let change = ChangePromotion {
        name: change.name.map(|name| checked("name", name)).transpose()?,
        coupons: change.coupons,
        discount: change.discount,
        starts_at_ms: change.starts_at.map(|moment| moment.ms),
        finishes_at_ms: change.finishes_at.flatten().map(|moment| moment.ms),
        open_end: change.finishes_at == Some(None),
        limit_per_customer: change.limit_per_customer,
    };
    check(&change)?;
    crate::send(&dispatcher, id, command::Body::Change(change), StatusCode::OK).await
}

/// What can be said without the terms that stay.
fn check(change: &ChangePromotion) -> Result<(), Problem> {
    let reason = if change.coupons == Some(0) {
        "coupons must be from 1 to 4294967295."
    } else if change.discount.is_some_and(|discount| !(discount > 0.0 && discount <= 1.0)) {
        "discount must be more than 0 and at most 1."
    } else if change.limit_per_customer == Some(0) {
        "limit_per_customer must be from 1 to 4294967295."
    } else {
        return Ok(());
    };
    Err(Problem::new(ProblemKind::InvalidTerms, reason))
}
