//! Follows a partition: a consumer on its own thread, batches through a bounded channel.

use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use tokio::sync::mpsc;

use crate::kafka::client::{
    assign, is_out_of_range, may_be_lost, partition_consumer, partition_number, unavailable,
    watermarks,
};
use crate::kafka::{KafkaConfig, TRACEPARENT};
use crate::{LogError, Reader};

/// Records handed over at once, and how many such batches may wait.
const MAX_BATCH: usize = 4_096;
const MAX_WAITING: usize = 4;
/// How soon a thread notices that its reader is gone.
const POLL: Duration = Duration::from_millis(100);
/// A reader to whom nothing comes for so long looks whether there is anything.
const LOOK_EVERY: Duration = Duration::from_secs(5);

type Records = Vec<(u64, Bytes)>;

/// Records, and to which traces some of them belong.
#[derive(Default)]
struct Batch {
    records: Records,
    traced: Vec<(u64, String)>,
}

pub(super) struct KafkaReader {
    batches: mpsc::Receiver<Result<Batch, LogError>>,
    traced: Vec<(u64, String)>,
}

impl KafkaReader {
    pub(super) fn start(
        config: &KafkaConfig,
        topic: String,
        partition: u32,
        from: u64,
    ) -> Result<Self, LogError> {
        let consumer: BaseConsumer =
            partition_consumer(config).create().map_err(|error| unavailable(&error))?;
        let begin = i64::try_from(from).map_err(|_| LogError::Lost { partition, from })?;
        assign(&consumer, &topic, partition, begin)?;
        let follower = Follower {
            consumer,
            topic,
            partition,
            next: from,
            looked: Instant::now(),
            overdue: false,
        };
        let (sender, batches) = mpsc::channel(MAX_WAITING);
        thread::Builder::new()
            .name(format!("log-reader-{partition}"))
            .spawn(move || follower.run(&sender))
            .map_err(|error| LogError::Broken(error.to_string()))?;
        Ok(Self { batches, traced: Vec::new() })
    }
}

#[async_trait]
impl Reader for KafkaReader {
    async fn next(&mut self, wait: Duration) -> Result<Records, LogError> {
        match tokio::time::timeout(wait, self.batches.recv()).await {
            Ok(Some(batch)) => {
                let Batch { records, traced } = batch?;
                self.traced = traced;
                Ok(records)
            }
            Ok(None) => Err(LogError::Unavailable("the reader has stopped".into())),
            Err(_) => Ok(Vec::new()),
        }
    }

    fn traced(&mut self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.traced)
    }
}

/// What the thread of a reader knows.
struct Follower {
    consumer: BaseConsumer,
    topic: String,
    partition: u32,
    next: u64,
    /// When a record last came, or the end of the log was looked at.
    looked: Instant,
    /// There was something to read at that time.
    overdue: bool,
}

impl Follower {
    /// Ends when nobody listens any more or the consumer cannot go on.
    fn run(mut self, sender: &mpsc::Sender<Result<Batch, LogError>>) {
        while !sender.is_closed() {
            let batch = match self.poll() {
                Ok(batch) if batch.records.is_empty() => continue,
                other => other,
            };
            let failed = batch.is_err();
            if sender.blocking_send(batch).is_err() || failed {
                return;
            }
        }
    }

    fn poll(&mut self) -> Result<Batch, LogError> {
        let (batch, may_be_lost) = poll_batch(&self.consumer)
            .map_err(|error| describe(&error, self.partition, self.next))?;
        if let Some((offset, _)) = batch.records.last() {
            (self.next, self.looked, self.overdue) = (offset + 1, Instant::now(), false);
        } else if may_be_lost || self.looked.elapsed() > LOOK_EVERY {
            self.look()?;
        }
        Ok(batch)
    }

    /// Nothing has come for a while: is there nothing, or is this consumer lost?
    fn look(&mut self) -> Result<(), LogError> {
        let partition = partition_number(self.partition);
        let (_, end) = watermarks(self.consumer.client(), &self.topic, partition)?;
        let there = u64::try_from(end).is_ok_and(|end| end > self.next);
        if there && self.overdue {
            let next = self.next;
            return Err(LogError::Unavailable(format!("offset {next} is there and does not come")));
        }
        (self.looked, self.overdue) = (Instant::now(), there);
        Ok(())
    }
}

/// Waits for one record, then takes what has come already; and whether this may have been all.
fn poll_batch(consumer: &BaseConsumer) -> Result<(Batch, bool), KafkaError> {
    let (mut batch, mut lost) = (Batch::default(), false);
    let mut wait = POLL;
    while batch.records.len() < MAX_BATCH {
        match consumer.poll(wait) {
            None => break,
            Some(Err(error)) if is_retryable(&error) => {
                tracing::debug!(%error, "the consumer tries again by itself");
                lost = may_be_lost(&error);
                break;
            }
            Some(Err(error)) => return Err(error),
            Some(Ok(message)) => batch.push(&message),
        }
        wait = Duration::ZERO;
    }
    Ok((batch, lost))
}

impl Batch {
    fn push(&mut self, message: &impl Message) {
        let offset = u64::try_from(message.offset()).expect("a record read has an offset");
        let record = Bytes::copy_from_slice(message.payload().unwrap_or_default());
        self.records.push((offset, record));
        self.traced.extend(trace_of(message).map(|trace| (offset, trace)));
    }
}

fn trace_of(message: &impl Message) -> Option<String> {
    let headers = message.headers()?;
    let header = headers.iter().find(|header| header.key == TRACEPARENT)?;
    String::from_utf8(header.value?.to_vec()).ok()
}

/// Errors that librdkafka reports and means to go on from.
fn is_retryable(error: &KafkaError) -> bool {
    match error.rdkafka_error_code() {
        Some(code) => !matches!(
            code,
            RDKafkaErrorCode::Fatal
                | RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
        ),
        None => false,
    }
}

fn describe(error: &KafkaError, partition: u32, from: u64) -> LogError {
    if is_out_of_range(error) { LogError::Lost { partition, from } } else { unavailable(error) }
}
