//! The log in Kafka, through rdkafka.
//!
//! One producer per process. It is idempotent, which spares duplicates inside a session; nothing
//! rests on that. Readers are consumers without a group, each on its own thread. Everything that
//! blocks runs off the async threads.
//!
//! `acks=all` without fsync means: in the page cache of all in-sync replicas. With one replica
//! that survives `kill -9` of the broker, not a power cut; see the README on replication.

mod client;
mod delivery;
mod feed;
mod generation;
mod lookup;
mod options;
mod producer;
mod reader;
mod slots;
mod table;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::producer::Producer as _;
use seckill_proto::Topics;
use tokio::sync::mpsc;

use crate::kafka::client::blocking;
use crate::kafka::feed::KafkaFeed;
use crate::kafka::generation::Word;
use crate::kafka::lookup::{Lookups, Place};
use crate::kafka::producer::Producer;
use crate::kafka::reader::KafkaReader;
use crate::kafka::topics::Missing;
use crate::{
    Appending, Delivery, Entries, FETCHED_AHEAD, Feed, Fetched, Group, Log, LogError, Membership,
    Reader, Table, Traced,
};

pub use options::{ClientOptions, OptionError};

/// The header of a record that belongs to a trace, by W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

/// Partitions of a new log, unless asked for otherwise.
pub const DEFAULT_PARTITIONS: u32 = 8;

/// How long one question to the broker may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// Where Kafka is, and how the topics are made when they do not exist yet.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// `HOST:PORT[,HOST:PORT...]`.
    pub brokers: String,
    /// How a process names itself to the broker, whose logs, metrics and quotas know it by that.
    pub client_id: String,
    /// Prefix of topic and group names; normally [`seckill_proto::DEFAULT_PREFIX`].
    pub prefix: String,
    /// For new topics; topics that exist must fit.
    pub partitions: Option<u32>,
    /// For new topics; absent leaves it to the broker's default.
    pub replication: Option<u16>,
    /// How long to wait for a broker at the start.
    pub connect_timeout: Duration,
    /// What the operator sets of each client.
    pub options: ClientOptions,
}

impl KafkaConfig {
    /// Settings for a broker with everything else at its default.
    #[must_use]
    pub fn new(brokers: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            client_id: "seckill".to_owned(),
            prefix: seckill_proto::DEFAULT_PREFIX.to_owned(),
            partitions: None,
            replication: None,
            connect_timeout: Duration::from_secs(30),
            options: ClientOptions::default(),
        }
    }
}

/// The log in Kafka.
pub struct KafkaLog {
    config: Arc<KafkaConfig>,
    topics: Arc<Topics>,
    producer: Arc<Producer>,
    lookups: Arc<Lookups>,
    partitions: u32,
    id: String,
    feed: Arc<KafkaFeed>,
}

impl KafkaLog {
    /// Connects, and creates the topics where they do not exist.
    ///
    /// # Errors
    /// No broker answers in time, or topics exist that do not fit.
    pub async fn connect(config: KafkaConfig) -> Result<Self, LogError> {
        Self::with(config, Missing::Create).await
    }

    /// Connects to a log that exists, and creates nothing.
    ///
    /// # Errors
    /// [`LogError::NoTopic`], and as [`KafkaLog::connect`].
    pub async fn open(config: KafkaConfig) -> Result<Self, LogError> {
        Self::with(config, Missing::Refuse).await
    }

    async fn with(config: KafkaConfig, missing: Missing) -> Result<Self, LogError> {
        let config = Arc::new(config);
        let topics = Arc::new(Topics::under(&config.prefix));
        let partitions = topics::ensure(&config, &topics, missing).await?;
        let (for_producer, known) = (Arc::clone(&config), topics.events.clone());
        let producer = blocking(move || Producer::connect(for_producer, &known)).await?;
        let producer = Arc::new(producer);
        let feed = Arc::new(KafkaFeed::new(&config, &topics.coupons));
        let handle = producer.handle();
        let cluster = blocking(move || Ok(handle.client().fetch_cluster_id(ASK_TIMEOUT))).await?;
        let nameless = || LogError::Unavailable("the cluster does not say its id".to_owned());
        let id = format!("{}/{}", cluster.ok_or_else(nameless)?, config.prefix);
        let lookups = Arc::new(Lookups::new(Arc::clone(&config)));
        Ok(Self { config, topics, producer, lookups, partitions, id, feed })
    }

