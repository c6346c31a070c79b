//! The Kafka engine, against a real broker: `SECKILL_TEST_KAFKA=HOST:PORT`.
#![cfg(feature = "real-engines")]

mod conformance;

use std::sync::Arc;

use conformance::AnyLog;
use seckill_log::kafka::{KafkaConfig, KafkaLog};
use seckill_log::{Log as _, LogError};

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

#[tokio::test]
async fn the_broker_tells_its_time() {
    let log = KafkaLog::connect(config()).await.expect("a log");
    let since_epoch = std::time::UNIX_EPOCH.elapsed().expect("a time after 1970");
    let now_ms = i64::try_from(since_epoch.as_millis()).expect("a time before the far future");
    let told_ms = log.time_ms().await.expect("the broker's time");
    assert!((told_ms - now_ms).abs() < 10_000, "told {told_ms} at {now_ms}");
}
