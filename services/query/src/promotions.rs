//! `GET /v1/promotions`, `GET /v1/promotions/{id}`, `GET /v1/promotions/{id}/timeline`.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use seckill_edge::{PathId, Problem};

use crate::Gateway;
use crate::page::Asked;

pub(crate) fn routes() -> Router<Gateway> {
    Router::new()
        .route("/v1/promotions", get(list))
        .route("/v1/promotions/", get(list))
        .route("/v1/promotions/{id}", get(one))
        .route("/v1/promotions/{id}/timeline", get(timeline))
}

async fn list(State(gateway): State<Gateway>, asked: Asked) -> Result<Response, Problem> {
    let (cursor, limit) = (asked.cursor.as_deref(), asked.limit);
    gateway.answer(&asked, gateway.views.promotions(asked.state, cursor, limit)).await
}

async fn one(
    State(gateway): State<Gateway>,
    PathId(id): PathId,
    asked: Asked,
) -> Result<Response, Problem> {
    if let Some(at) = asked.at {
        return gateway.past.promotion(id, at).await;
    }
    gateway.answer_one(&asked, gateway.views.promotion(&id), "No promotion has this id.").await
}

async fn timeline(
    State(gateway): State<Gateway>,
    PathId(id): PathId,
    asked: Asked,
) -> Result<Response, Problem> {
    let (cursor, limit) = (asked.cursor.as_deref(), asked.limit);
    gateway.answer(&asked, gateway.views.timeline(&id, cursor, limit)).await
}
