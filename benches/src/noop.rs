//! The route that does nothing, as the least that an answer over HTTP costs.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

/// As large as that of a grab.
const POSITION: [(HeaderName, &str); 1] =
    [(HeaderName::from_static("seckill-position"), "0:200000")];
const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// The body of every answer, once it is known how large one is.
pub(crate) type Answer = Arc<OnceLock<Bytes>>;

pub(crate) fn path(promotion_id: &str) -> String {
    format!("/noop/promotions/{promotion_id}/grabs")
}

pub(crate) fn routes(answer: Answer) -> Router {
    Router::new().route("/noop/promotions/{id}/grabs", post(answer_it)).with_state(answer)
}

/// The request's body is received and dropped.
async fn answer_it(State(answer): State<Answer>, _: Bytes) -> Response {
    let body = answer.get().cloned().unwrap_or_default();
    (StatusCode::CREATED, POSITION, JSON, body).into_response()
}
