//! Kafka under a prefix of the run's own, and a producer without an owner.

mod rival;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use seckill_log::kafka::{DEFAULT_PARTITIONS, KafkaConfig, KafkaLog};
use seckill_log::{Group, Log};
use seckill_proto::Topics;

pub(crate) use rival::ProducerRival;

use crate::record::Record;

const PATIENCE: Duration = Duration::from_secs(10);

/// Topics under a prefix that nobody else has.
pub(crate) struct KafkaEngine {
    brokers: String,
    prefix: String,
    partitions: u32,
}

impl KafkaEngine {
    pub(crate) fn new(brokers: &str, run: &str, partitions: Option<u32>) -> Self {
        Self {
            brokers: brokers.to_owned(),
            prefix: format!("seckill-bench-{run}"),
            partitions: partitions.unwrap_or(DEFAULT_PARTITIONS),
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!("Kafka at {} under {}", self.brokers, self.prefix)
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    pub(crate) fn events_topic(&self) -> String {
        Topics::under(&self.prefix).events
    }

    pub(crate) async fn log(&self) -> anyhow::Result<Arc<dyn Log>> {
        let config = KafkaConfig {
            prefix: self.prefix.clone(),
            partitions: Some(self.partitions),
            connect_timeout: PATIENCE,
            ..KafkaConfig::new(&self.brokers)
        };
        Ok(Arc::new(KafkaLog::connect(config).await?))
    }

    /// One for each linger, all in one topic beside the owner's: foreign records in the owner's
    /// own would depose it.
    pub(crate) async fn rivals(
        &self,
        lingers_ms: &[f64],
        in_flight: u32,
        records: Arc<Vec<Record>>,
    ) -> anyhow::Result<Vec<ProducerRival>> {
        self.create_raw_topic().await?;
        let rival = |linger_ms: &f64| ProducerRival {
            brokers: self.brokers.clone(),
            topic: self.raw_topic(),
            linger_ms: *linger_ms,
            in_flight: in_flight as usize,
            records: Arc::clone(&records),
        };
        Ok(lingers_ms.iter().map(rival).collect())
    }

    fn raw_topic(&self) -> String {
        format!("{}.raw", self.prefix)
    }

    async fn create_raw_topic(&self) -> anyhow::Result<()> {
        let (name, partitions) = (self.raw_topic(), i32::try_from(self.partitions)?);
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(-1));
        let results = self.admin()?.create_topics(&[topic], &options()).await?;
        for result in results {
            result.map_err(|(name, code)| anyhow::anyhow!("topic {name}: {code}"))?;
        }
        Ok(())
    }

    /// Deletes the topics and the group of this run.
    pub(crate) async fn clean_up(self) -> anyhow::Result<()> {
        let Topics { events, snapshots, owners, slots, coupons } = Topics::under(&self.prefix);
        let raw = self.raw_topic();
        let topics = [&events, &snapshots, &owners, &slots, &coupons, &raw].map(String::as_str);
        let admin = self.admin()?;
        let deleted = admin.delete_topics(&topics, &options()).await;
        let group = format!("{}.{}", self.prefix, Group::Command.name());
        let _ = admin.delete_groups(&[&group], &options()).await; // an empty group goes by itself
        for result in deleted.context("the topics could not be deleted")? {
            match result {
                // Interrupted before it was made.
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((name, code)) => bail!("topic {name} could not be deleted: {code}"),
            }
        }
        Ok(())
    }

    fn admin(&self) -> anyhow::Result<AdminClient<DefaultClientContext>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.create().context("no client for Kafka")
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}
