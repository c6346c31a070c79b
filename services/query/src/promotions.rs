//! `GET /v1/promotions`, `GET /v1/promotions/{id}`, `GET /v1/promotions/{id}/timeline`.

use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use seckill_edge::{IdParameter, PathId, Problem, problems};
use seckill_views::{Page, PromotionRow, TimelineSecond};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::page::{Asked, FreshnessParameters, PageParameters, PastParameters, StateParameters};
use crate::{Gateway, NO_PROMOTION};

pub(crate) fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .route("/v1/promotions/", get(list))
        .routes(routes!(one))
        .routes(routes!(timeline))
}

problems!(ListProblems: READ; InvalidPosition, InvalidCursor, NotYetVisible);
problems!(OneProblems: READ; InvalidIdentifier, InvalidPosition, NotFound, NotYetVisible);
problems!(
    TimelineProblems: READ;
    InvalidIdentifier, InvalidPosition, InvalidCursor, NotFound, NotYetVisible
);

/// A page of promotions
///
/// In the order of partition and id.
#[utoipa::path(
    get,
    path = "/v1/promotions",
    operation_id = "listPromotions",
    tag = "Readers",
    params(StateParameters, PageParameters, FreshnessParameters),
    responses((status = 200, description = "A page", body = Page<PromotionRow>), ListProblems),
)]
async fn list(State(gateway): State<Gateway>, asked: Asked) -> Result<Response, Problem> {
    let asked = asked.takes(&["state", "limit", "cursor"])?;
    let (cursor, limit) = (asked.cursor.as_deref(), asked.limit);
    gateway.answer(&asked, gateway.views.promotions(asked.state, cursor, limit)).await
}

/// One promotion
#[utoipa::path(
    get,
    path = "/v1/promotions/{id}",
    operation_id = "getPromotion",
    tag = "Readers",
    params(IdParameter, PastParameters, FreshnessParameters),
    responses((status = 200, description = "The promotion", body = PromotionRow), OneProblems),
)]
async fn one(
    State(gateway): State<Gateway>,
    PathId(id): PathId,
    asked: Asked,
) -> Result<Response, Problem> {
    let asked = asked.takes(&["at"])?;
    if let Some(at) = asked.at {
        return gateway.past.promotion(id, at).await;
    }
    gateway.answer_one(&asked, gateway.views.promotion(&id), NO_PROMOTION).await
}

/// How a sale went
///
/// Every second in which coupons were granted.
#[utoipa::path(
    get,
    path = "/v1/promotions/{id}/timeline",
    operation_id = "promotionTimeline",
    tag = "Readers",
    params(IdParameter, PageParameters, FreshnessParameters),
    responses((status = 200, description = "A page", body = Page<TimelineSecond>), TimelineProblems),
)]
async fn timeline(
    State(gateway): State<Gateway>,
    PathId(id): PathId,
    asked: Asked,
) -> Result<Response, Problem> {
    let asked = asked.takes(&["limit", "cursor"])?;
    let (cursor, limit) = (asked.cursor.as_deref(), asked.limit);
    gateway.answer_of(&asked, &id, gateway.views.timeline(&id, cursor, limit)).await
}
