//! The Kafka engine, against a real broker: `SECKILL_TEST_KAFKA=HOST:PORT`.
#![cfg(feature = "real-engines")]

mod conformance;

use std::sync::Arc;
use std::time::Duration;

use conformance::AnyLog;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use seckill_log::kafka::{KafkaConfig, KafkaLog};
use seckill_log::{Log as _, LogError};

const WITHIN: Duration = Duration::from_secs(10);

fn config() -> KafkaConfig {
    let brokers = std::env::var("SECKILL_TEST_KAFKA")
        .expect("SECKILL_TEST_KAFKA must name a broker; deploy/local/test starts one");
    KafkaConfig {
        prefix: format!("test-{}", uuid::Uuid::new_v4()),
        partitions: Some(3),
        ..KafkaConfig::new(&brokers)
    }
}

async fn fresh() -> (AnyLog, ()) {
    let log = KafkaLog::connect(config()).await.expect("a broker at SECKILL_TEST_KAFKA");
    (Arc::new(log), ())
}

conformance!(fresh());

#[tokio::test]
async fn the_partition_count_is_read_back_and_cannot_change() {
    let config = config();
    drop(KafkaLog::connect(config.clone()).await.expect("a log"));
    let again = KafkaConfig { partitions: None, ..config.clone() };
    assert_eq!(KafkaLog::connect(again).await.expect("the same log").partitions(), 3);
    let other = KafkaConfig { partitions: Some(4), ..config };
    let error = KafkaLog::connect(other).await.map(|_| ()).expect_err("an error");
    assert!(matches!(error, LogError::OtherPartitions { found: 3, asked: 4 }), "{error}");
}

/// Kafka keeps records for a week unless told otherwise.
#[tokio::test]
async fn a_topic_that_forgets_is_refused() {
    let config = config();
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.brokers);
    let admin: AdminClient<DefaultClientContext> = client.create().expect("a client");
    let events = format!("{}.events", config.prefix);
    let topic = NewTopic::new(&events, 3, TopicReplication::Fixed(1));
    let made = admin.create_topics([&topic], &AdminOptions::new()).await.expect("an answer");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let refused = KafkaLog::connect(config.clone()).await.map(|_| ()).expect_err("an error");
    let said = refused.to_string();
    assert!(!refused.is_retryable() && said.contains("retention.ms="), "{said}");
    let kept = AlterConfig::new(ResourceSpecifier::Topic(&events)).set("retention.ms", "-1");
    let set = admin.alter_configs([&kept], &AdminOptions::new()).await.expect("an answer");
    assert!(set.iter().all(Result::is_ok), "{set:?}");
    drop(KafkaLog::connect(config).await.expect("a log that keeps its records"));
}

#[tokio::test]
async fn opening_creates_nothing() {
    let config = config();
    for _ in 0..2 {
        let error = KafkaLog::open(config.clone()).await.map(|_| ()).expect_err("an error");
        assert!(matches!(error, LogError::NoTopic { .. }), "{error}");
    }
    drop(KafkaLog::connect(config.clone()).await.expect("a log"));
    drop(KafkaLog::open(config).await.expect("the same log"));
}

/// Whatever the broker has left open: nothing is written behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_is_not_taken_over_before_what_is_open_in_it_is_ended() {
    let config = config();
    let log = KafkaLog::connect(config.clone()).await.expect("a log");
    let topic = format!("{}.coupons", config.prefix);
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("transactional.id", format!("{topic}.of-another"));
    let other: BaseProducer = client.create().expect("a producer");
    other.init_transactions(WITHIN).expect("a producer's epoch");
    other.begin_transaction().expect("begun");
    other.send(BaseRecord::<str, str>::to(&topic).payload("open")).expect("sent");
    other.flush(WITHIN).expect("written");
    let refused = log.feed().take_over().await.map(|_| ()).expect_err("it is open");
    assert!(refused.to_string().contains("--start-offset 0"), "{refused}");
    other.abort_transaction(WITHIN).expect("aborted");
    drop(log.feed().take_over().await.expect("nothing is open"));
}

#[tokio::test]
async fn the_broker_tells_its_time() {
    let log = KafkaLog::connect(config()).await.expect("a log");
    let since_epoch = std::time::UNIX_EPOCH.elapsed().expect("a time after 1970");
    let now_ms = i64::try_from(since_epoch.as_millis()).expect("a time before the far future");
    let told_ms = log.time_ms().await.expect("it says").expect("the broker's time");
    assert!((told_ms - now_ms).abs() < 10_000, "told {told_ms} at {now_ms}");
}
