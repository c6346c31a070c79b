//! The operator's API: create and change promotions, restock, pause, resume, finish and cancel them.
//!
//! Holds no state and decides nothing: it checks what it is sent, makes a command of it, and
//! brings that to the owner of the promotion.

mod change;
mod life;
mod restock;
mod schedule;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use seckill_command::{Dispatcher, accepted};
use seckill_edge::{Problem, position_header};
use seckill_proto::v1::{Command, command};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

/// The routes of operators.
pub fn routes(dispatcher: Dispatcher) -> OpenApiRouter {
    schedule::routes()
        .merge(change::routes())
        .merge(life::routes())
        .merge(restock::routes())
        .with_state(dispatcher)
}

/// The answer to an accepted command.
#[derive(Serialize, ToSchema)]
struct Done {
    /// The promotion's id.
    id: String,
    /// Where in the log it was decided, as PARTITION:OFFSET; good for `after`.
    #[schema(example = "3:2")]
    position: String,
}

/// Sends a command; `created` is the status where something new has come to be.
async fn send(
    dispatcher: &Dispatcher,
    promotion_id: String,
    body: command::Body,
    created: StatusCode,
) -> Result<Response, Problem> {
    let command = Command { promotion_id: promotion_id.clone(), body: Some(body) };
    let (accepted, position) = accepted(&dispatcher.send(command).await?)?;
    let status = if accepted.repeated { StatusCode::OK } else { created };
    let done = Done { id: promotion_id, position: position.to_string() };
    Ok((status, position_header(position), axum::Json(done)).into_response())
}
