//! `GET /query/promotions` and `GET /query/coupons/{customerId}`: whole lists, as the original showed them.

use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use seckill_edge::{IdParameter, PathId, Problem, problems};
use seckill_query::{Gateway, whole};
use seckill_views::{CouponRow, MAX_PAGE, PromotionRow, PromotionState};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::coupon::{Coupon, number};

pub(crate) fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(active))
        .route("/query/promotions/", get(active))
        .routes(routes!(all_of_customer))
        .route("/query/coupons/{id}/", get(all_of_customer))
}

problems!(ActiveProblems: READ;);
problems!(CouponsProblems: READ; InvalidIdentifier);

/// A promotion as the original showed it. Clients parse it by pattern: the order of
/// the fields is part of the contract.
#[derive(Serialize, ToSchema)]
#[schema(as = OriginalActivePromotion)]
#[serde(rename_all = "camelCase")]
struct ActivePromotion {
    id: u64,
    promotion_id: String,
    publish_time: i64,
    finish_time: Option<i64>,
    number_of_coupons: u32,
    discount: f64,
}

impl From<PromotionRow> for ActivePromotion {
    fn from(row: PromotionRow) -> Self {
        Self {
            id: number(row.created),
            promotion_id: row.id,
            publish_time: row.starts_at.as_millisecond(),
            finish_time: row.finishes_at.map(jiff::Timestamp::as_millisecond),
            number_of_coupons: row.coupons,
            discount: row.discount,
        }
    }
}

/// Promotions on sale, as in the original
#[utoipa::path(
    get,
    path = "/query/promotions",
    operation_id = "originalPromotions",
    tag = "The original",
    responses((status = 200, description = "All of them", body = Vec<ActivePromotion>), ActiveProblems),
)]
async fn active(State(gateway): State<Gateway>) -> Result<Response, Problem> {
    whole::<PromotionRow, ActivePromotion, _>(move |cursor| {
        let gateway = gateway.clone();
        async move {
            let active = Some(PromotionState::Active);
            gateway.read(gateway.views().promotions(active, cursor.as_deref(), MAX_PAGE)).await
        }
    })
    .await
}

/// The coupons of a customer, as in the original
#[utoipa::path(
    get,
    path = "/query/coupons/{id}",
    operation_id = "originalCoupons",
    tag = "The original",
    params(IdParameter),
    responses((status = 200, description = "All of them", body = Vec<Coupon>), CouponsProblems),
)]
async fn all_of_customer(
    State(gateway): State<Gateway>,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    whole::<CouponRow, Coupon, _>(move |cursor| {
        let (gateway, id) = (gateway.clone(), id.clone());
        async move {
            let page = gateway.views().coupons_of_customer(&id, cursor.as_deref(), MAX_PAGE);
            gateway.read(page).await
        }
    })
    .await
}
