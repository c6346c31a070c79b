//! `POST /v1/promotions/{id}/grabs:batch`, for those who ask on behalf of many customers.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use seckill_edge::{
    Body, Forward, IdParameter, PathId, Problem, ProblemBody, checked, idempotency_key,
    may_forward, problems,
};
use seckill_proto::ProblemKind;
use seckill_proto::v1::GrabCoupon;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::grab::{Granted, not_owner, status};
use crate::{Dispatcher, Failure, Told, accepted};

/// Grabs in one batch at most.
const MAX_GRABS: usize = 1_000;
/// Room for so many, with ids and keys as long as they may be.
const MAX_BYTES: usize = 512 * 1024;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GrabBatch {
    /// They are decided in this order.
    #[schema(min_items = 1, max_items = 1000)]
    grabs: Vec<GrabOfBatch>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GrabOfBatch {
    /// Who wants it: 1 to 128 bytes of UTF-8 without control characters.
    #[schema(format = "identifier", min_length = 1, max_length = 128, example = "alice")]
    customer_id: String,
    /// As the header `Idempotency-Key` of a single grab.
    #[schema(format = "identifier", min_length = 1, max_length = 128)]
    idempotency_key: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct BatchAnswers {
    /// One for each grab, in the order of the request.
    answers: Vec<BatchAnswer>,
}

/// What a single grab would have been answered: its status, and its body.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum BatchAnswer {
    Granted {
        /// 201, or 200 where the customer had it already.
        status: u16,
        #[serde(flatten)]
        granted: Granted,
    },
    NotGranted {
        /// Who wanted it.
        customer_id: String,
        #[serde(flatten)]
        problem: ProblemBody,
    },
}

pub(crate) fn routes() -> OpenApiRouter<Dispatcher> {
    OpenApiRouter::new().routes(routes!(grab_batch))
}

problems!(GrabBatchProblems: BODY, COMMAND; InvalidIdentifier, NotOwner);

/// Grab coupons for many customers
///
/// Up to 1,000 grabs of one promotion, decided in their order as if they had come one after another. Each has an answer
/// of its own. Where the whole request is answered with a problem, none of them was accepted; after
/// `outcome-unknown` any of them may have been.
#[utoipa::path(
    post,
    path = "/v1/promotions/{id}/grabs:batch",
    operation_id = "grabCoupons",
    tag = "Shoppers",
    params(IdParameter, Forward),
    request_body = GrabBatch,
    responses((status = 200, description = "An answer for each", body = BatchAnswers), GrabBatchProblems),
)]
async fn grab_batch(
    State(dispatcher): State<Dispatcher>,
    PathId(promotion_id): PathId,
    headers: HeaderMap,
    Body(batch): Body<GrabBatch, MAX_BYTES>,
) -> Result<Json<BatchAnswers>, Problem> {
    let may_forward = may_forward(&headers)?;
    if idempotency_key(&headers)?.is_some() {
        let what = "Idempotency-Key is for a single grab. Here each grab has its idempotency_key.";
        return Err(Problem::new(ProblemKind::InvalidIdentifier, what));
    }
    let grabs = batch.checked()?;
    let customers: Vec<_> = grabs.iter().map(|grab| grab.customer_id.clone()).collect();
    let told = match may_forward {
        true => dispatcher.send_grabs(&promotion_id, grabs).await?,
        false => match dispatcher.send_grabs_straight(&promotion_id, grabs).await {
            Err(Failure::NotOwner) => return Err(not_owner(&dispatcher, &promotion_id).await),
            told => told?,
        },
    };
    let answers = customers.into_iter().zip(told);
    let answers = answers.map(|(customer_id, told)| answer(&promotion_id, customer_id, told));
    Ok(Json(BatchAnswers { answers: answers.collect() }))
}

impl GrabBatch {
    /// Nothing is decided before everything is right.
    fn checked(self) -> Result<Vec<GrabCoupon>, Problem> {
        if !(1..=MAX_GRABS).contains(&self.grabs.len()) {
            let what =
                format!("grabs must have 1 to {MAX_GRABS} of them, not {}.", self.grabs.len());
            return Err(Problem::new(ProblemKind::InvalidBody, what));
        }
        let check = |(number, grab): (usize, GrabOfBatch)| {
            let id = |name, id| match checked(name, id) {
                Ok(id) => Ok(id),
                Err(problem) => {
                    let what = format!("grabs[{number}]: {}", problem.detail());
                    Err(Problem::new(problem.kind(), what))
                }
            };
            let customer_id = id("customer_id", grab.customer_id)?;
            let key = grab.idempotency_key.map(|key| id("idempotency_key", key)).transpose()?;
            Ok(GrabCoupon { customer_id, idempotency_key: key.unwrap_or_default() })
        };
        self.grabs.into_iter().enumerate().map(check).collect()
    }
}

fn answer(promotion_id: &str, customer_id: String, told: Told) -> BatchAnswer {
    let answer = told.map_err(Problem::from).and_then(|answer| accepted(&answer));
    match answer {
        Ok((accepted, position)) => {
            let granted = Granted::new(promotion_id.to_owned(), customer_id, accepted, position);
            BatchAnswer::Granted { status: status(accepted).as_u16(), granted }
        }
        Err(problem) => BatchAnswer::NotGranted { customer_id, problem: problem.into_body() },
    }
}
