//! `POST /command/coupons/`: the contract of the system before this one.
//!
//! Texts and codes are its; clients match on them. Where it had no answer, ours is a problem.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use seckill_edge::{MAX_BODY_BYTES, Problem, checked};
use seckill_proto::v1::{Accepted, Answer, Refusal, answer};
use serde::Deserialize;

use crate::{Dispatcher, grab};

const OUT_OF_STOCK: &str = "Request rejected due to coupon out of stock";
const DUPLICATE: &str = "Request rejected duplicate order";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Grab {
    promotion_id: Option<String>,
    customer_id: Option<CustomerId>,
}

/// A number is taken as its text.
#[derive(Deserialize)]
#[serde(untagged)]
enum CustomerId {
    Text(String),
    Number(serde_json::Number),
}

pub(crate) fn routes() -> Router<Dispatcher> {
    let grab = post(grab_coupon);
    Router::new().route("/command/coupons", grab.clone()).route("/command/coupons/", grab)
}

async fn grab_coupon(
    State(dispatcher): State<Dispatcher>,
    request: Request,
) -> Result<Response, Problem> {
    let Some((promotion_id, customer_id)) = read(request).await? else {
        let text = "Invalid coupon {promotionId is null or customerId is null}";
        return Ok((StatusCode::BAD_REQUEST, text).into_response());
    };
    let promotion_id = checked("promotionId", promotion_id)?;
    let customer_id = checked("customerId", customer_id)?;
    let answer = dispatcher.send(grab::command(&promotion_id, &customer_id, String::new())).await?;
    Ok(respond(&answer, &promotion_id))
}

/// The two ids, unless one is missing. Content types were never checked, and are not here.
async fn read(request: Request) -> Result<Option<(String, String)>, Problem> {
    let bytes = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await;
    let bytes = bytes.map_err(|_| {
        let title = "The body is too large";
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", title, title)
    })?;
    let grab: Grab = seckill_edge::parse_json(&bytes)?;
    let customer_id = grab.customer_id.map(|customer_id| match customer_id {
        CustomerId::Text(text) => text,
        CustomerId::Number(number) => number.to_string(),
    });
    Ok(grab.promotion_id.zip(customer_id))
}

fn respond(answer: &Answer, promotion_id: &str) -> Response {
    let (status, text) = match &answer.outcome {
        Some(answer::Outcome::Accepted(Accepted { repeated: false, .. })) => {
            (StatusCode::OK, "Request accepted".to_owned())
        }
        Some(answer::Outcome::Accepted(Accepted { repeated: true, .. })) => {
            (StatusCode::TOO_MANY_REQUESTS, DUPLICATE.to_owned())
        }
        Some(answer::Outcome::Refused(refusal)) => refused(*refusal, promotion_id),
        None => (StatusCode::INTERNAL_SERVER_ERROR, "no outcome".to_owned()),
    };
    let position = format!("{}:{}", answer.partition, answer.offset);
    (status, [("seckill-position", position)], text).into_response()
}

fn refused(refusal: i32, promotion_id: &str) -> (StatusCode, String) {
    match Refusal::try_from(refusal).unwrap_or_default() {
        Refusal::RefusedSoldOut => (StatusCode::TOO_MANY_REQUESTS, OUT_OF_STOCK.to_owned()),
        Refusal::LimitReached => (StatusCode::TOO_MANY_REQUESTS, DUPLICATE.to_owned()),
        Refusal::NotFound
        | Refusal::NotStarted
        | Refusal::Finished
        | Refusal::AlreadyExists
        | Refusal::AlreadyStarted
        | Refusal::InvalidTerms
        | Refusal::Unspecified => {
            (StatusCode::BAD_REQUEST, format!("Invalid promotion {{promotion={promotion_id}}}"))
        }
    }
}
