//! `POST /v1/promotions`.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use seckill_command::Dispatcher;
use seckill_edge::{Body, Moment, Problem, checked, idempotency_key};
use seckill_promotion::check_terms;
use seckill_proto::ProblemKind;
use seckill_proto::v1::{SchedulePromotion, Terms, command};
use serde::Deserialize;
use uuid::Uuid;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPromotion {
    id: Option<String>,
    name: Option<String>,
    coupons: u32,
    discount: f64,
    starts_at: Option<Moment>,
    finishes_at: Option<Moment>,
    #[serde(default = "one")]
    limit_per_customer: u32,
}

fn one() -> u32 {
    1
}

pub(crate) fn routes() -> Router<Dispatcher> {
    let schedule = post(schedule);
    Router::new().route("/v1/promotions", schedule.clone()).route("/v1/promotions/", schedule)
}

async fn schedule(
    State(dispatcher): State<Dispatcher>,
    headers: HeaderMap,
    Body(promotion): Body<NewPromotion>,
) -> Result<Response, Problem> {
    let id = match &promotion.id {
        Some(id) => checked("id", id.clone())?,
        None => new_id(&headers)?,
    };
    let terms = terms(promotion, &id)?;
    let body = command::Body::Schedule(SchedulePromotion { terms: Some(terms) });
    crate::send(&dispatcher, id.clone(), body, StatusCode::CREATED)
        .await
        .map_err(|problem| problem.about(&id))
}

/// The id of a promotion whose creator gave none. The same Idempotency-Key makes the same id, so
/// that the request can be repeated and makes one promotion.
fn new_id(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(key) = idempotency_key(headers)? else {
        return Ok(Uuid::now_v7().to_string());
    };
    Ok(Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("urn:seckill:create:{key}").as_bytes())
        .to_string())
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
