//! Kafka on three brokers, each record in three copies: any one broker may go, the group's coordinator and the
//! controller among them.

use std::time::Duration;

use crate::alone;
use crate::system::crowd::RunningCrowd;
use crate::system::engine::Engine;
use crate::system::{Engines, System, fresh_name};

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
