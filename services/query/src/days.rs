//! `GET /v1/days/{day}/coupons`: what was granted on a day of UTC.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use jiff::civil::Date;
use seckill_edge::{PathId, Problem};
use seckill_proto::ProblemKind;

use crate::Gateway;
use crate::page::Asked;

pub(crate) fn routes() -> Router<Gateway> {
    Router::new().route("/v1/days/{day}/coupons", get(coupons))
}

async fn coupons(
    State(gateway): State<Gateway>,
    PathId(day): PathId,
    asked: Asked,
) -> Result<Response, Problem> {
    let wrong = || Problem::new(ProblemKind::InvalidParameter, "A day is written as 2026-11-26.");
    let day: Date = day.parse().map_err(|_| wrong())?;
    let (cursor, limit) = (asked.cursor.as_deref(), asked.limit);
    gateway.answer(&asked, gateway.views.coupons_of_day(day, cursor, limit)).await
}
