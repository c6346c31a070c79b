//! `POST /v1/promotions/{id}/grabs`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use seckill_edge::{
    Body, Forward, IdParameter, IdempotencyKey, PathId, Problem, checked, idempotency_key,
    may_forward, position_header, problems, timestamp,
};
use seckill_proto::v1::{Accepted, Command, GrabCoupon, command};
use seckill_proto::{CouponId, Position};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{Dispatcher, Failure, accepted};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Grab {
    /// Who wants it: 1 to 128 bytes of UTF-8 without control characters.
    #[schema(format = "identifier", min_length = 1, max_length = 128, example = "alice")]
    customer_id: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Granted {
    /// The promotion and the serial.
    #[schema(example = "spring-1")]
    coupon_id: String,
    /// The promotion that gave it.
    promotion_id: String,
    /// 1, 2, 3, ... within the promotion, in the order of the log.
    serial: u32,
    /// Whose it is.
    customer_id: String,
    /// When it was granted, to the millisecond.
    #[schema(value_type = String, format = DateTime)]
    grabbed_at: Timestamp,
    /// Where in the log it was granted, as PARTITION:OFFSET; good for `after`. The answer to a
    /// repeated grab may name a later place.
    #[schema(example = "3:1042")]
    position: String,
}

impl Granted {
    pub(crate) fn new(
        promotion_id: String,
        customer_id: String,
        accepted: Accepted,
        position: Position,
    ) -> Self {
        let coupon_id = CouponId { promotion_id: promotion_id.clone(), serial: accepted.serial };
        Self {
            coupon_id: coupon_id.to_string(),
            promotion_id,
            serial: accepted.serial,
            customer_id,
            grabbed_at: timestamp(accepted.at_ms),
            position: position.to_string(),
        }
    }
}

/// Granted now, or held already.
pub(crate) fn status(accepted: Accepted) -> StatusCode {
    if accepted.repeated { StatusCode::OK } else { StatusCode::CREATED }
}

pub(crate) fn routes() -> OpenApiRouter<Dispatcher> {
    OpenApiRouter::new().routes(routes!(grab))
}

problems!(
    GrabProblems: BODY, COMMAND;
    InvalidIdentifier, InvalidParameter, NotOwner, NotFound, NotStarted, Paused, SoldOut, LimitReached, Finished
);

/// Grab a coupon
///
/// One coupon for one customer. Where the limit per customer is 1 the same request again is answered with
/// the same coupon; where it is above, an `Idempotency-Key` tells a repeated request from another wish.
#[utoipa::path(
    post,
    path = "/v1/promotions/{id}/grabs",
    operation_id = "grabCoupon",
    tag = "Shoppers",
    params(IdParameter, IdempotencyKey, Forward),
    request_body = Grab,
    responses(
        (status = 201, description = "Durable, and the customer's", body = Granted,
         headers(("Seckill-Position" = String, description = "Where in the log")),
         links(
            ("get" = (operation_id = "getCoupon", parameters(("id" = "$response.body#/coupon_id")))),
            ("all" = (operation_id = "listCouponsOfCustomer", parameters(("id" = "$response.body#/customer_id")))),
         )),
        (status = 200, description = "The customer had it already", body = Granted,
         headers(("Seckill-Position" = String, description = "Where in the log"))),
        GrabProblems,
    ),
)]
async fn grab(
    State(dispatcher): State<Dispatcher>,
    PathId(promotion_id): PathId,
    headers: HeaderMap,
    Body(grab): Body<Grab>,
) -> Result<Response, Problem> {
    let customer_id = checked("customer_id", grab.customer_id)?;
    let idempotency_key = idempotency_key(&headers)?.unwrap_or_default();
    let command = command(&promotion_id, &customer_id, idempotency_key);
    let answer = match may_forward(&headers)? {
        true => dispatcher.send(command).await?,
        false => match dispatcher.send_straight(command).await {
            Err(Failure::NotOwner) => return Err(not_owner(&dispatcher, &promotion_id).await),
            told => told?,
        },
    };
    let (accepted, position) = accepted(&answer)?;
    let granted = Granted::new(promotion_id, customer_id, accepted, position);
    Ok((status(accepted), position_header(position), Json(granted)).into_response())
}

/// Says where else.
pub(crate) async fn not_owner(dispatcher: &Dispatcher, promotion_id: &str) -> Problem {
    Problem::from(Failure::NotOwner).to(dispatcher.url_of_owner(promotion_id).await)
}

pub(crate) fn command(promotion_id: &str, customer_id: &str, idempotency_key: String) -> Command {
    let grab = GrabCoupon { customer_id: customer_id.to_owned(), idempotency_key };
    Command { promotion_id: promotion_id.to_owned(), body: Some(command::Body::Grab(grab)) }
}
