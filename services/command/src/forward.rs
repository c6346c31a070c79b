//! Between nodes: a command as protobuf to its owner, and the answer back. `http/internal.rs` takes it there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use prost::Message;
use reqwest::{StatusCode, header};
use seckill_log::{Entries, Log, LogError, Table};
use seckill_proto::v1::{Answer, Command, OwnerHint};
use seckill_proto::{Outcome, ProblemKind};
use seckill_telemetry::TRACEPARENT;

use crate::Failure;
use crate::dispatch::ANSWER_TIMEOUT;

/// The path under a node's endpoint.
pub(crate) const PATH: &str = "/internal/v1/commands";
pub(crate) const PROTOBUF: &str = "application/x-protobuf";

/// How long it may take to reach a node, and to learn which node to reach.
const CONNECT: Duration = Duration::from_secs(1);
const LOOK_UP: Duration = Duration::from_secs(1);
/// How long a connection that carries nothing is kept.
const KEEP: Duration = Duration::from_secs(5);
/// What the table of owners said holds for so long, whether it named anybody or not.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The whole table is asked for by those who watch: now and then, few partitions at a time.
const LIST_AGAIN: Duration = Duration::from_secs(5);
const LIST_WITHIN: Duration = Duration::from_secs(3);
const LISTED_AT_ONCE: usize = 2;

type Listed = Result<Vec<Option<OwnerHint>>, Failure>;

/// The key of the only entry that a partition has in the table of owners.
pub(crate) const OWNER_KEY: &str = "owner";

/// Sends commands to other nodes. Where they are comes from the table of owners and is kept until
/// it proves wrong.
pub(crate) struct Forwarder {
    log: Arc<dyn Log>,
    client: reqwest::Client,
    owners: Mutex<HashMap<u32, Arc<KnownOwner>>>,
    /// What the whole table said, and when; for those who watch.
    listed: tokio::sync::Mutex<Option<(Instant, Listed)>>,
}

/// What is known of a partition's owner.
#[derive(Default)]
struct KnownOwner {
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
        Self { log, client, owners: Mutex::default(), listed: tokio::sync::Mutex::default() }
    }

    /// Tries the owner last heard of, and if that is not it any more, the one now in the table.
    pub(crate) async fn forward(
        &self,
        partition: u32,
        command: Command,
        trace: Option<&str>,
    ) -> Result<Answer, Failure> {
        let owner = Arc::clone(self.owners.lock().entry(partition).or_default());
        let known = owner.endpoint.lock().clone();
        if let Some(endpoint) = &known {
            match self.send(endpoint, &command, trace).await {
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
        match self.send(&endpoint, &command, trace).await {
            Err(Failure::NotOwner) => Err(Failure::Unavailable),
            answered => answered,
        }
    }

    /// Who owns each partition, as the table says, or said a moment ago; where it could not be asked a moment
    /// ago, nobody asks again yet.
    pub(crate) async fn owners(&self, partitions: u32) -> Result<Vec<Option<OwnerHint>>, Failure> {
        let mut listed = self.listed.lock().await;
        if let Some((at, owners)) = &*listed
            && at.elapsed() < LIST_AGAIN
        {
            return owners.clone();
        }
        let scan = async |partition| Ok(owner_in(self.log.scan(Table::Owners, partition).await?));
        let all = stream::iter((0..partitions).map(scan)).buffered(LISTED_AT_ONCE).try_collect();
        let scanned = tokio::time::timeout(LIST_WITHIN, all).await;
        let failed = |error: LogError| {
            tracing::warn!(%error, "the table of owners cannot be read");
            Failure::Unavailable
        };
        let owners = scanned.map_or(Err(Failure::Unavailable), |owners| owners.map_err(failed));
        *listed = Some((Instant::now(), owners.clone()));
        owners
    }

    /// Asks the table, unless somebody just did.
    async fn look_up(&self, partition: u32, owner: &KnownOwner) -> Option<String> {
        let mut asked = owner.asked.lock().await;
        if asked.is_none_or(|asked| asked.elapsed() > ASK_AGAIN) {
            match self.log.scan(Table::Owners, partition).await {
                Ok(entries) => {
                    *owner.endpoint.lock() = owner_in(entries).map(|hint| hint.endpoint);
                }
                Err(error) => {
                    tracing::warn!(%error, partition, "the table of owners cannot be read");
                }
            }
            *asked = Some(Instant::now());
        }
        owner.endpoint.lock().clone()
    }

    async fn send(
        &self,
        endpoint: &str,
        command: &Command,
        trace: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut request = self
            .client
            .post(format!("{endpoint}{PATH}"))
            .header(header::CONTENT_TYPE, PROTOBUF)
            .body(command.encode_to_vec());
        if let Some(trace) = trace {
            request = request.header(TRACEPARENT, trace);
        }
        let response = request.send().await.map_err(|error| failure_of(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|_| Failure::Unknown)?;
        if status == StatusCode::OK {
            return Answer::decode(body).map_err(|_| Failure::Unknown);
        }
        Err(failure_in(&body))
    }
}

fn owner_in(entries: Entries) -> Option<OwnerHint> {
    let entry = entries.into_iter().find(|(key, _)| key == OWNER_KEY);
    entry.and_then(|(_, value)| OwnerHint::decode(value).ok())
}

/// A connection that never came about carried no command.
fn failure_of(error: &reqwest::Error) -> Failure {
    if error.is_connect() { Failure::Unavailable } else { Failure::Unknown }
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
