//! `GET /v1/promotions`, `GET /v1/promotions/{id}`, and the older `GET /query/promotions`.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use seckill_edge::{PathId, Problem};
use seckill_proto::Position;
use seckill_views::{Page, PromotionRow};
use serde::Serialize;

use crate::page::Asked;
use crate::{Gateway, absent, problem};

pub(crate) fn routes() -> Router<Gateway> {
    Router::new()
        .route("/v1/promotions", get(list))
        .route("/v1/promotions/", get(list))
        .route("/v1/promotions/{id}", get(one))
        .route("/query/promotions", get(active))
        .route("/query/promotions/", get(active))
}

async fn list(
    State(gateway): State<Gateway>,
    asked: Asked,
) -> Result<Json<Page<PromotionRow>>, Problem> {
    gateway.wait_for(asked.after).await?;
    let page = gateway.views.promotions(asked.state, asked.cursor.as_deref(), asked.limit).await;
    page.map(Json).map_err(|error| problem(&error))
}

async fn one(
    State(gateway): State<Gateway>,
    PathId(id): PathId,
    asked: Asked,
) -> Result<Json<PromotionRow>, Problem> {
    gateway.wait_for(asked.after).await?;
    let row = gateway.views.promotion(&id).await.map_err(|error| problem(&error))?;
    row.map(Json).ok_or_else(|| absent("No promotion has this id."))
}

/// A promotion as the system before this one showed it. Clients parse it by pattern: the order of
/// the fields is part of the contract.
#[derive(Serialize)]
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

async fn active(State(gateway): State<Gateway>) -> Result<Json<Vec<ActivePromotion>>, Problem> {
    let rows = gateway.views.active_promotions().await.map_err(|error| problem(&error))?;
    Ok(Json(rows.into_iter().map(Into::into).collect()))
}

/// A position as one number: unlike for every position, growing within a partition, and exact in
/// clients that hold numbers as doubles while the offset is below 2^41.
pub(crate) fn number(position: Position) -> u64 {
    position.offset * 4_096 + u64::from(position.partition)
}
