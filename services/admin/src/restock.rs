//! `POST /v1/promotions/{id}/restock`: names the new total, so that it can be repeated.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use seckill_command::Dispatcher;
use seckill_edge::{Body, PathId, Problem};
use seckill_proto::v1::{RestockPromotion, command};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Restock {
    coupons: u32,
}

pub(crate) fn routes() -> Router<Dispatcher> {
    Router::new().route("/v1/promotions/{id}/restock", post(restock))
}

async fn restock(
    State(dispatcher): State<Dispatcher>,
    PathId(id): PathId,
    Body(restock): Body<Restock>,
) -> Result<Response, Problem> {
    let body = command::Body::Restock(RestockPromotion { coupons: restock.coupons });
    crate::send(&dispatcher, id, body, StatusCode::OK).await
}
