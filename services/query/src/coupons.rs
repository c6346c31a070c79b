//! `GET /v1/promotions/{id}/coupons`, `GET /v1/customers/{id}/coupons`, `GET /v1/coupons/{id}`.

use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::routing::get;
use axum::{Json, Router};
use seckill_edge::{PathId, Problem};
use seckill_proto::{CouponId, IdentifierError, ProblemKind};
use seckill_views::{CouponRow, Page};

use crate::page::Asked;
use crate::{Gateway, absent};

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
) -> Result<Json<Page<CouponRow>>, Problem> {
    gateway.wait_for(asked.after).await?;
    let (cursor, limit) = (asked.cursor.as_deref(), asked.limit);
    gateway.read(gateway.views.coupons_of_promotion(&id, cursor, limit)).await.map(Json)
}

async fn of_customer(
    State(gateway): State<Gateway>,
    PathId(id): PathId,
    asked: Asked,
) -> Result<Json<Page<CouponRow>>, Problem> {
    gateway.wait_for(asked.after).await?;
    let (cursor, limit) = (asked.cursor.as_deref(), asked.limit);
    gateway.read(gateway.views.coupons_of_customer(&id, cursor, limit)).await.map(Json)
}

/// A coupon's id is longer than other ids by its serial, so it is not checked as one of them.
async fn one(
    State(gateway): State<Gateway>,
    id: Result<axum::extract::Path<String>, PathRejection>,
    asked: Asked,
) -> Result<Json<CouponRow>, Problem> {
    let wrong =
        |error| Problem::new(ProblemKind::InvalidIdentifier, format!("A coupon id {error}."));
    let axum::extract::Path(id) = id.map_err(|_| wrong("must be UTF-8".to_owned()))?;
    let id: CouponId = id.parse().map_err(|error: IdentifierError| wrong(error.to_string()))?;
    gateway.wait_for(asked.after).await?;
    let row = gateway.read(gateway.views.coupon(&id)).await?;
    row.map(Json).ok_or_else(|| absent("No coupon has this id."))
}
