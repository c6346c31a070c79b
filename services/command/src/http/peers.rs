//! Commands to other nodes, as protobuf over HTTP: `internal.rs` takes them there.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use prost::Message;
use reqwest::StatusCode;
use reqwest::header::{self, HeaderName, HeaderValue};
use seckill_log::Log;
use seckill_proto::v1::{
    self, Answer, AnswerBatch, Command, CommandBatch, NodeStatus, OwnerHint, Undecided, told,
};
use seckill_proto::{Outcome, ProblemKind};
use seckill_telemetry::TRACEPARENT;

use crate::forward::{ANSWER_TIMEOUT, Peers};
use crate::http::status;
use crate::{Failure, Told};

/// The path under a node's endpoint.
pub(crate) const PATH: &str = "/internal/v1/commands";
/// The same for several commands.
pub(crate) const BATCHES: &str = "/internal/v1/batches";
pub(crate) const PROTOBUF: &str = "application/x-protobuf";

/// How long it may take to reach a node.
const CONNECT: Duration = Duration::from_secs(1);
/// How long a connection that carries nothing is kept.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Other nodes over HTTP.
pub struct HttpPeers {
    client: reqwest::Client,
    /// For answers that do not end.
    streams: reqwest::Client,
}

impl HttpPeers {
    /// Those that decide on a log.
    #[must_use]
    pub fn of(log: &dyn Log) -> Self {
        let client = || {
            let log_id = HeaderValue::from_str(log.id()).unwrap_or(HeaderValue::from_static(""));
            reqwest::Client::builder()
                .no_proxy() // a proxy's 503 would not mean what ours does
                .connect_timeout(CONNECT)
                .pool_idle_timeout(POOL_IDLE_TIMEOUT) // sooner than the other node closes
                .default_headers([(LOG_ID, log_id)].into_iter().collect())
        };
        let build =
            |builder: reqwest::ClientBuilder| builder.build().expect("a client without TLS");
        Self { client: build(client().timeout(ANSWER_TIMEOUT)), streams: build(client()) }
    }
}

#[async_trait]
impl Peers for HttpPeers {
    async fn decide(
        &self,
        endpoint: &str,
        commands: &[Command],
        trace: Option<&str>,
    ) -> Result<Vec<Told>, Failure> {
        let (path, body) = match commands {
            [command] => (PATH, command.encode_to_vec()),
            commands => (BATCHES, CommandBatch { commands: commands.to_vec() }.encode_to_vec()),
        };
        let request = self.client.post(format!("{endpoint}{path}"));
        let mut request = request.header(header::CONTENT_TYPE, PROTOBUF).body(body);
        if let Some(trace) = trace {
            request = request.header(TRACEPARENT, trace);
        }
        let response = request.send().await.map_err(|error| failure_of(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|_| Failure::Unknown)?;
        if status != StatusCode::OK {
            return Err(failure_in(&body));
        }
        let told = match commands {
            [_] => Answer::decode(body).map(|answer| vec![Ok(answer)]),
            _ => AnswerBatch::decode(body).map(|batch| batch.told.into_iter().map(told).collect()),
        };
        let told = told.map_err(|_| Failure::Unknown)?;
        if told.len() == commands.len() { Ok(told) } else { Err(Failure::Unknown) }
    }

    async fn release(&self, partition: u32, owner: &OwnerHint, to: &str) -> Result<(), Failure> {
        let path = RELEASE.replace("{partition}", &partition.to_string());
        // The owner that is meant, and who takes over.
        let of = OwnerHint {
            fence_id: owner.fence_id.clone(),
            endpoint: to.to_owned(),
            ..OwnerHint::default()
        };
        let request = self.client.post(format!("{}{path}", owner.endpoint));
        let request = request.body(of.encode_to_vec());
        let response = request.send().await.map_err(|error| failure_of(&error))?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(());
        }
        Err(failure_in(&response.bytes().await.map_err(|_| Failure::Unknown)?))
    }

    async fn follow(
        &self,
        endpoint: &str,
        own: &str,
    ) -> Result<BoxStream<'static, NodeStatus>, Failure> {
        let request = self.streams.get(format!("{endpoint}{STATUS}")).header(ENDPOINT, own);
        let response = request.send().await.map_err(|error| failure_of(&error))?;
        if response.status() != StatusCode::OK {
            return Err(Failure::Unavailable);
        }
        Ok(status::decode(response))
    }
}

/// Where a node says what it serves.
pub(crate) const STATUS: &str = "/internal/v1/status";
/// Which log is meant.
pub(crate) const LOG_ID: HeaderName = HeaderName::from_static("seckill-log");
/// Where the node that asks is reached.
pub(crate) const ENDPOINT: HeaderName = HeaderName::from_static("seckill-endpoint");
/// Where a node is asked to give a partition up.
pub(crate) const RELEASE: &str = "/internal/v1/partitions/{partition}/release";

/// What became of a command, as a node tells it among others.
pub(crate) fn wire(told: Told) -> v1::Told {
    let told = match told {
        Ok(answer) => told::Told::Answer(answer),
        Err(Failure::Unknown) => told::Told::Undecided(Undecided::Unspecified.into()),
        Err(
            Failure::Unavailable | Failure::Unreached | Failure::Overloaded | Failure::NotOwner,
        ) => told::Told::Undecided(Undecided::Unavailable.into()),
    };
    v1::Told { told: Some(told) }
}

fn told(wire: v1::Told) -> Told {
    match wire.told {
        Some(told::Told::Answer(answer)) => Ok(answer),
        Some(told::Told::Undecided(why)) if why == i32::from(Undecided::Unavailable) => {
            Err(Failure::Unavailable)
        }
        Some(told::Told::Undecided(_)) | None => Err(Failure::Unknown),
    }
}

/// A connection that never came about carried no command.
fn failure_of(error: &reqwest::Error) -> Failure {
    if error.is_connect() { Failure::Unreached } else { Failure::Unknown }
}

/// Only a node's own word counts: whatever stands between may answer with any status.
fn failure_in(body: &[u8]) -> Failure {
    let problem = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    match problem["type"].as_str().and_then(ProblemKind::of_urn) {
        Some(ProblemKind::Overloaded) => Failure::Overloaded,
        Some(ProblemKind::NotOwner) => Failure::NotOwner,
        Some(kind) if kind.outcome() == Outcome::NotAccepted => Failure::Unavailable,
        Some(_) | None => Failure::Unknown,
    }
}
