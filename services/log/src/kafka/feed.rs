//! The feed in Kafka: a topic of one partition, written in transactions.
//!
//! Taking over gives the transactional id a new epoch. The broker ends what an earlier holder of it has
//! begun, and refuses whatever that one still sends; so of two processes that both think they write the
//! feed one can, and none of their records is there twice for readers of what is committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer,
};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::kafka::KafkaConfig;
use crate::kafka::client::{base, blocking, unavailable, watermarks};
use crate::kafka::topics::assert_keeps;
use crate::{Fed, Feed, FeedRecord, FeedWriter, LogError};

const PARTITION: i32 = 0;
/// How long a step of a transaction may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// After which the broker ends the transaction of a writer that is gone: until then nobody reads on.
const TRANSACTION_TIMEOUT_MS: &str = "10000";
/// How long records that are there may take to come.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Whether a transaction has ended is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Readers see what is committed, up to the first transaction that is not ended.
const COMMITTED: &str = "read_committed";

pub(super) struct KafkaFeed {
    config: Arc<KafkaConfig>,
    topic: String,
}

impl KafkaFeed {
    pub(super) fn new(config: &Arc<KafkaConfig>, topic: &str) -> Self {
        Self { config: Arc::clone(config), topic: topic.to_owned() }
    }

    async fn consume<T: Send + 'static>(
        &self,
        call: impl FnOnce(&FeedConsumer, &str) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let (config, topic) = (Arc::clone(&self.config), self.topic.clone());
        blocking(move || call(&consumer(&config, COMMITTED)?, &topic)).await
    }
}

#[async_trait]
impl Feed for KafkaFeed {
    async fn take_over(&self) -> Result<Box<dyn FeedWriter>, LogError> {
        assert_keeps(&self.config, &self.topic).await?;
        let (config, topic) = (Arc::clone(&self.config), self.topic.clone());
        let producer = blocking(move || {
            let producer: Handle = base(&config)
                .set("transactional.id", &topic)
                .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS)
                .set("linger.ms", "0")
                .create_with_context(Written::default())
                .map_err(|error| unavailable(&error))?;
            producer.init_transactions(STEP_TIMEOUT).map_err(|error| unavailable(&error))?;
            assert_ended(&config, &topic)?;
            Ok(producer)
        });
        let producer = Some(Arc::new(producer.await?));
        Ok(Box::new(Writer { producer, topic: self.topic.clone() }))
    }

    async fn end(&self) -> Result<u64, LogError> {
        self.consume(end).await
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Fed, LogError> {
        self.consume(move |consumer, topic| read(consumer, topic, from, limit)).await
    }
}

type FeedConsumer = BaseConsumer<Quiet>;

/// The end of a partition is no error.
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the consumer of the feed has an error");
    }
}

impl ConsumerContext for Quiet {}

/// It says where what it reads ends.
fn consumer(config: &KafkaConfig, isolation: &str) -> Result<FeedConsumer, LogError> {
    base(config)
        .set("group.id", format!("{}.unused", config.prefix))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", isolation)
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "10")
        .create_with_context(Quiet)
        .map_err(|error| unavailable(&error))
}

