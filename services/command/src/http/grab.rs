//! `POST /v1/promotions/{id}/grabs`.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use jiff::Timestamp;
use seckill_edge::{Body, PathId, Problem, checked, idempotency_key, position_header, timestamp};
use seckill_proto::CouponId;
use seckill_proto::v1::{Command, GrabCoupon, command};
use serde::{Deserialize, Serialize};

use crate::{Dispatcher, accepted};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grab {
    customer_id: String,
}

#[derive(Serialize)]
struct Granted {
    coupon_id: String,
    promotion_id: String,
    serial: u32,
    customer_id: String,
    grabbed_at: Timestamp,
    position: String,
}

pub(crate) fn routes() -> Router<Dispatcher> {
    Router::new().route("/v1/promotions/{id}/grabs", post(grab))
}

async fn grab(
    State(dispatcher): State<Dispatcher>,
    PathId(promotion_id): PathId,
    headers: HeaderMap,
    Body(grab): Body<Grab>,
) -> Result<Response, Problem> {
    let customer_id = checked("customer_id", grab.customer_id)?;
    let idempotency_key = idempotency_key(&headers)?.unwrap_or_default();
    let command = command(&promotion_id, &customer_id, idempotency_key);
    let (accepted, position) = accepted(&dispatcher.send(command).await?)?;
    let status = if accepted.repeated { StatusCode::OK } else { StatusCode::CREATED };
    let coupon_id = CouponId { promotion_id: promotion_id.clone(), serial: accepted.serial };
    let granted = Granted {
        coupon_id: coupon_id.to_string(),
        promotion_id,
        serial: accepted.serial,
        customer_id,
        grabbed_at: timestamp(accepted.at_ms),
        position: position.to_string(),
    };
    Ok((status, position_header(position), Json(granted)).into_response())
}

pub(crate) fn command(promotion_id: &str, customer_id: &str, idempotency_key: String) -> Command {
    let grab = GrabCoupon { customer_id: customer_id.to_owned(), idempotency_key };
    Command { promotion_id: promotion_id.to_owned(), body: Some(command::Body::Grab(grab)) }
}
