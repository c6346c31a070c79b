//! The real engines die, stand still and come back in the middle of a sale.

use std::time::Duration;

use crate::alone;
use crate::system::crowd::RunningCrowd;
use crate::system::engine::Engine;
use crate::system::{Engines, System, eventually, fresh_name};

const COUPONS: u32 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(90);
/// Longer than a record may try to be written, so that its outcome becomes unknown.
const STANDSTILL: Duration = Duration::from_secs(6);

/// Nobody is told a wrong thing while the broker is gone, and everything goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_killed_and_then_stands_still() {
    let _alone = alone().await;
    let broker = Engine::kafka(19_192);
    let engines = Engines::Kafka { kafka: broker.address(), name: fresh_name() };
    let mut sale = System::open(engines).await;
    let crowd = RunningCrowd::come_on_record(&sale, COUPONS).await;
    crowd.more(500, PATIENCE).await;

    broker.kill();
    crowd.one_more_turned_away(PATIENCE).await;
    eventually("the system says so", PATIENCE, async || !sale.is_ready().await).await;
    broker.up();
    crowd.more(500, PATIENCE).await;
    sale.ready(PATIENCE).await;

    broker.signal("STOP");
    crowd.one_more_turned_away(PATIENCE).await;
    tokio::time::sleep(STANDSTILL).await; // the outage itself, not a wait for something
    broker.signal("CONT");
    crowd.more(500, PATIENCE).await;
    sale.ready(PATIENCE).await;

    crowd.leave().await;
    sale.stop();
    sale.assert_kept_its_word();
}

/// Grabs do not need the views; the views lose nothing, not even what they had acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_killed() {
    let _alone = alone().await;
    let database = Engine::cql(19_292);
    let kafka = std::env::var("SECKILL_TEST_KAFKA").expect("SECKILL_TEST_KAFKA must be set");
    let engines = Engines::Real { kafka, cql: database.address(), name: fresh_name() };
    let mut sale = System::open(engines).await;
    let crowd = RunningCrowd::come_on_record(&sale, COUPONS).await;
    crowd.more(500, PATIENCE).await;

    database.kill();
    crowd.more(200, PATIENCE).await;
    eventually("reads are refused", PATIENCE, async || {
        sale.get("/v1/promotions").await.status == 503
    })
    .await;
    database.up();
    crowd.more(200, PATIENCE).await;
    sale.ready(PATIENCE).await;
    assert_eq!(crowd.turned_away(), 0, "no grab was turned away");

    crowd.leave().await;
    sale.stop();
    sale.assert_kept_its_word();
}
