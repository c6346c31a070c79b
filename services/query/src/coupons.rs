//! `GET /v1/promotions/{id}/coupons`, `GET /v1/customers/{id}/coupons`, `GET /v1/coupons/{id}`,
//! and the older `GET /query/coupons/{customerId}`.

use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use seckill_edge::{PathId, Problem};
use seckill_proto::{CouponId, IdentifierError};
use seckill_views::{CouponRow, MAX_PAGE, Page};
use serde::Serialize;

use crate::page::Asked;
use crate::promotions::number;
use crate::{Gateway, absent, list};

pub(crate) fn routes() -> Router<Gateway> {
    Router::new()
        .route("/v1/promotions/{id}/coupons", get(of_promotion))
        .route("/v1/customers/{id}/coupons", get(of_customer))
        .route("/v1/coupons/{id}", get(one))
        .route("/query/coupons/{id}", get(all_of_customer))
        .route("/query/coupons/{id}/", get(all_of_customer))
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
    let wrong = |error| Problem::bad_request("invalid-identifier", format!("A coupon id {error}."));
    let axum::extract::Path(id) = id.map_err(|_| wrong("must be UTF-8".to_owned()))?;
    let id: CouponId = id.parse().map_err(|error: IdentifierError| wrong(error.to_string()))?;
    gateway.wait_for(asked.after).await?;
    let row = gateway.read(gateway.views.coupon(&id)).await?;
    row.map(Json).ok_or_else(|| absent("No coupon has this id."))
}

/// A coupon as the system before this one showed it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Coupon {
    id: u64,
    promotion_id: String,
    time: i64,
    discount: f64,
    customer_id: String,
}

impl From<CouponRow> for Coupon {
    fn from(row: CouponRow) -> Self {
        Self {
            id: number(row.position),
            promotion_id: row.promotion_id,
            time: row.grabbed_at.as_millisecond(),
            discount: row.discount,
            customer_id: row.customer_id,
        }
    }
}

async fn all_of_customer(
    State(gateway): State<Gateway>,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    list::whole::<CouponRow, Coupon, _>(move |cursor| {
        let (gateway, id) = (gateway.clone(), id.clone());
        async move {
            let page = gateway.views.coupons_of_customer(&id, cursor.as_deref(), MAX_PAGE);
            gateway.read(page).await
        }
    })
    .await
}
