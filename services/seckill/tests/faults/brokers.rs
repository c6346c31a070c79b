//! Kafka on three brokers, each record in three copies: any one broker may go, the group's coordinator and the
//! controller among them.

use std::time::Duration;

use seckill_log::kafka::{KafkaConfig, KafkaLog};
use seckill_log::{Log as _, LogError, Table};

use crate::alone;
use crate::system::crowd::RunningCrowd;
use crate::system::engine::Engine;
use crate::system::{Engines, System, eventually, fresh_name};

const BROKERS: u16 = 3;
const COUPONS: u32 = 5_000_000;
/// How long a crowd may be turned away while a broker is replaced.
const WITHIN: Duration = Duration::from_secs(60);
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_broker_of_three_may_be_killed_and_stand_still() {
    let _alone = alone().await;
    let kafka = Engine::brokers(21_692, BROKERS);
    let name = fresh_name();
    let engines = Engines::Kafka { kafka: kafka.address(), name: name.clone() };
    let mut sale = System::closed(engines).with(&["--kafka-replication", "3"]);
    sale.start().await;
    let told = kafka.tool(TOPICS, &["--describe", "--topic", &format!("{name}.events")]);
    assert!(
        told.contains("ReplicationFactor: 3") && told.contains("min.insync.replicas=2"),
        "{told}"
    );

    let crowd = RunningCrowd::come_on_record(&sale, COUPONS).await;
    for broker in 1..=BROKERS {
        crowd.more(200, WITHIN).await;
        kafka.signal_one(broker, "KILL");
        crowd.more(200, WITHIN).await;
        kafka.up_one(broker);
        crowd.more(200, WITHIN).await;
        kafka.signal_one(broker, "STOP");
        crowd.more(200, WITHIN).await;
        kafka.signal_one(broker, "CONT");
    }
    crowd.more(200, WITHIN).await;
    crowd.leave().await;
    sale.stop();
    sale.assert_kept_its_word();
}

/// Where every partition ends.
async fn ends(log: &KafkaLog) -> Result<(), LogError> {
    for partition in 0..log.partitions() {
        log.end(partition).await?;
    }
    Ok(())
}

/// Writes to the table of owners, in every partition.
async fn mark(log: &KafkaLog) -> Result<(), LogError> {
    for partition in 0..log.partitions() {
        let mark = vec![("mark".to_owned(), "of a projector".into())];
        log.put(Table::Owners, partition, mark).await?;
    }
    Ok(())
}

/// As a projector asks, which writes to the table of owners and not to the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_partition_ends_is_known_soon_after_its_leader_is_gone() {
    let _alone = alone().await;
    let kafka = Engine::brokers(21_692, BROKERS);
    let config = KafkaConfig {
        prefix: fresh_name(),
        partitions: Some(u32::from(BROKERS)),
        replication: Some(BROKERS),
        ..KafkaConfig::new(&kafka.address())
    };
    let log = KafkaLog::connect(config).await.expect("a log");
    ends(&log).await.expect("the ends");
    kafka.signal_one(2, "KILL");
    eventually("others lead the table of owners", WITHIN, async || mark(&log).await.is_ok()).await;
    let soon = Duration::from_secs(20);
    eventually("the ends are known", soon, async || ends(&log).await.is_ok()).await;
}
