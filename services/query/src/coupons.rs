//! `GET /v1/promotions/{id}/coupons`, `GET /v1/customers/{id}/coupons`, `GET /v1/coupons/{id}`.

use axum::Router;
use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use axum::routing::get;
use seckill_edge::{PathId, Problem};
use seckill_proto::{CouponId, IdentifierError, ProblemKind};

use crate::Gateway;
use crate::page::Asked;

pub(crate) fn routes() -> Router<Gateway> {
    Router::new()
        .route("/v1/promotions/{id}/coupons", get(of_promotion))
        .route("/v1/customers/{id}/coupons", get(of_customer))
        .route("/v1/coupons/{id}", get(one))
}

async fn of_promotion(
    State(gateway): State<Gateway>,
    PathId(id): PathId,
    asked: Asked,
) -> Result<Response, Problem> {
    if let Some(at) = asked.at {
        return gateway.past.coupons(id, at, &asked).await;
    }
    let (cursor, limit) = (asked.cursor.as_deref(), asked.limit);
    gateway.answer(&asked, gateway.views.coupons_of_promotion(&id, cursor, limit)).await
}

async fn of_customer(
    State(gateway): State<Gateway>,
    PathId(id): PathId,
    asked: Asked,
) -> Result<Response, Problem> {
    let (cursor, limit) = (asked.cursor.as_deref(), asked.limit);
    gateway.answer(&asked, gateway.views.coupons_of_customer(&id, cursor, limit)).await
}

/// A coupon's id is longer than other ids by its serial, so it is not checked as one of them.
async fn one(
    State(gateway): State<Gateway>,
    id: Result<axum::extract::Path<String>, PathRejection>,
    asked: Asked,
) -> Result<Response, Problem> {
    let wrong =
        |error| Problem::new(ProblemKind::InvalidIdentifier, format!("A coupon id {error}."));
    let axum::extract::Path(id) = id.map_err(|_| wrong("must be UTF-8".to_owned()))?;
    let id: CouponId = id.parse().map_err(|error: IdentifierError| wrong(error.to_string()))?;
    gateway.answer_one(&asked, gateway.views.coupon(&id), "No coupon has this id.").await
}