/// Nothing of an earlier writer is open: it would be committed together with what is written next, as both
/// have the same transactional id. The broker answers whoever takes over after it has ended that; this looks
/// whether it has.
fn assert_ended(config: &KafkaConfig, topic: &str) -> Result<(), LogError> {
    let (all, committed) = (consumer(config, "read_uncommitted")?, consumer(config, COMMITTED)?);
    let deadline = Instant::now() + STEP_TIMEOUT;
    loop {
        let (written, open) = (end(&all, topic)?, end(&committed, topic)?);
        if open >= written {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(LogError::Unavailable(format!(
                "a transaction in {topic} that begins at offset {open} is not ended; `kafka-transactions.sh \
                 abort --topic {topic} --partition 0 --start-offset {open}` ends it"
            )));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn end(consumer: &FeedConsumer, topic: &str) -> Result<u64, LogError> {
    let (_, end) = watermarks(consumer.client(), topic, PARTITION)?;
    u64::try_from(end).map_err(|_| LogError::Unavailable("no end of the feed yet".into()))
}

fn read(consumer: &FeedConsumer, topic: &str, from: u64, limit: usize) -> Result<Fed, LogError> {
    if from >= end(consumer, topic)? {
        return Ok(Vec::new());
    }
    assign(consumer, topic, from)?;
    let (mut fed, mut moved) = (Fed::new(), Instant::now());
    while fed.len() < limit {
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) if is_lost(&error) => {
                return Err(LogError::Lost { partition: 0, from });
            }
            Some(Err(error)) => tracing::debug!(%error, topic, "the consumer tries again"),
            Some(Ok(message)) => {
                fed.push(record(&message));
                moved = Instant::now();
            }
        }
        if moved.elapsed() > READ_TIMEOUT {
            return Err(LogError::Unavailable(format!("{topic} cannot be read")));
        }
    }
    Ok(fed)
}

fn assign(consumer: &FeedConsumer, topic: &str, from: u64) -> Result<(), LogError> {
    let begin = i64::try_from(from).map_err(|_| LogError::Lost { partition: 0, from })?;
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, PARTITION, Offset::Offset(begin))
        .and_then(|()| consumer.assign(&assignment))
        .map_err(|error| unavailable(&error))
}

fn record(message: &impl Message) -> (u64, Bytes) {
    let offset = u64::try_from(message.offset()).expect("a record read has an offset");
    (offset, Bytes::copy_from_slice(message.payload().unwrap_or_default()))
}

fn is_lost(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
    )
}

type Handle = ThreadedProducer<Written>;

/// The offset after the last record that the broker took.
#[derive(Default)]
struct Written(AtomicI64);

impl ClientContext for Written {}

impl ProducerContext<NoCustomPartitioner> for Written {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Ok(message) = result {
            self.0.fetch_max(message.offset() + 1, Ordering::AcqRel);
        }
    }
}

struct Writer {
    /// None once it is lost.
    producer: Option<Arc<Handle>>,
    topic: String,
}

#[async_trait]
impl FeedWriter for Writer {
    async fn append(&mut self, records: Vec<FeedRecord>) -> Result<u64, LogError> {
        let Some(producer) = self.producer.clone() else {
            return Err(LogError::Unavailable("another process writes the feed".to_owned()));
        };
        let topic = self.topic.clone();
        let written = blocking(move || {
            write(&producer, &topic, &records).map_err(|error| unavailable(&error))
        });
        let written = written.await;
        if written.is_err() {
            self.close();
        }
        written
    }
}

impl Writer {
    /// Dropping a producer takes its time.
    fn close(&mut self) {
        let producer = self.producer.take();
        drop(tokio::task::spawn_blocking(move || drop(producer)));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.producer.is_some() && tokio::runtime::Handle::try_current().is_ok() {
            self.close();
        }
    }
}

fn write(producer: &Handle, topic: &str, records: &[FeedRecord]) -> Result<u64, KafkaError> {
    producer.begin_transaction()?;
    let written = records.iter().try_for_each(|record| send(producer, topic, record));
    let committed = written.and_then(|()| producer.commit_transaction(STEP_TIMEOUT));
    if committed.is_err() {
        // Whether or not it comes to that: whoever takes over next ends it.
        let _ = producer.abort_transaction(STEP_TIMEOUT);
    }
    // All of them are reported by now.
    let end = producer.context().0.load(Ordering::Acquire);
    committed.map(|()| u64::try_from(end).unwrap_or_default())
}

fn send(producer: &Handle, topic: &str, record: &FeedRecord) -> Result<(), KafkaError> {
    let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    });
    let message = BaseRecord::to(topic).partition(PARTITION).key(&record.key);
    let message = message.payload(&record.value).headers(headers);
    producer.send(message).map_err(|(error, _)| error)
}
