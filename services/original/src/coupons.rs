//! `POST /command/coupons/`. Clients match on its texts and codes.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use seckill_command::{Dispatcher, Failure, position};
use seckill_edge::{
    MAX_BODY_BYTES, Problem, ProblemBody, checked, parse_json, position_header, problems, read_body,
};
use seckill_proto::v1::{Accepted, Answer, Command, GrabCoupon, Refusal, answer, command};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const OUT_OF_STOCK: &str = "Request rejected due to coupon out of stock";
const DUPLICATE: &str = "Request rejected duplicate order";

#[derive(Deserialize, ToSchema)]
#[schema(as = OriginalGrab)]
#[serde(rename_all = "camelCase")]
struct Grab {
    #[schema(
        required = true,
        nullable = false,
        format = "identifier",
        min_length = 1,
        max_length = 128
    )]
    promotion_id: Option<String>,
    /// A number is taken as its text.
    #[schema(value_type = String, required = true, format = "identifier", min_length = 1, max_length = 128)]
    customer_id: Option<CustomerId>,
}

/// A number is taken as its text, digit by digit.
struct CustomerId(String);

impl<'de> Deserialize<'de> for CustomerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = match raw.get().bytes().next() {
            Some(b'-' | b'0'..=b'9') => raw.get().to_owned(),
            _ => serde_json::from_str(raw.get()).map_err(de::Error::custom)?,
        };
        Ok(Self(text))
    }
}

pub(crate) fn routes() -> OpenApiRouter<Dispatcher> {
    OpenApiRouter::new().routes(routes!(grab_coupon)).route("/command/coupons", post(grab_coupon))
}

problems!(GrabProblems: BODY; Unavailable, OutcomeUnknown);

/// Grab a coupon, as in the original
#[utoipa::path(
    post,
    path = "/command/coupons/",
    operation_id = "originalGrab",
    tag = "The original",
    request_body = Grab,
    responses(
        GrabProblems,
        (status = 200, description = "`Request accepted`", body = String),
        (status = 400, description = "The promotion is not on sale, or the request is wrong", content(
            (String = "text/plain"),
            (ProblemBody = "application/problem+json"),
        )),
        (status = 429, description = "Out of stock, or the customer has one", body = String),
    ),
)]
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
    let grab = GrabCoupon { customer_id, idempotency_key: String::new() };
    let body = Some(command::Body::Grab(grab));
    let command = Command { promotion_id: promotion_id.clone(), body };
    let answer = dispatcher.send(command).await.map_err(turned_away)?;
    Ok(respond(&answer, &promotion_id))
}

/// The two ids, unless one is missing. Content types were never checked, and are not here.
async fn read(request: Request) -> Result<Option<(String, String)>, Problem> {
    let grab: Grab = parse_json(&read_body(request, MAX_BODY_BYTES).await?)?;
    let customer_id = grab.customer_id.map(|CustomerId(text)| text);
    Ok(grab.promotion_id.zip(customer_id))
}

/// 429 has meanings of its own in this contract, and all of them are final.
fn turned_away(failure: Failure) -> Problem {
    match failure {
        Failure::Overloaded => Failure::Unavailable.into(),
        Failure::Unavailable | Failure::Unreached | Failure::Unknown | Failure::NotOwner => {
            failure.into()
        }
    }
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
    (status, position_header(position(answer)), text).into_response()
}

fn refused(refusal: i32, promotion_id: &str) -> (StatusCode, String) {
    match Refusal::try_from(refusal).unwrap_or_default() {
        Refusal::SoldOut => (StatusCode::TOO_MANY_REQUESTS, OUT_OF_STOCK.to_owned()),
        Refusal::LimitReached => (StatusCode::TOO_MANY_REQUESTS, DUPLICATE.to_owned()),
        // It knew no other reason.
        _ => (StatusCode::BAD_REQUEST, format!("Invalid promotion {{promotion={promotion_id}}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(json: &str) -> Option<String> {
        let grab: Grab = serde_json::from_str(json).ok()?;
        grab.customer_id.map(|CustomerId(text)| text)
    }

    #[test]
    fn a_number_is_taken_as_its_text_however_long() {
        let cases = [
            (r#"{"customerId":"alice"}"#, Some("alice")),
            (r#"{"customerId": 17}"#, Some("17")),
            (r#"{"customerId":123456789012345678901}"#, Some("123456789012345678901")),
            (r#"{"customerId":null}"#, None),
            (r#"{}"#, None),
            (r#"{"customerId":{}}"#, None),
            (r#"{"customerId":true}"#, None),
        ];
        for (json, expected) in cases {
            assert_eq!(customer(json).as_deref(), expected, "{json}");
        }
    }
}
