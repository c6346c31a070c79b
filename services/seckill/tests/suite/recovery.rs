//! `kill -9` in the middle of a sale, ten times in a row.

use std::time::Duration;

use crate::system::crowd::RunningCrowd;
use crate::system::{Engines, System};

const KILLS: usize = 10;
/// Enough that no round sells out before its kill, also where views are ready a second or two after the partition is
/// served again; the last round sells the rest.
const COUPONS: u32 = 100_000;
/// Every round is in the middle of its sale when it is killed.
const GRANTS_A_ROUND: u64 = 250;
const PATIENCE: Duration = Duration::from_secs(60);

async fn survive(engines: Engines) {
    let mut sale = System::open(engines).await;
    let crowd = RunningCrowd::come_on_record(&sale, COUPONS).await;
    let path = format!("/v1/promotions/{}", crowd.promotion());
    for _ in 0..KILLS {
        crowd.more(GRANTS_A_ROUND, PATIENCE).await;
        sale.kill();
        sale.start().await;
    }
    crowd.sold_out().await;
    let row = sale.get(&path).await.json;
    assert_eq!((&row["remaining"], &row["state"]), (&0.into(), &"sold_out".into()));
    sale.stop();
    sale.assert_kept_its_word();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_kills_in_a_row_on_the_embedded_engines() {
    survive(Engines::Embedded).await;
}

#[cfg(feature = "real-engines")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_kills_in_a_row_on_kafka_and_cassandra() {
    survive(Engines::real()).await;
}
