//! The topics: made when they are missing, checked when they are there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use seckill_proto::Topics;

use crate::LogError;
use crate::kafka::client::{base, blocking, unavailable};
use crate::kafka::{ASK_TIMEOUT, DEFAULT_PARTITIONS, KafkaConfig};

type Admin = AdminClient<DefaultClientContext>;

const RETRY: Duration = Duration::from_millis(200);

/// The partition count of the log, once all topics exist.
pub(super) async fn ensure(
    config: &Arc<KafkaConfig>,
    topics: &Arc<Topics>,
) -> Result<u32, LogError> {
    let deadline = Instant::now() + config.connect_timeout;
    let mut admin = connect(config).await?;
    let mut said = String::new();
    loop {
        let error = match attempt(config, topics, &admin).await {
            Ok(Some(partitions)) => return Ok(partitions),
            Ok(None) => LogError::Unavailable("the topics have no leaders yet".into()),
            Err(error) if error.is_retryable() => error,
            Err(error) => return Err(error),
        };
        if error.to_string() != said {
            tracing::warn!(%error, brokers = config.brokers, "waiting for Kafka");
            said = error.to_string();
        }
        if Instant::now() >= deadline {
            return Err(LogError::Unavailable(format!("Kafka at {}: {error}", config.brokers)));
        }
        tokio::time::sleep(RETRY).await;
        admin = connect(config).await?; // a client may be lost for good
    }
}

async fn connect(config: &Arc<KafkaConfig>) -> Result<Arc<Admin>, LogError> {
    let config = Arc::clone(config);
    let create = move || base(&config).create().map_err(|error| unavailable(&error));
    Ok(Arc::new(blocking(create).await?))
}

async fn attempt(
    config: &Arc<KafkaConfig>,
    topics: &Arc<Topics>,
    admin: &Arc<Admin>,
) -> Result<Option<u32>, LogError> {
    let metadata = fetch(admin).await?;
    let found = partition_count(&metadata, &topics.events);
    let partitions = match (found, config.partitions) {
        (Some(found), Some(asked)) if found != asked => {
            return Err(LogError::OtherPartitions { found, asked });
        }
        (Some(found), _) => found,
        (None, asked) => asked.unwrap_or(DEFAULT_PARTITIONS),
    };
    if all_led(&metadata, topics, partitions)? {
        return Ok(Some(partitions));
    }
    create(config, topics, admin, partitions).await?;
    Ok(None)
}

async fn fetch(admin: &Arc<Admin>) -> Result<Metadata, LogError> {
    let admin = Arc::clone(admin);
    let ask = move || {
        admin.inner().fetch_metadata(None, ASK_TIMEOUT).map_err(|error| unavailable(&error))
    };
    blocking(ask).await
}

fn partition_count(metadata: &Metadata, topic: &str) -> Option<u32> {
    let topic = metadata.topics().iter().find(|found| found.name() == topic)?;
    u32::try_from(topic.partitions().len()).ok().filter(|partitions| *partitions > 0)
}

fn all_led(metadata: &Metadata, topics: &Topics, partitions: u32) -> Result<bool, LogError> {
    for name in [&topics.events, &topics.snapshots, &topics.owners, &topics.slots] {
        match partition_count(metadata, name) {
            None => return Ok(false),
            Some(found) if found != partitions => {
                return Err(LogError::Broken(format!(
                    "topic {name} has {found} partitions, {} has {partitions}",
                    topics.events
                )));
            }
            Some(_) => {}
        }
        let leaders = metadata.topics().iter().filter(|topic| topic.name() == name.as_str());
        if leaders.flat_map(|topic| topic.partitions()).any(|partition| partition.leader() < 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn create(
    config: &KafkaConfig,
    topics: &Topics,
    admin: &Admin,
    partitions: u32,
) -> Result<(), LogError> {
    let partitions = i32::try_from(partitions)
        .map_err(|_| LogError::Broken("Kafka takes no more than 2147483647 partitions".into()))?;
    let replication = config.replication.map_or(-1, i32::from);
    let topic = |name| NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
    // Kept for ever: the log is the truth, and a reader of its beginning must find it.
    let kept = |name| {
        topic(name)
            .set("cleanup.policy", "delete")
            .set("retention.ms", "-1")
            .set("retention.bytes", "-1")
            .set("unclean.leader.election.enable", "false")
    };
    let compacted = |name| {
        topic(name)
            .set("cleanup.policy", "compact")
            .set("segment.bytes", "33554432")
            .set("min.cleanable.dirty.ratio", "0.2")
    };
    let wanted = [
        kept(&topics.events),
        compacted(&topics.snapshots),
        // Tells the broker's time: see `time_ms`.
        compacted(&topics.owners).set("message.timestamp.type", "LogAppendTime"),
        topic(&topics.slots),
    ];
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(5)));
    let results =
        admin.create_topics(&wanted, &options).await.map_err(|error| unavailable(&error))?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                return Err(LogError::Unavailable(format!("topic {name}: {code}")));
            }
        }
    }
    Ok(())
}
