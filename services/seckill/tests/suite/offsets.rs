//! The assumption that the protocol rests on: offsets of a plain partition stay dense, and what was
//! acknowledged stays where it was, across the broker's `kill -9`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::system::engine::Engine;
use crate::system::fresh_name;
use seckill_log::kafka::{KafkaConfig, KafkaLog};
use seckill_log::{Delivery, Log};

const BURST: usize = 50;
const PATIENCE: Duration = Duration::from_secs(90);

/// A record that tells where it was acknowledged.
type Acknowledged = Vec<(u64, Vec<u8>)>;

/// Appends until so many records more have been acknowledged.
async fn append(log: &Arc<dyn Log>, name: &str, records: usize) -> Acknowledged {
    let (mut acknowledged, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    for burst in 0.. {
        if acknowledged.len() >= records {
            break;
        }
        assert!(Instant::now() < deadline, "only {} acknowledged", acknowledged.len());
        let records: Vec<Vec<u8>> =
            (0..BURST).map(|number| format!("{name} {burst} {number}").into_bytes()).collect();
        let deliveries = log.append(0, records.clone()).deliveries().await;
        for (delivery, record) in deliveries.into_iter().zip(records) {
            if let Delivery::At(offset) = delivery {
                acknowledged.push((offset, record));
            }
        }
    }
    acknowledged
}

async fn read_all(log: &Arc<dyn Log>) -> Vec<(u64, Vec<u8>)> {
    let end = log.end(0).await.expect("an end");
    let mut reader = log.read(0, 0).await.expect("a reader");
    let (mut all, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while (all.len() as u64) < end {
        assert!(Instant::now() < deadline, "{} of {end} records came", all.len());
        let batch = reader.next(Duration::from_millis(200)).await.expect("a batch");
        all.extend(batch.into_iter().map(|(offset, record)| (offset, record.to_vec())));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_stay_dense_across_kills_of_the_broker() {
    let broker = Engine::kafka(19_392);
    let config = KafkaConfig {
        prefix: fresh_name(),
        partitions: Some(1),
        ..KafkaConfig::new(&broker.address())
    };
    let log: Arc<dyn Log> = Arc::new(KafkaLog::connect(config).await.expect("a broker"));
    let mut acknowledged = append(&log, "before", 2_000).await;
    for kill in 0..3 {
        let appending = tokio::spawn({
            let log = Arc::clone(&log);
            async move { append(&log, &format!("around kill {kill}"), 20_000).await }
        });
        broker.kill();
        broker.up();
        acknowledged.extend(appending.await.expect("records are acknowledged again"));
    }
    let all = read_all(&log).await;
    assert!((0..).zip(&all).all(|(expected, (offset, _))| expected == *offset), "a hole");
    for (offset, record) in acknowledged {
        assert_eq!(all[usize::try_from(offset).expect("small")].1, record, "offset {offset}");
    }
}
