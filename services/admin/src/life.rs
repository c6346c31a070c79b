//! `POST /v1/promotions/{id}/cancel`, `pause`, `resume` and `finish`, without a body.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use seckill_command::Dispatcher;
use seckill_edge::{
    IdParameter, MAX_BODY_BYTES, PathId, Problem, check_no_query, problems, read_body,
};
use seckill_proto::ProblemKind;
use seckill_proto::v1::{
    CancelPromotion, FinishPromotion, PausePromotion, ResumePromotion, command,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Done;

pub(crate) fn routes() -> OpenApiRouter<Dispatcher> {
    OpenApiRouter::new()
        .routes(routes!(cancel))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(finish))
}

problems!(
    LifeProblems: BODY, COMMAND;
    InvalidIdentifier, NotFound, NotStarted, Finished, SoldOut
);

/// A step of a promotion's life that needs no words.
macro_rules! step {
    ($(#[doc = $doc:literal])* $name:ident, $operation:literal, $path:literal, $body:expr) => {
        $(#[doc = $doc])*
        #[utoipa::path(
            post,
            path = $path,
            operation_id = $operation,
            tag = "Operators",
            params(IdParameter),
            responses(
                (status = 200, description = "It is so now", body = Done,
                 headers(("Seckill-Position" = String, description = "Where in the log"))),
                LifeProblems,
            ),
        )]
        async fn $name(
            State(dispatcher): State<Dispatcher>,
            PathId(id): PathId,
            request: Request,
        ) -> Result<Response, Problem> {
            send(&dispatcher, id, $body, request).await
        }
    };
}

step!(
    /// Cancel a sale
    ///
    /// At any time. It is over for good; coupons that were granted stay granted.
    cancel, "cancelPromotion", "/v1/promotions/{id}/cancel",
    command::Body::Cancel(CancelPromotion {})
);
step!(
    /// Pause a sale
    ///
    /// No coupon is granted until it is resumed. Its end comes all the same.
    pause, "pausePromotion", "/v1/promotions/{id}/pause",
    command::Body::Pause(PausePromotion {})
);
step!(
    /// Resume a sale
    ///
    /// Coupons are granted again.
    resume, "resumePromotion", "/v1/promotions/{id}/resume",
    command::Body::Resume(ResumePromotion {})
);
step!(
    /// Finish a sale
    ///
    /// Once it has started, before its end. It is over for good.
    finish, "finishPromotion", "/v1/promotions/{id}/finish",
    command::Body::Finish(FinishPromotion {})
);

/// Sends the command as it is.
async fn send(
    dispatcher: &Dispatcher,
    id: String,
    command: command::Body,
    request: Request,
) -> Result<Response, Problem> {
    check_no_query(request.uri())?;
    if !read_body(request, MAX_BODY_BYTES).await?.is_empty() {
        return Err(Problem::new(ProblemKind::InvalidBody, "This route takes no body."));
    }
    crate::send(dispatcher, id, command, StatusCode::OK).await
}
