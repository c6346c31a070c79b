//! Between nodes: a command as protobuf to its owner, and the answer back.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use prost::Message;
use seckill_edge::Problem;
use seckill_log::{Log, Table};
use seckill_proto::v1::{Answer, Command, OwnerHint};

use crate::dispatch::PATIENCE;
use crate::{Dispatcher, Failure};

/// The path under a node's endpoint.
const PATH: &str = "/internal/v1/commands";
const PROTOBUF: &str = "application/x-protobuf";

/// The key of the only entry that a partition has in the table of owners.
pub(crate) const OWNER_KEY: &str = "owner";

/// Sends commands to other nodes. Where they are comes from the table of owners and is kept until
/// it proves wrong.
pub(crate) struct Forwarder {
    log: Arc<dyn Log>,
    client: reqwest::Client,
    endpoints: Mutex<HashMap<u32, String>>,
}

impl Forwarder {
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        Self { log, client: reqwest::Client::new(), endpoints: Mutex::default() }
    }

    /// Tries the owner last heard of, and if that is not it any more, the one now in the table.
    pub(crate) async fn forward(
        &self,
        partition: u32,
        command: Command,
    ) -> Result<Answer, Failure> {
        let known = self.endpoints.lock().get(&partition).cloned();
        if let Some(endpoint) = known {
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

    async fn look_up(&self, partition: u32) -> Result<String, Failure> {
        let entries = self.log.scan(Table::Owners, partition).await.map_err(|error| {
            tracing::warn!(%error, partition, "the table of owners cannot be read");
            Failure::Unavailable
        })?;
        let entry = entries.into_iter().find(|(key, _)| key == OWNER_KEY);
        let hint = entry.and_then(|(_, value)| OwnerHint::decode(value).ok());
        let endpoint = hint.ok_or(Failure::Unavailable)?.endpoint;
        self.endpoints.lock().insert(partition, endpoint.clone());
        Ok(endpoint)
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
    let answer = dispatcher.decide_here(command).await?;
    Ok(([(header::CONTENT_TYPE, PROTOBUF)], answer.encode_to_vec()).into_response())
}
