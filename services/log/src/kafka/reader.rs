//! Follows a partition: a consumer on its own thread, batches through a bounded channel.

use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use crate::kafka::KafkaConfig;
use crate::kafka::client::{partition_consumer, partition_number, unavailable};
use crate::{LogError, Reader};

/// Records handed over at once, and how many such batches may wait.
const MAX_BATCH: usize = 4_096;
const MAX_WAITING: usize = 4;
/// How soon a thread notices that its reader is gone.
const POLL: Duration = Duration::from_millis(100);

type Records = Vec<(u64, Bytes)>;

pub(super) struct KafkaReader {
    batches: mpsc::Receiver<Result<Records, LogError>>,
}

impl KafkaReader {
    pub(super) fn start(
        config: &KafkaConfig,
        topic: String,
        partition: u32,
        from: u64,
    ) -> Result<Self, LogError> {
        let consumer = partition_consumer(config)?;
        assign(&consumer, &topic, partition, from)?;
        let (sender, batches) = mpsc::channel(MAX_WAITING);
        thread::Builder::new()
            .name(format!("log-reader-{partition}"))
            .spawn(move || run(&consumer, partition, from, &sender))
            .map_err(|error| LogError::Broken(error.to_string()))?;
        Ok(Self { batches })
    }
}

#[async_trait]
impl Reader for KafkaReader {
    async fn next(&mut self, wait: Duration) -> Result<Records, LogError> {
        match tokio::time::timeout(wait, self.batches.recv()).await {
            Ok(Some(batch)) => batch,
            Ok(None) => Err(LogError::Unavailable("the reader has stopped".into())),
            Err(_) => Ok(Vec::new()),
        }
    }
}

fn assign(consumer: &BaseConsumer, topic: &str, partition: u32, from: u64) -> Result<(), LogError> {
    let from = i64::try_from(from).map_err(|_| LogError::Lost { partition, from })?;
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, partition_number(partition), Offset::Offset(from))
        .and_then(|()| consumer.assign(&assignment))
        .map_err(|error| unavailable(&error))
}

/// Ends when nobody listens any more or the consumer cannot go on.
fn run(
    consumer: &BaseConsumer,
    partition: u32,
    from: u64,
    sender: &mpsc::Sender<Result<Records, LogError>>,
) {
    let mut next = from;
    while !sender.is_closed() {
        match poll_batch(consumer) {
            Ok(batch) if batch.is_empty() => {}
            Ok(batch) => {
                next = batch.last().map_or(next, |(offset, _)| offset + 1);
                if sender.blocking_send(Ok(batch)).is_err() {
                    return;
                }
            }
            Err(error) => {
                let error = describe(&error, partition, next);
                let _ = sender.blocking_send(Err(error)); // nobody listens: nothing to tell
                return;
            }
        }
    }
}

/// Waits for one record, then takes what has come already.
fn poll_batch(consumer: &BaseConsumer) -> Result<Records, KafkaError> {
    let mut batch = Vec::new();
    let mut wait = POLL;
    while batch.len() < MAX_BATCH {
        match consumer.poll(wait) {
            None => break,
            Some(Err(error)) if is_passing(&error) => {
                tracing::debug!(%error, "the consumer tries again by itself");
                break;
            }
            Some(Err(error)) => return Err(error),
            Some(Ok(message)) => batch.push(record(&message)),
        }
        wait = Duration::ZERO;
    }
    Ok(batch)
}

fn record(message: &impl Message) -> (u64, Bytes) {
    let offset = u64::try_from(message.offset()).expect("a record read has an offset");
    (offset, Bytes::copy_from_slice(message.payload().unwrap_or_default()))
}

/// Errors that librdkafka reports and goes on from.
fn is_passing(error: &KafkaError) -> bool {
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
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
            LogError::Lost { partition, from }
        }
        _ => unavailable(error),
    }
}
