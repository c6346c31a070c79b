//! `POST /v1/promotions/{id}/cancel`, `pause`, `resume` and `finish`, without a body.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::routing::{MethodRouter, post};
use seckill_command::Dispatcher;
use seckill_edge::{PathId, Problem, read_body};
use seckill_proto::ProblemKind;
use seckill_proto::v1::{
    CancelPromotion, FinishPromotion, PausePromotion, ResumePromotion, command,
};

pub(crate) fn routes() -> Router<Dispatcher> {
    Router::new()
        .route("/v1/promotions/{id}/cancel", plain(command::Body::Cancel(CancelPromotion {})))
        .route("/v1/promotions/{id}/pause", plain(command::Body::Pause(PausePromotion {})))
        .route("/v1/promotions/{id}/resume", plain(command::Body::Resume(ResumePromotion {})))
        .route("/v1/promotions/{id}/finish", plain(command::Body::Finish(FinishPromotion {})))
}

/// Sends the command as it is.
fn plain(command: command::Body) -> MethodRouter<Dispatcher> {
    post(async move |State(dispatcher): State<Dispatcher>, PathId(id): PathId, request: Request| {
        if !read_body(request).await?.is_empty() {
            return Err(Problem::new(ProblemKind::InvalidBody, "This route takes no body."));
        }
        crate::send(&dispatcher, id, command, StatusCode::OK).await
    })
}
