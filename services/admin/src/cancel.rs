//! `POST /v1/promotions/{id}/cancel`, without a body.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use seckill_command::Dispatcher;
use seckill_edge::{PathId, Problem, read_body};
use seckill_proto::ProblemKind;
use seckill_proto::v1::{CancelPromotion, command};

pub(crate) fn routes() -> Router<Dispatcher> {
    Router::new().route("/v1/promotions/{id}/cancel", post(cancel))
}

async fn cancel(
    State(dispatcher): State<Dispatcher>,
    PathId(id): PathId,
    request: Request,
) -> Result<Response, Problem> {
    if !read_body(request).await?.is_empty() {
        return Err(Problem::new(ProblemKind::InvalidBody, "This route takes no body."));
    }
    crate::send(&dispatcher, id, command::Body::Cancel(CancelPromotion {}), StatusCode::OK).await
}
