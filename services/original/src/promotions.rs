//! `POST /admin/promotions/` and `PUT /admin/promotions/{id}`.

use std::str::FromStr;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use seckill_command::{Dispatcher, position};
use seckill_edge::{
    IdParameter, MAX_BODY_BYTES, PathId, Problem, ProblemBody, now_ms, parse_json, position_header,
    problems, read_body,
};
use seckill_proto::ProblemKind;
use seckill_proto::v1::{
    Answer, ChangePromotion, Command, Refusal, SchedulePromotion, Terms, answer, command,
};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::date;

/// Everything optional, because what is missing is answered in its own words, or was not missed:
/// an offer that names no discount had one of 1.
#[derive(Deserialize, ToSchema)]
#[schema(as = OriginalPromotion)]
#[serde(rename_all = "camelCase")]
struct PromotionBody {
    #[serde(default, deserialize_with = "number")]
    #[schema(required = true, minimum = 1, maximum = 4_294_967_295_u32)]
    number_of_coupons: i64,
    #[serde(default = "one", deserialize_with = "number")]
    #[schema(exclusive_minimum = 0, maximum = 1)]
    discount: f64,
    /// Milliseconds since 1970, or text of ISO 8601.
    #[schema(value_type = i64, required = true, minimum = 0, maximum = 253_402_207_200_000_i64)]
    publish_time: Option<Value>,
    /// The same; left out, it has no end.
    #[schema(value_type = Option<i64>, minimum = 4_102_444_800_000_i64, maximum = 253_402_207_200_000_i64)]
    finish_time: Option<Value>,
}

fn one() -> f64 {
    1.0
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "numberOfCoupons and discount must be numbers, or texts of numbers")]
enum Given<N> {
    Number(N),
    Text(String),
}

/// A number, or the text of one; null was 0.
fn number<'de, D, N>(deserializer: D) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: Deserialize<'de> + FromStr + Default,
{
    match Option::deserialize(deserializer)? {
        None => Ok(N::default()),
        Some(Given::Number(number)) => Ok(number),
        Some(Given::Text(text)) => text
            .trim()
            .parse()
            .map_err(|_| de::Error::custom(format_args!("{text:?} is not such a number"))),
    }
}

pub(crate) fn routes() -> OpenApiRouter<Dispatcher> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .route("/admin/promotions", post(create))
        .routes(routes!(update))
        .route("/admin/promotions/{id}", put(update))
}

problems!(CommandProblems: BODY; Overloaded, Unavailable, OutcomeUnknown);

/// Open a sale, as in the original
#[utoipa::path(
    post,
    path = "/admin/promotions/",
    operation_id = "originalCreate",
    tag = "The original",
    request_body = PromotionBody,
    responses(
        CommandProblems,
        (status = 200, description = "The id of the promotion", body = String),
        (status = 400, description = "The promotion is invalid, or the request is wrong", content(
            (String = "text/plain"),
            (ProblemBody = "application/problem+json"),
        )),
    ),
)]
async fn create(
    State(dispatcher): State<Dispatcher>,
    request: Request,
) -> Result<Response, Problem> {
    let id = Uuid::now_v7().to_string();
    let terms = match read(request, &id).await? {
        Ok(terms) => terms,
        Err(text) => return Ok((StatusCode::BAD_REQUEST, text).into_response()),
    };
    let invalid = describe(&terms);
    let body = command::Body::Schedule(SchedulePromotion { terms: Some(terms) });
    let answer = send(&dispatcher, &id, body).await?;
    Ok(respond(&answer, id, invalid))
}

/// Change a sale, as in the original
#[utoipa::path(
    put,
    path = "/admin/promotions/{id}/",
    operation_id = "originalUpdate",
    tag = "The original",
    params(IdParameter),
    request_body = PromotionBody,
    responses(
        CommandProblems,
        (status = 200, description = "The id of the promotion", body = String),
        (status = 400, description = "It is invalid, has started, or is not there", content(
            (String = "text/plain"),
            (ProblemBody = "application/problem+json"),
        )),
    ),
)]
async fn update(
    State(dispatcher): State<Dispatcher>,
    PathId(id): PathId,
    request: Request,
) -> Result<Response, Problem> {
    let terms = match read(request, &id).await? {
        Ok(terms) => terms,
        Err(text) => return Ok((StatusCode::BAD_REQUEST, text).into_response()),
    };
    let invalid = describe(&terms);
    let change = ChangePromotion {
        name: None,
        coupons: Some(terms.coupons),
        discount: Some(terms.discount),
        starts_at_ms: Some(terms.starts_at_ms),
        finishes_at_ms: terms.finishes_at_ms,
        open_end: terms.finishes_at_ms.is_none(),
        limit_per_customer: None,
    };
    let answer = send(&dispatcher, &id, command::Body::Change(change)).await?;
    Ok(respond(&answer, id, invalid))
}

