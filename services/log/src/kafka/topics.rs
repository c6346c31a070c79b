//! The topics: made when they are missing, checked when they are there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigEntry, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use seckill_proto::Topics;

use crate::LogError;
use crate::kafka::client::{base, blocking, unavailable};
use crate::kafka::{ASK_TIMEOUT, DEFAULT_PARTITIONS, KafkaConfig};

type Admin = AdminClient<DefaultClientContext>;

const RETRY: Duration = Duration::from_millis(200);

/// What to do where topics are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Create,
    Refuse,
}

/// The partition count of the log, once all topics exist.
pub(super) async fn ensure(
    config: &Arc<KafkaConfig>,
    topics: &Arc<Topics>,
    missing: Missing,
) -> Result<u32, LogError> {
    let deadline = Instant::now() + config.connect_timeout;
    let mut admin = connect(config).await?;
    let mut said = String::new();
    loop {
        let error = match attempt(config, topics, &admin, missing).await {
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
    missing: Missing,
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
    let fed = partition_count(&metadata, &topics.coupons).is_some();
    if all_led(&metadata, topics, partitions)? && (fed || missing == Missing::Refuse) {
        assert_kept(admin, &metadata, &topics.events).await?;
        return Ok(Some(partitions));
    }
    match (missing, found) {
        (Missing::Create, _) => create(config, topics, admin, partitions).await?,
        (Missing::Refuse, None) => {
            let (topic, brokers) = (topics.events.clone(), config.brokers.clone());
            return Err(LogError::NoTopic { topic, brokers });
        }
        (Missing::Refuse, Some(_)) => {} // being made at this moment
    }
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

/// What a topic that forgets events is set to, and what it must be.
const KEPT: [(&str, &str); 3] =
    [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];

/// Refuses a topic that forgets its records, made or changed by somebody: nothing could be gone on with.
pub(super) async fn assert_keeps(config: &Arc<KafkaConfig>, topic: &str) -> Result<(), LogError> {
    settings_of(&*connect(config).await?, topic).await.map(drop)
}

/// The settings of a topic that keeps its records; none where Kafka does not tell.
async fn settings_of(
    admin: &Admin,
    topic: &str,
) -> Result<Option<HashMap<String, String>>, LogError> {
    let options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT));
    let described = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await;
    let described = described.map_err(|error| unavailable(&error))?.pop();
    let settings = match described {
        Some(Ok(resource)) => resource.entry_map().into_iter().map(setting).collect(),
        Some(Err(code)) => {
            tracing::warn!(%code, topic, "Kafka does not tell whether the topic keeps its records for ever");
            return Ok(None);
        }
        None => HashMap::new(),
    };
    assert_settings(topic, &settings)?;
    Ok(Some(settings))
}

async fn assert_kept(admin: &Admin, metadata: &Metadata, events: &str) -> Result<(), LogError> {
    let Some(settings) = settings_of(admin, events).await? else { return Ok(()) };
    let in_sync = settings.get("min.insync.replicas").map(String::as_str);
    if replicas(metadata, events) > 1 && in_sync == Some("1") {
        tracing::warn!(
            events,
            "min.insync.replicas is 1: an answer may be durable on one broker alone; set it to a majority"
        );
    }
    Ok(())
}

fn setting((name, entry): (&str, &ConfigEntry)) -> (String, String) {
    (name.to_owned(), entry.value.clone().unwrap_or_default())
}

fn assert_settings(topic: &str, settings: &HashMap<String, String>) -> Result<(), LogError> {
    let differs = |(name, kept): &(&str, &str)| settings.get(*name).is_some_and(|set| set != kept);
    let wrong: Vec<_> = KEPT.into_iter().filter(differs).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let is: Vec<_> = wrong.iter().map(|(name, _)| format!("{name}={}", settings[*name])).collect();
    let set: Vec<_> = wrong.iter().map(|(name, kept)| format!("{name}={kept}")).collect();
    Err(LogError::Broken(format!(
        "topic {topic} has {}, so Kafka would delete records that must stay: it is not used. Set it first: \
         kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {}",
        is.join(" "),
        set.join(",")
    )))
}

fn replicas(metadata: &Metadata, topic: &str) -> usize {
    let topic = metadata.topics().iter().find(|found| found.name() == topic);
    let partitions = topic.into_iter().flat_map(|topic| topic.partitions());
    partitions.map(|partition| partition.replicas().len()).min().unwrap_or_default()
}

/// Of several copies a majority must have a record before it counts as written.
fn in_sync(replicas: u16) -> Option<u16> {
    (replicas > 1).then_some(replicas / 2 + 1)
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
    let in_sync = config.replication.and_then(in_sync).map(|replicas| replicas.to_string());
    let topic = |name| {
        let partitions = if name == topics.coupons { 1 } else { partitions };
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
        // Dated by the broker: it refuses what a client dates an hour ahead.
        let topic = topic.set("message.timestamp.type", "LogAppendTime");
        in_sync
            .as_deref()
            .into_iter()
            .fold(topic, |topic, in_sync| topic.set("min.insync.replicas", in_sync))
    };
    // Kept for ever: the log is the truth, and a reader of its beginning must find it.
    let kept = |name| {
        topic(name)
            .set("cleanup.policy", "delete")
            .set("retention.ms", "-1")
            .set("retention.bytes", "-1")
            .set("unclean.leader.election.enable", "false")
    };
    let compacted = |name, segment_bytes| {
        topic(name)
            .set("cleanup.policy", "compact")
            .set("segment.bytes", segment_bytes)
            .set("min.cleanable.dirty.ratio", "0.2")
    };
    let wanted = [
        kept(&topics.events),
        compacted(&topics.snapshots, "33554432"),
        // Tells the broker's time: see `time_ms`. What it proves of the events must outlast a power cut
        // that they do not; it is written once a second.
        // Every takeover reads all of it, and what is written last is never compacted.
        compacted(&topics.owners, "1048576").set("flush.messages", "1"),
        topic(&topics.slots),
        // What its readers have seen must outlast a power cut, as its progress does.
        kept(&topics.coupons).set("flush.messages", "1"),
    ];
    create_all(admin, &wanted).await
}

async fn create_all(admin: &Admin, wanted: &[NewTopic<'_>]) -> Result<(), LogError> {
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(5)));
    let results =
        admin.create_topics(wanted, &options).await.map_err(|error| unavailable(&error))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_several_copies_must_be_in_sync() {
        assert_eq!([1, 2, 3, 4, 5].map(in_sync), [None, Some(2), Some(2), Some(3), Some(3)]);
    }

    #[test]
    fn a_topic_that_forgets_is_refused_with_the_way_out() {
        let with = |name: &str, value: &str| {
            let mut settings: HashMap<_, _> =
                KEPT.map(|(name, kept)| (name.to_owned(), kept.to_owned())).into();
            settings.insert(name.to_owned(), value.to_owned());
            assert_settings("t.events", &settings)
        };
        assert!(with("retention.ms", "-1").is_ok());
        for (name, value) in [
            ("retention.ms", "604800000"),
            ("retention.bytes", "1000"),
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "compact,delete"),
        ] {
            let error = with(name, value).expect_err(value).to_string();
            assert!(error.contains(&format!("t.events has {name}={value}")), "{error}");
            assert!(error.contains("--alter"), "{error}");
        }
    }
}
