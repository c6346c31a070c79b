//! `GET /v1/promotions`, `GET /v1/promotions/{id}`, and the older `GET /query/promotions`.

use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use seckill_edge::{PathId, Problem};
use seckill_proto::Position;
use seckill_views::{MAX_PAGE, Page, PromotionRow, PromotionStatus};
use serde::Serialize;

use crate::page::Asked;
use crate::{Gateway, absent, list};

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

async fn active(State(gateway): State<Gateway>) -> Result<Response, Problem> {
    list::whole::<PromotionRow, ActivePromotion, _>(move |cursor| {
        let gateway = gateway.clone();
        async move {
            let active = Some(PromotionStatus::Active);
            gateway.read(gateway.views.promotions(active, cursor.as_deref(), MAX_PAGE)).await
        }
    })
    .await
}

/// A position as one number: unlike for every position, growing within a partition, and exact in
/// clients that hold numbers as doubles while the offset is below 2^41.
pub(crate) fn number(position: Position) -> u64 {
    position.offset * 4_096 + u64::from(position.partition)
}