/// The terms, or the text that says that they are invalid. Content types were never checked.
async fn read(request: Request, id: &str) -> Result<Result<Terms, String>, Problem> {
    let promotion: PromotionBody = parse_json(&read_body(request, MAX_BODY_BYTES).await?)?;
    let publish_time = date_of("publishTime", promotion.publish_time.as_ref(), date::parse)?;
    let finish_time = date_of("finishTime", promotion.finish_time.as_ref(), date::parse_end)?;
    let finish_time = finish_time.flatten();
    let terms = check(&promotion, publish_time, finish_time, id);
    Ok(terms.ok_or_else(|| {
        invalid(promotion.number_of_coupons, promotion.discount, publish_time, finish_time)
    }))
}

fn date_of<T>(
    name: &str,
    value: Option<&Value>,
    parse: impl Fn(&Value) -> Result<T, ()>,
) -> Result<Option<T>, Problem> {
    let date = value.filter(|value| !value.is_null()).map(parse).transpose();
    date.map_err(|()| Problem::new(ProblemKind::InvalidBody, format!("{name} is not a date.")))
}

fn check(
    promotion: &PromotionBody,
    publish_time: Option<i64>,
    finish_time: Option<i64>,
    id: &str,
) -> Option<Terms> {
    let terms = Terms {
        name: id.to_owned(),
        coupons: u32::try_from(promotion.number_of_coupons).ok()?,
        discount: promotion.discount,
        // 0 means "now" in a command; a time that early has long passed anyway.
        starts_at_ms: publish_time?.max(1),
        finishes_at_ms: finish_time,
        limit_per_customer: 1,
    };
    let open = finish_time.is_none_or(|finish_time| finish_time > now_ms());
    (open && seckill_promotion::check_terms(&terms).is_ok()).then_some(terms)
}

fn describe(terms: &Terms) -> String {
    let coupons = i64::from(terms.coupons);
    invalid(coupons, terms.discount, Some(terms.starts_at_ms), terms.finishes_at_ms)
}

fn invalid(
    coupons: i64,
    discount: f64,
    publish_time: Option<i64>,
    finish_time: Option<i64>,
) -> String {
    format!(
        "Invalid promotion {{numberOfCoupons={coupons}, discount={discount:.6}, \
         publishTime={}, finishTime={}}}",
        date::text(publish_time),
        date::text(finish_time)
    )
}

async fn send(dispatcher: &Dispatcher, id: &str, body: command::Body) -> Result<Answer, Problem> {
    let command = Command { promotion_id: id.to_owned(), body: Some(body) };
    dispatcher.send(command).await.map_err(|failure| Problem::from(failure).about(id))
}

fn respond(answer: &Answer, id: String, invalid: String) -> Response {
    let (status, text) = match &answer.outcome {
        Some(answer::Outcome::Accepted(_)) => (StatusCode::OK, id),
        Some(answer::Outcome::Refused(refusal)) => {
            (StatusCode::BAD_REQUEST, refused(*refusal, &id, invalid))
        }
        None => (StatusCode::INTERNAL_SERVER_ERROR, "no outcome".to_owned()),
    };
    (status, position_header(position(answer)), text).into_response()
}

fn refused(refusal: i32, id: &str, invalid: String) -> String {
    match Refusal::try_from(refusal).unwrap_or_default() {
        Refusal::NotFound => format!("PromotionEntity not exists {{promotionId={id}}}"),
        Refusal::AlreadyStarted | Refusal::Finished => {
            format!("PromotionEntity had started and changes is rejected {{promotionId={id}}}")
        }
        _ => invalid, // it knew no other reason
    }
}
