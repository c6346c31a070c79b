//! Between nodes: a command as protobuf to its owner, and the answer back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use prost::Message;
use seckill_edge::{Problem, checked};
use seckill_log::{Log, Table};
use seckill_proto::v1::{Answer, Command, OwnerHint, Terms, command};

use crate::dispatch::PATIENCE;
use crate::{Dispatcher, Failure};

/// The path under a node's endpoint.
const PATH: &str = "/internal/v1/commands";
const PROTOBUF: &str = "application/x-protobuf";

/// What the table of owners said holds for so long, whether it named anybody or not.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The key of the only entry that a partition has in the table of owners.
pub(crate) const OWNER_KEY: &str = "owner";

/// Sends commands to other nodes. Where they are comes from the table of owners and is kept until
/// it proves wrong.
pub(crate) struct Forwarder {
    log: Arc<dyn Log>,
    client: reqwest::Client,
    known: Mutex<HashMap<u32, Known>>,
    /// One look at the table at a time: in an outage a whole crowd wants to.
    looking: tokio::sync::Mutex<()>,
}

/// What the table of owners said, and when it was asked.
#[derive(Clone)]
struct Known {
    endpoint: Option<String>,
    asked: Instant,
}

impl Forwarder {
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        Self {
            log,
            client: reqwest::Client::new(),
            known: Mutex::default(),
            looking: Default::default(),
        }
    }

    /// Tries the owner last heard of, and if that is not it any more, the one now in the table.
    pub(crate) async fn forward(
        &self,
        partition: u32,
        command: Command,
    ) -> Result<Answer, Failure> {
        let known = self.known.lock().get(&partition).cloned();
        if let Some(endpoint) = known.and_then(|known| known.endpoint) {
            match self.send(&endpoint, &command).await {
                Err(Failure::NotOwner | Failure::Unavailable) => {}
                answered => return answered,
            }
        }
        let endpoint = self.look_up(partition).await?;
        match self.send(&endpoint, &command).await {
            Err(Failure::NotOwner) => Err(Failure::Unavailable),
            answered => answered,
        }
    }

    /// Asks the table, unless somebody just did.
    async fn look_up(&self, partition: u32) -> Result<String, Failure> {
        let _looking = self.looking.lock().await;
        let known = self.known.lock().get(&partition).cloned();
        let fresh = known.filter(|known| known.asked.elapsed() < ASK_AGAIN);
        let endpoint = match fresh {
            Some(known) => known.endpoint,
            None => self.ask(partition).await,
        };
        endpoint.ok_or(Failure::Unavailable)
    }

    async fn ask(&self, partition: u32) -> Option<String> {
        let entries = self.log.scan(Table::Owners, partition).await.unwrap_or_else(|error| {
            tracing::warn!(%error, partition, "the table of owners cannot be read");
            Vec::new()
        });
        let entry = entries.into_iter().find(|(key, _)| key == OWNER_KEY);
        let hint = entry.and_then(|(_, value)| OwnerHint::decode(value).ok());
        let endpoint = hint.map(|hint| hint.endpoint);
        let known = Known { endpoint: endpoint.clone(), asked: Instant::now() };
        self.known.lock().insert(partition, known);
        endpoint
    }

    async fn send(&self, endpoint: &str, command: &Command) -> Result<Answer, Failure> {
        let request = self
            .client
            .post(format!("{endpoint}{PATH}"))
            .header(header::CONTENT_TYPE, PROTOBUF)
            .timeout(PATIENCE)
            .body(command.encode_to_vec());
        let response = request.send().await.map_err(|error| failure_of(&error))?;
        match response.status() {
            StatusCode::OK => {
                let body = response.bytes().await.map_err(|_| Failure::Unknown)?;
                Answer::decode(body).map_err(|_| Failure::Unknown)
            }
            StatusCode::TOO_MANY_REQUESTS => Err(Failure::Overloaded),
            StatusCode::SERVICE_UNAVAILABLE => Err(Failure::Unavailable),
            StatusCode::MISDIRECTED_REQUEST => Err(Failure::NotOwner),
            _ => Err(Failure::Unknown),
        }
    }
}

/// A connection that never came about carried no command.
fn failure_of(error: &reqwest::Error) -> Failure {
    if error.is_connect() { Failure::Unavailable } else { Failure::Unknown }
}

pub(crate) fn routes() -> Router<Dispatcher> {
    Router::new().route(PATH, post(decide))
}

async fn decide(State(dispatcher): State<Dispatcher>, body: Bytes) -> Result<Response, Problem> {
    let command = Command::decode(body)
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
        Some(command::Body::Schedule(schedule)) => [name_of(schedule.terms.as_ref()), None],
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
