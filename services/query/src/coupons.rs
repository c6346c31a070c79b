//! `GET /v1/promotions/{id}/coupons`, `GET /v1/customers/{id}/coupons`, `GET /v1/coupons/{id}`.

use axum::extract::State;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use seckill_edge::{IdParameter, PathId, Problem, problems};
use seckill_proto::{CouponId, IdentifierError, ProblemKind};
use seckill_views::{CouponRow, Page};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Gateway;
use crate::page::{Asked, FreshnessParameters, PageParameters, PastParameters};

pub(crate) fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(of_promotion))
        .routes(routes!(of_customer))
        .routes(routes!(one))
}

problems!(
    OfPromotionProblems: READ;
    InvalidIdentifier, InvalidPosition, InvalidCursor, NotFound, NotYetVisible
);
problems!(
    OfCustomerProblems: READ;
    InvalidIdentifier, InvalidPosition, InvalidCursor, NotYetVisible
);
problems!(OneProblems: READ; InvalidIdentifier, InvalidPosition, NotFound, NotYetVisible);

/// The coupons of a promotion
///
/// In the order of their serials, which is that of the log.
#[utoipa::path(
    get,
    path = "/v1/promotions/{id}/coupons",
    operation_id = "listCouponsOfPromotion",
    tag = "Readers",
    params(IdParameter, PageParameters, PastParameters, FreshnessParameters),
    responses((status = 200, description = "A page", body = Page<CouponRow>), OfPromotionProblems),
)]
async fn of_promotion(
    State(gateway): State<Gateway>,
    PathId(id): PathId,
    asked: Asked,
) -> Result<Response, Problem> {
    let asked = asked.takes(&["at", "limit", "cursor"])?;
    if let Some(at) = asked.at {
        return gateway.past.coupons(id, at, &asked).await;
    }
    let (cursor, limit) = (asked.cursor.as_deref(), asked.limit);
    gateway.answer_of(&asked, &id, gateway.views.coupons_of_promotion(&id, cursor, limit)).await
}

/// The coupons of a customer
#[utoipa::path(
    get,
    path = "/v1/customers/{id}/coupons",
    operation_id = "listCouponsOfCustomer",
    tag = "Shoppers",
    params(IdParameter, PageParameters, FreshnessParameters),
    responses((status = 200, description = "A page", body = Page<CouponRow>), OfCustomerProblems),
)]
async fn of_customer(
    State(gateway): State<Gateway>,
    PathId(id): PathId,
    asked: Asked,
) -> Result<Response, Problem> {
    let asked = asked.takes(&["limit", "cursor"])?;
    let (cursor, limit) = (asked.cursor.as_deref(), asked.limit);
    gateway.answer(&asked, gateway.views.coupons_of_customer(&id, cursor, limit)).await
}

/// The id of a coupon in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "its description is what is wanted")]
struct CouponParameter {
    /// The promotion's id, a dash, and the serial.
    #[param(format = "coupon", example = "spring-1")]
    id: String,
}

/// One coupon
#[utoipa::path(
    get,
    path = "/v1/coupons/{id}",
    operation_id = "getCoupon",
    tag = "Shoppers",
    params(CouponParameter, FreshnessParameters),
    responses((status = 200, description = "The coupon", body = CouponRow), OneProblems),
)]
// A coupon's id is longer than other ids by its serial, so it is not checked as one of them.
async fn one(
    State(gateway): State<Gateway>,
    id: Result<axum::extract::Path<String>, PathRejection>,
    asked: Asked,
) -> Result<Response, Problem> {
    let wrong =
        |error| Problem::new(ProblemKind::InvalidIdentifier, format!("A coupon id {error}."));
    let axum::extract::Path(id) = id.map_err(|_| wrong("must be UTF-8".to_owned()))?;
    let id: CouponId = id.parse().map_err(|error: IdentifierError| wrong(error.to_string()))?;
    let asked = asked.takes(&[])?;
    gateway.answer_one(&asked, gateway.views.coupon(&id), "No coupon has this id.").await
}
