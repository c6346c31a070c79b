//! `POST /v1/promotions/{id}/restock`: names the new total, so that it can be repeated.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use seckill_command::Dispatcher;
use seckill_edge::{Body, IdParameter, PathId, Problem, problems};
use seckill_proto::v1::{RestockPromotion, command};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Done;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Restock {
    /// The new total, those that were granted included.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32, example = 2000)]
    coupons: u32,
}

pub(crate) fn routes() -> OpenApiRouter<Dispatcher> {
    OpenApiRouter::new().routes(routes!(restock))
}

problems!(RestockProblems: BODY, COMMAND; InvalidTerms, InvalidIdentifier, NotFound, NotStarted, Finished);

/// Put more coupons on sale
///
/// Once it has started and until it is over; one that is sold out is on sale again.
#[utoipa::path(
    post,
    path = "/v1/promotions/{id}/restock",
    operation_id = "restockPromotion",
    tag = "Operators",
    params(IdParameter),
    request_body = Restock,
    responses(
        (status = 200, description = "The total is this now", body = Done,
         headers(("Seckill-Position" = String, description = "Where in the log"))),
        RestockProblems,
    ),
)]
async fn restock(
    State(dispatcher): State<Dispatcher>,
    PathId(id): PathId,
    Body(restock): Body<Restock>,
) -> Result<Response, Problem> {
    let body = command::Body::Restock(RestockPromotion { coupons: restock.coupons });
    crate::send(&dispatcher, id, body, StatusCode::OK).await
}
