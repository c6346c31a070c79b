//! Between nodes: a command as protobuf to its owner, and the answer back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use prost::Message;
use seckill_edge::{Problem, checked, read_body};
use seckill_log::{Entries, Log, Table};
use seckill_promotion::check_terms;
use seckill_proto::v1::{Answer, Command, OwnerHint, Terms, command};

use crate::dispatch::ANSWER_TIMEOUT;
use crate::{Dispatcher, Failure};

/// The path under a node's endpoint.
const PATH: &str = "/internal/v1/commands";
const PROTOBUF: &str = "application/x-protobuf";

/// How long it may take to reach a node, and to learn which node to reach.
const CONNECT: Duration = Duration::from_secs(1);
const LOOK_UP: Duration = Duration::from_secs(1);
/// How long a connection that carries nothing is kept.
const KEEP: Duration = Duration::from_secs(5);
/// What the table of owners said holds for so long, whether it named anybody or not.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The key of the only entry that a partition has in the table of owners.
pub(crate) const OWNER_KEY: &str = "owner";

/// Sends commands to other nodes. Where they are comes from the table of owners and is kept until
/// it proves wrong.
pub(crate) struct Forwarder {
    log: Arc<dyn Log>,
    client: reqwest::Client,
    owners: Mutex<HashMap<u32, Arc<Owner>>>,
}

/// What is known of a partition's owner.
#[derive(Default)]
struct Owner {
    endpoint: Mutex<Option<String>>,
    /// When the table was last asked. One asks at a time: in an outage a whole crowd wants to.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Forwarder {
    /// # Panics
    /// When the client cannot be made, which it can without TLS.
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy() // a proxy's 503 would not mean what ours does
            .connect_timeout(CONNECT)
            .timeout(ANSWER_TIMEOUT)
            .pool_idle_timeout(KEEP) // sooner than the other node closes
            .build()
            .expect("a client without TLS");
        Self { log, client, owners: Mutex::default() }
    }

    /// Tries the owner last heard of, and if that is not it any more, the one now in the table.
    pub(crate) async fn forward(
        &self,
        partition: u32,
        command: Command,
    ) -> Result<Answer, Failure> {
        let owner = Arc::clone(self.owners.lock().entry(partition).or_default());
        let known = owner.endpoint.lock().clone();
        if let Some(endpoint) = &known {
            match self.send(endpoint, &command).await {
                Err(Failure::NotOwner | Failure::Unavailable) => {}
                Err(Failure::Unknown) => {
                    *owner.endpoint.lock() = None; // it may be gone; the next one looks again
                    return Err(Failure::Unknown);
                }
                answered => return answered,
            }
        }
        let looked_up = tokio::time::timeout(LOOK_UP, self.look_up(partition, &owner)).await;
        let endpoint = looked_up.ok().flatten().ok_or(Failure::Unavailable)?;
        if known.as_ref() == Some(&endpoint) {
            return Err(Failure::Unavailable);
        }
        match self.send(&endpoint, &command).await {
            Err(Failure::NotOwner) => Err(Failure::Unavailable),
            answered => answered,
        }
    }

    /// Asks the table, unless somebody just did.
    async fn look_up(&self, partition: u32, owner: &Owner) -> Option<String> {
        let mut asked = owner.asked.lock().await;
        if asked.is_none_or(|asked| asked.elapsed() > ASK_AGAIN) {
            match self.log.scan(Table::Owners, partition).await {
                Ok(entries) => *owner.endpoint.lock() = endpoint_in(entries),
                Err(error) => {
                    tracing::warn!(%error, partition, "the table of owners cannot be read");
                }
            }
            *asked = Some(Instant::now());
        }
        owner.endpoint.lock().clone()
    }

    async fn send(&self, endpoint: &str, command: &Command) -> Result<Answer, Failure> {
        let request = self
            .client
            .post(format!("{endpoint}{PATH}"))
            .header(header::CONTENT_TYPE, PROTOBUF)
            .body(command.encode_to_vec());
        let response = request.send().await.map_err(|error| failure_of(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|_| Failure::Unknown)?;
        if status == StatusCode::OK {
            return Answer::decode(body).map_err(|_| Failure::Unknown);
        }
        Err(failure_in(&body))
    }
}

fn endpoint_in(entries: Entries) -> Option<String> {
    let entry = entries.into_iter().find(|(key, _)| key == OWNER_KEY);
    let hint = entry.and_then(|(_, value)| OwnerHint::decode(value).ok());
    hint.map(|hint| hint.endpoint)
}

/// A connection that never came about carried no command.
fn failure_of(error: &reqwest::Error) -> Failure {
    if error.is_connect() { Failure::Unavailable } else { Failure::Unknown }
}

/// Only a node's own word counts: whatever stands between may answer with any status.
fn failure_in(body: &[u8]) -> Failure {
    let problem = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    let name = problem["type"].as_str().and_then(|name| name.strip_prefix("urn:seckill:problem:"));
    match name {
        Some("overloaded") => Failure::Overloaded,
        Some("unavailable" | "starting" | "too-many-connections") => Failure::Unavailable,
        Some("not-owner") => Failure::NotOwner,
        Some(_) | None => Failure::Unknown,
    }
}

pub(crate) fn routes() -> Router<Dispatcher> {
    Router::new().route(PATH, post(decide))
}

async fn decide(
    State(dispatcher): State<Dispatcher>,
    request: Request,
) -> Result<Response, Problem> {
    let command = Command::decode(read_body(request).await?)
        .map_err(|error| Problem::bad_request("malformed-command", error.to_string()))?;
    check(&command)?;
    let answer = dispatcher.decide_here(command).await?;
    Ok(([(header::CONTENT_TYPE, PROTOBUF)], answer.encode_to_vec()).into_response())
}

/// The other node has checked everything, if it is one. What gets into the log stays there, and an
/// id that cannot be read back would stop its partition for ever.
fn check(command: &Command) -> Result<(), Problem> {
    checked("promotion_id", command.promotion_id.clone())?;
    let name_of = |terms: Option<&Terms>| terms.map(|terms| terms.name.clone());
    let texts = match &command.body {
        None => return Err(Problem::bad_request("malformed-command", "The command is empty.")),
        Some(command::Body::Schedule(schedule)) => {
            let terms = schedule.terms.as_ref();
            let checked = terms.map(check_terms).transpose();
            checked.map_err(|error| Problem::bad_request("invalid-terms", error))?;
            [name_of(terms), None]
        }
        Some(command::Body::Change(change)) => [change.name.clone(), None],
        Some(command::Body::Grab(grab)) => {
            let key = Some(grab.idempotency_key.clone()).filter(|key| !key.is_empty());
            [Some(grab.customer_id.clone()), key]
        }
        Some(command::Body::Cancel(_) | command::Body::Restock(_)) => [None, None],
    };
    for text in texts.into_iter().flatten() {
        checked("A text in the command", text)?;
    }
    Ok(())
}
