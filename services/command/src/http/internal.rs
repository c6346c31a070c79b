//! What other nodes ask: `POST /internal/v1/commands` to have a command decided, `POST /internal/v1/batches` several,
//! `POST /internal/v1/partitions/{partition}/release` to have a partition given up, and `GET /internal/v1/status` to hear
//! what this node serves, for as long as it lives.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prost::Message;
use seckill_edge::{Problem, checked, read_body};
use seckill_promotion::check_terms;
use seckill_proto::ProblemKind;
use seckill_proto::v1::{AnswerBatch, Command, CommandBatch, OwnerHint, Terms, command};
use tokio_util::sync::CancellationToken;

use crate::http::peers::{BATCHES, ENDPOINT, LOG_ID, PATH, PROTOBUF, RELEASE, STATUS, wire};
use crate::http::status;
use crate::{Dispatcher, Failure, Neighbours};

/// Of a batch of grabs, with ids and keys as long as they may be.
const MAX_BODY_BYTES: usize = 512 * 1024;

/// What answers other nodes.
#[derive(Clone)]
struct Internal {
    dispatcher: Dispatcher,
    neighbours: Arc<Neighbours>,
    close: CancellationToken,
}

/// What a node answers other nodes, until `close`. It is for the cluster's own network.
pub fn routes(
    dispatcher: Dispatcher,
    neighbours: Arc<Neighbours>,
    close: CancellationToken,
) -> Router {
    let internal = Internal { dispatcher, neighbours, close };
    Router::new()
        .route(PATH, post(decide))
        .route(BATCHES, post(decide_all))
        .route(RELEASE, post(release))
        .route(STATUS, get(follow))
        .layer(from_fn_with_state(internal.clone(), is_meant))
        .with_state(internal)
}

/// Whoever means a node of another log, which had this address before, asks for nothing here.
async fn is_meant(
    State(internal): State<Internal>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let log_id = request.headers().get(LOG_ID);
    if log_id.is_some_and(|log_id| log_id != internal.dispatcher.log_id()) {
        let what = "This node decides on another log.";
        return Err(Problem::new(ProblemKind::NotOwner, what));
    }
    Ok(next.run(request).await)
}

async fn decide(State(internal): State<Internal>, request: Request) -> Result<Response, Problem> {
    let command: Command = message(request).await?;
    check(&command)?;
    let told = internal.dispatcher.decide_here(vec![command]).await?;
    let answer = told.into_iter().next().unwrap_or(Err(Failure::Unknown))?;
    Ok(([(header::CONTENT_TYPE, PROTOBUF)], answer.encode_to_vec()).into_response())
}

async fn decide_all(
    State(internal): State<Internal>,
    request: Request,
) -> Result<Response, Problem> {
    let CommandBatch { commands } = message(request).await?;
    let promotion_id = commands.first().map(|command| command.promotion_id.clone());
    for command in &commands {
        check(command)?;
        if Some(&command.promotion_id) != promotion_id.as_ref() {
            let what = "The commands are for several promotions.";
            return Err(Problem::new(ProblemKind::MalformedCommand, what));
        }
    }
    let told = internal.dispatcher.decide_here(commands).await?;
    let answers = AnswerBatch { told: told.into_iter().map(wire).collect() };
    Ok(([(header::CONTENT_TYPE, PROTOBUF)], answers.encode_to_vec()).into_response())
}

async fn message<M: Message + Default>(request: Request) -> Result<M, Problem> {
    M::decode(read_body(request, MAX_BODY_BYTES).await?)
        .map_err(|error| Problem::new(ProblemKind::MalformedCommand, error.to_string()))
}

async fn follow(State(internal): State<Internal>, headers: HeaderMap) -> Response {
    let from = headers.get(ENDPOINT).and_then(|from| from.to_str().ok()).unwrap_or_default();
    let statuses = internal.neighbours.tell(from.to_owned());
    let body = Body::from_stream(status::encode(statuses, internal.close));
    ([(header::CONTENT_TYPE, PROTOBUF)], body).into_response()
}

/// The body has the fence of the owner that is meant, and the endpoint of the node that takes over.
async fn release(
    State(internal): State<Internal>,
    Path(partition): Path<u32>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let OwnerHint { fence_id, endpoint, .. } = message(request).await?;
    internal.dispatcher.release(partition, &fence_id, endpoint).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The other node has checked everything, if it is one. What gets into the log stays there, and an
/// id that cannot be read back would stop its partition for ever.
fn check(command: &Command) -> Result<(), Problem> {
    checked("promotion_id", command.promotion_id.clone())?;
    let name_of = |terms: Option<&Terms>| terms.map(|terms| terms.name.clone());
    let texts = match &command.body {
        None => return Err(Problem::new(ProblemKind::MalformedCommand, "The command is empty.")),
        Some(command::Body::Schedule(schedule)) => {
            let terms = schedule.terms.as_ref();
            let checked = terms.map(check_terms).transpose();
            checked.map_err(|error| Problem::new(ProblemKind::InvalidTerms, error))?;
            [name_of(terms), None]
        }
        Some(command::Body::Change(change)) => [change.name.clone(), None],
        Some(command::Body::Grab(grab)) => {
            let key = Some(grab.idempotency_key.clone()).filter(|key| !key.is_empty());
            [Some(grab.customer_id.clone()), key]
        }
        Some(
            command::Body::Cancel(_)
            | command::Body::Restock(_)
            | command::Body::Pause(_)
            | command::Body::Resume(_)
            | command::Body::Finish(_),
        ) => [None, None],
    };
    for text in texts.into_iter().flatten() {
        checked("A text in the command", text)?;
    }
    Ok(())
}
