//! What other nodes ask: `POST /internal/v1/commands` to have a command decided, and
//! `POST /internal/v1/partitions/{partition}/release` to have a partition given up.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use prost::Message;
use seckill_edge::{Problem, checked, read_body};
use seckill_promotion::check_terms;
use seckill_proto::ProblemKind;
use seckill_proto::v1::{Command, OwnerHint, Terms, command};

use crate::Dispatcher;
use crate::http::peers::{PATH, PROTOBUF, RELEASE};

pub(crate) fn routes() -> Router<Dispatcher> {
    Router::new().route(PATH, post(decide)).route(RELEASE, post(release))
}

async fn decide(
    State(dispatcher): State<Dispatcher>,
    request: Request,
) -> Result<Response, Problem> {
    let command = Command::decode(read_body(request).await?)
        .map_err(|error| Problem::new(ProblemKind::MalformedCommand, error.to_string()))?;
    check(&command)?;
    let answer = dispatcher.decide_here(command).await?;
    Ok(([(header::CONTENT_TYPE, PROTOBUF)], answer.encode_to_vec()).into_response())
}

/// The body has the fence of the owner that is meant, and the endpoint of the node that takes over.
async fn release(
    State(dispatcher): State<Dispatcher>,
    Path(partition): Path<u32>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let OwnerHint { fence_id, endpoint, .. } = OwnerHint::decode(read_body(request).await?)
        .map_err(|error| Problem::new(ProblemKind::MalformedCommand, error.to_string()))?;
    dispatcher.release(partition, &fence_id, endpoint).await?;
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