    fn table_topic(&self, table: Table) -> &str {
        match table {
            Table::Snapshots => &self.topics.snapshots,
            Table::Owners => &self.topics.owners,
        }
    }
}

#[async_trait]
impl Log for KafkaLog {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn append(&self, partition: u32, records: Vec<Vec<u8>>) -> Appending {
        self.append_traced(partition, records, Traced::default())
    }

    fn append_traced(&self, partition: u32, records: Vec<Vec<u8>>, traced: Traced) -> Appending {
        self.producer.append(&self.topics.events, partition, &records, &traced)
    }

    async fn end(&self, partition: u32) -> Result<u64, LogError> {
        let (producer, topic) = (self.producer.handle(), self.topics.events.clone());
        blocking(move || {
            let partition = client::partition_number(partition);
            let (_, end) = client::watermarks(producer.client(), &topic, partition)?;
            u64::try_from(end).map_err(|_| LogError::Unavailable("no end of the log yet".into()))
        })
        .await
    }

    async fn read(&self, partition: u32, from: u64) -> Result<Box<dyn Reader>, LogError> {
        let (config, topic) = (Arc::clone(&self.config), self.topics.events.clone());
        let reader = move || KafkaReader::start(&config, topic, partition, from);
        Ok(Box::new(blocking(reader).await?))
    }

    async fn record(&self, partition: u32, offset: u64) -> Result<Option<Bytes>, LogError> {
        let lookups = Arc::clone(&self.lookups);
        let topic = self.topics.events.clone();
        let read = move || lookups.record(&Place { topic: &topic, partition }, offset);
        blocking(read).await
    }

    async fn put(&self, table: Table, partition: u32, entries: Entries) -> Result<(), LogError> {
        let topic = self.table_topic(table);
        let deliveries = self.producer.put(topic, partition, &entries).deliveries().await;
        if deliveries.contains(&Delivery::Unknown) {
            return Err(LogError::Unavailable(format!("{topic} could not be written")));
        }
        Ok(())
    }

    async fn scan(&self, table: Table, partition: u32) -> Result<Entries, LogError> {
        let lookups = Arc::clone(&self.lookups);
        let topic = self.table_topic(table).to_owned();
        let scan = move || table::scan(&lookups, &Place { topic: &topic, partition });
        blocking(scan).await
    }

    fn fetch(&self, table: Table, partition: u32, keys: Vec<String>) -> Fetched {
        let (sender, fetched) = mpsc::channel(FETCHED_AHEAD);
        let lookups = Arc::clone(&self.lookups);
        let topic = self.table_topic(table).to_owned();
        tokio::task::spawn_blocking(move || {
            let (keys, place) = (keys.into_iter().collect(), Place { topic: &topic, partition });
            if let Err(error) = table::fetch(&lookups, &place, &keys, &sender) {
                let _ = sender.blocking_send(Err(error)); // nobody may be reading
            }
        });
        fetched
    }

    async fn delete(
        &self,
        table: Table,
        partition: u32,
        keys: Vec<String>,
    ) -> Result<(), LogError> {
        let topic = self.table_topic(table);
        let deliveries = self.producer.delete(topic, partition, &keys).deliveries().await;
        if deliveries.contains(&Delivery::Unknown) {
            return Err(LogError::Unavailable(format!("{topic} could not be written")));
        }
        Ok(())
    }

    fn feed(&self) -> Arc<dyn Feed> {
        Arc::clone(&self.feed) as Arc<dyn Feed>
    }

    async fn time_ms(&self) -> Result<Option<i64>, LogError> {
        let told = self.producer.time_ms(&self.topics.owners, "time").await;
        let silent = || LogError::Unavailable("the broker does not say what time it is".to_owned());
        told.map(Some).ok_or_else(silent)
    }

    async fn join(&self, group: Group) -> Result<Membership, LogError> {
        let (producer, lookups) = (Arc::clone(&self.producer), Arc::clone(&self.lookups));
        let word = Word { producer, lookups, topic: self.topics.owners.clone(), group };
        let generation = word.follow().await;
        let (config, topics) = (Arc::clone(&self.config), self.topics.clone());
        blocking(move || slots::join(&config, topics, group, generation)).await
    }
}
