//! `PATCH /v1/promotions/{id}`: until it starts.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use seckill_command::Dispatcher;
use seckill_edge::{Body, IdParameter, Moment, PathId, Problem, checked, problems};
use seckill_proto::ProblemKind;
use seckill_proto::v1::{ChangePromotion, command};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Done;

/// Fields left out stay as they are; `finishes_at: null` takes the end away. The others cannot be
/// taken away, so null is no value for them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    /// For people.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, format = "identifier", min_length = 1, max_length = 128)]
    name: Option<String>,
    /// How many there are to be grabbed.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, minimum = 1, maximum = 4_294_967_295_u32)]
    coupons: Option<u32>,
    /// The part of the price taken off.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, exclusive_minimum = 0, maximum = 1)]
    discount: Option<f64>,
    /// When the sale starts.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Moment, required = false)]
    starts_at: Option<Moment>,
    /// When it ends; null takes the end away. The only field that may change after the start.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Moment>)]
    finishes_at: Option<Option<Moment>>,
    /// Coupons that one customer may hold.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, minimum = 1, maximum = 4_294_967_295_u32)]
    limit_per_customer: Option<u32>,
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

pub(crate) fn routes() -> OpenApiRouter<Dispatcher> {
    OpenApiRouter::new().routes(routes!(change))
}

problems!(
    ChangeProblems: BODY, COMMAND;
    InvalidTerms, InvalidIdentifier, NotFound, AlreadyStarted, Finished
);

/// Change a sale
///
/// Fields left out stay as they are. After the start only `finishes_at` may change.
#[utoipa::path(
    patch,
    path = "/v1/promotions/{id}",
    operation_id = "changePromotion",
    tag = "Operators",
    params(IdParameter),
    request_body = Change,
    responses(
        (status = 200, description = "Changed", body = Done,
         headers(("Seckill-Position" = String, description = "Where in the log"))),
        ChangeProblems,
    ),
)]
async fn change(
    State(dispatcher): State<Dispatcher>,
    PathId(id): PathId,
    Body(change): Body<Change>,
) -> Result<Response, Problem> {
    let change = ChangePromotion {
        name: change.name.map(|name| checked("name", name)).transpose()?,
        coupons: change.coupons,
        discount: change.discount,
        starts_at_ms: change.starts_at.map(|moment| moment.ms),
        finishes_at_ms: change.finishes_at.flatten().map(|moment| moment.ms),
        open_end: change.finishes_at == Some(None),
        limit_per_customer: change.limit_per_customer,
    };
    check(&change)?;
    crate::send(&dispatcher, id, command::Body::Change(change), StatusCode::OK).await
}

/// What can be said without the terms that stay.
fn check(change: &ChangePromotion) -> Result<(), Problem> {
    let reason = if change.coupons == Some(0) {
        "coupons must be from 1 to 4294967295."
    } else if change.discount.is_some_and(|discount| !(discount > 0.0 && discount <= 1.0)) {
        "discount must be more than 0 and at most 1."
    } else if change.limit_per_customer == Some(0) {
        "limit_per_customer must be from 1 to 4294967295."
    } else {
        return Ok(());
    };
    Err(Problem::new(ProblemKind::InvalidTerms, reason))
}
