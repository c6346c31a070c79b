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
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Message, OwnedHeaders};
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
/// A transaction that has not ended by then is open for good.
const ENDED_WITHIN: Duration = Duration::from_secs(5);
/// The key of a record without a value, which is there only to be in a transaction that ends another one.
const END_KEY: &str = "seckill-end";
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
            end_what_is_open(&producer, &config, &topic)?;
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

/// Sees to it that nothing of an earlier writer is open: readers would not come past it. The broker answers whoever takes
/// over after it has ended that. But Kafka (4.3.1) takes a transaction for ended without having written so where the
/// partition has no leader in that moment, as after the broker stood still; then it is open for good. It has the
/// same producer as the next transaction, whose end is the end of both.
fn end_what_is_open(producer: &Handle, config: &KafkaConfig, topic: &str) -> Result<(), LogError> {
    let Some(open) = open_from(config, topic)? else { return Ok(()) };
    if !has_end(&consumer(config, "read_uncommitted")?, topic, open)? {
        tracing::warn!(topic, open, "the broker has left a transaction open, which is ended now");
        let ended = producer
            .begin_transaction()
            .and_then(|()| {
                let end = BaseRecord::<_, [u8]>::to(topic).partition(PARTITION).key(END_KEY);
                producer.send(end).map_err(|(error, _)| error)
            })
            .and_then(|()| producer.commit_transaction(STEP_TIMEOUT));
        ended.map_err(|error| unavailable(&error))?;
    }
    let Some(open) = open_from(config, topic)? else { return Ok(()) };
    Err(LogError::Unavailable(format!(
        "a transaction in {topic} that begins at offset {open} is not ended; `kafka-transactions.sh abort --topic \
         {topic} --partition 0 --start-offset {open}` ends it"
    )))
}

/// Where what is open begins, if it does not end within some time.
fn open_from(config: &KafkaConfig, topic: &str) -> Result<Option<u64>, LogError> {
    let (all, committed) = (consumer(config, "read_uncommitted")?, consumer(config, COMMITTED)?);
    let deadline = Instant::now() + ENDED_WITHIN;
    loop {
        let (written, open) = (end(&all, topic)?, end(&committed, topic)?);
        if open >= written {
            return Ok(None);
        }
        if Instant::now() > deadline {
            return Ok(Some(open));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Whether what is open has been ended before, in vain: it is somebody else's.
fn has_end(consumer: &FeedConsumer, topic: &str, open: u64) -> Result<bool, LogError> {
    let mut found = false;
    each(consumer, topic, open, &mut |message| {
        found |= is_end(message);
        !found
    })?;
    Ok(found)
}

fn is_end(message: &impl Message) -> bool {
    message.payload().is_none() && message.key() == Some(END_KEY.as_bytes())
}

fn end(consumer: &FeedConsumer, topic: &str) -> Result<u64, LogError> {
    let (_, end) = watermarks(consumer.client(), topic, PARTITION)?;
    u64::try_from(end).map_err(|_| LogError::Unavailable("no end of the feed yet".into()))
}

fn read(consumer: &FeedConsumer, topic: &str, from: u64, limit: usize) -> Result<Fed, LogError> {
    let mut fed = Fed::new();
    if from < end(consumer, topic)? {
        each(consumer, topic, from, &mut |message| {
            if !is_end(message) {
                fed.push(record(message));
            }
            fed.len() < limit
        })?;
    }
    Ok(fed)
}

/// Gives the records from an offset on, as long as more are wanted.
fn each(
    consumer: &FeedConsumer,
    topic: &str,
    from: u64,
    more: &mut dyn FnMut(&BorrowedMessage<'_>) -> bool,
) -> Result<(), LogError> {
    assign(consumer, topic, from)?;
    let mut moved = Instant::now();
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) if is_lost(&error) => {
                return Err(LogError::Lost { partition: 0, from });
            }
            Some(Err(error)) => tracing::debug!(%error, topic, "the consumer tries again"),
            Some(Ok(message)) => {
                if !more(&message) {
                    return Ok(());
                }
                moved = Instant::now();
            }
        }
        if moved.elapsed() > READ_TIMEOUT {
            return Err(LogError::Unavailable(format!("{topic} cannot be read")));
        }
    }
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
