//! `GET /v1/promotions`, `GET /v1/promotions/{id}`, `GET /v1/promotions/{id}/timeline`.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use seckill_edge::{PathId, Problem};
use seckill_views::{Page, PromotionRow, TimelineSecond};

use crate::page::Asked;
use crate::{Gateway, absent};

pub(crate) fn routes() -> Router<Gateway> {
    Router::new()
        .route("/v1/promotions", get(list))
        .route("/v1/promotions/", get(list))
        .route("/v1/promotions/{id}", get(one))
        .route("/v1/promotions/{id}/timeline", get(timeline))
}

async fn list(
    State(gateway): State<Gateway>,
    asked: Asked,
) -> Result<Json<Page<PromotionRow>>, Problem> {
    gateway.wait_for(asked.after).await?;
    let (cursor, limit) = (asked.cursor.as_deref(), asked.limit);
    gateway.read(gateway.views.promotions(asked.state, cursor, limit)).await.map(Json)
}

async fn one(
    State(gateway): State<Gateway>,
    PathId(id): PathId,
    asked: Asked,
) -> Result<Json<PromotionRow>, Problem> {
    gateway.wait_for(asked.after).await?;
    let row = gateway.read(gateway.views.promotion(&id)).await?;
    row.map(Json).ok_or_else(|| absent("No promotion has this id."))
}

async fn timeline(
    State(gateway): State<Gateway>,
    PathId(id): PathId,
    asked: Asked,
) -> Result<Json<Page<TimelineSecond>>, Problem> {
    gateway.wait_for(asked.after).await?;
    let (cursor, limit) = (asked.cursor.as_deref(), asked.limit);
    gateway.read(gateway.views.timeline(&id, cursor, limit)).await.map(Json)
}
