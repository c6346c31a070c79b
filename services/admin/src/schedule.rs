//! `POST /v1/promotions`.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use seckill_command::Dispatcher;
use seckill_edge::{Body, IdempotencyKey, Moment, Problem, checked, idempotency_key, problems};
use seckill_promotion::check_terms;
use seckill_proto::ProblemKind;
use seckill_proto::v1::{SchedulePromotion, Terms, command};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::Done;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPromotion {
    /// 1 to 128 bytes of UTF-8 without control characters, neither `.` nor `..`; left out, one is made.
    #[schema(format = "identifier", min_length = 1, max_length = 128, example = "spring")]
    id: Option<String>,
    /// For people; left out, the id.
    #[schema(format = "identifier", min_length = 1, max_length = 128, example = "Spring sale")]
    name: Option<String>,
    /// How many there are to be grabbed.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32, example = 1000)]
    coupons: u32,
    /// The part of the price taken off.
    #[schema(exclusive_minimum = 0, maximum = 1, example = 0.7)]
    discount: f64,
    /// When the sale starts; left out, now.
    starts_at: Option<Moment>,
    /// When it ends; left out, it is over once it was sold out for the time of `--retain`.
    finishes_at: Option<Moment>,
    /// Coupons that one customer may hold.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 4_294_967_295_u32)]
    limit_per_customer: u32,
}

fn one() -> u32 {
    1
}

pub(crate) fn routes() -> OpenApiRouter<Dispatcher> {
    OpenApiRouter::new().routes(routes!(schedule)).route("/v1/promotions/", post(schedule))
}

problems!(ScheduleProblems: BODY, COMMAND; InvalidTerms, InvalidIdentifier, AlreadyExists);

/// Open a sale
///
/// The same request again is answered 200 and changes nothing; another one under the same id is refused.
#[utoipa::path(
    post,
    path = "/v1/promotions",
    operation_id = "schedulePromotion",
    tag = "Operators",
    params(IdempotencyKey),
    request_body = NewPromotion,
    responses(
        (status = 201, description = "The sale is in the log", body = Done,
         headers(("Seckill-Position" = String, description = "Where in the log")),
         links(
            ("get" = (operation_id = "getPromotion", parameters(("id" = "$response.body#/id")))),
            ("grab" = (operation_id = "grabCoupon", parameters(("id" = "$response.body#/id")))),
            ("change" = (operation_id = "changePromotion", parameters(("id" = "$response.body#/id")))),
            ("restock" = (operation_id = "restockPromotion", parameters(("id" = "$response.body#/id")))),
            ("pause" = (operation_id = "pausePromotion", parameters(("id" = "$response.body#/id")))),
            ("resume" = (operation_id = "resumePromotion", parameters(("id" = "$response.body#/id")))),
            ("finish" = (operation_id = "finishPromotion", parameters(("id" = "$response.body#/id")))),
            ("cancel" = (operation_id = "cancelPromotion", parameters(("id" = "$response.body#/id")))),
         )),
        (status = 200, description = "It was there already, exactly so", body = Done,
         headers(("Seckill-Position" = String, description = "Where in the log"))),
        ScheduleProblems,
    ),
)]
async fn schedule(
    State(dispatcher): State<Dispatcher>,
    headers: HeaderMap,
    Body(promotion): Body<NewPromotion>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let id = match &promotion.id {
        Some(id) => checked("id", id.clone())?,
        None => new_id(key.as_deref()),
    };
    let terms = terms(promotion, &id)?;
    let body = command::Body::Schedule(SchedulePromotion { terms: Some(terms) });
    crate::send(&dispatcher, id.clone(), body, StatusCode::CREATED)
        .await
        .map_err(|problem| problem.about(&id))
}

/// The id of a promotion whose creator gave none. The same Idempotency-Key makes the same id, so
/// that the request can be repeated and makes one promotion.
fn new_id(key: Option<&str>) -> String {
    let made =
        |key| Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("urn:seckill:create:{key}").as_bytes());
    key.map_or_else(Uuid::now_v7, made).to_string()
}

fn terms(promotion: NewPromotion, id: &str) -> Result<Terms, Problem> {
    let terms = Terms {
        name: checked("name", promotion.name.unwrap_or_else(|| id.to_owned()))?,
        coupons: promotion.coupons,
        discount: promotion.discount,
        starts_at_ms: promotion.starts_at.map_or(0, |moment| moment.ms),
        finishes_at_ms: promotion.finishes_at.map(|moment| moment.ms),
        limit_per_customer: promotion.limit_per_customer,
    };
    match check_terms(&terms) {
        Ok(()) => Ok(terms),
        Err(reason) => Err(Problem::new(ProblemKind::InvalidTerms, format!("{reason}."))),
    }
}
