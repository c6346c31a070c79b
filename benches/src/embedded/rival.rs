//! Contestant `raw` of the embedded log: bursts of records, two under way in each partition, so
//! that one is ready when the other has been fsynced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seckill_log::embedded::EmbeddedLog;
use seckill_log::{Delivery, Log};
use tokio::task::JoinSet;

use crate::lap::{Tally, Window};
use crate::record::Record;

const BURSTS_PER_PARTITION: usize = 2;

type Burst = Vec<Vec<u8>>;

pub(crate) struct BurstRival {
    log: Arc<EmbeddedLog>,
    /// The same burst again and again, for each partition.
    bursts: Vec<(u32, Arc<Burst>)>,
}

impl BurstRival {
    pub(crate) fn new(log: Arc<EmbeddedLog>, in_flight: u32, records: &[Record]) -> Self {
        let mut by_partition: BTreeMap<u32, Burst> = BTreeMap::new();
        for Record { partition, bytes } in records {
            by_partition.entry(*partition).or_default().push(bytes.clone());
        }
        let size = (in_flight as usize / (BURSTS_PER_PARTITION * by_partition.len())).max(1);
        let bursts = by_partition.into_iter().map(|(partition, mut burst)| {
            burst.truncate(size);
            (partition, Arc::new(burst))
        });
        Self { log, bursts: bursts.collect() }
    }

    pub(crate) fn name(&self) -> String {
        let size = self.bursts.first().map_or(0, |(_, burst)| burst.len());
        format!("raw, bursts of {size}")
    }

    pub(crate) async fn lap(&self, length: Duration) -> anyhow::Result<Tally> {
        let window = Window::of(length);
        let mut tasks = JoinSet::new();
        for (partition, burst) in &self.bursts {
            for _ in 0..BURSTS_PER_PARTITION {
                let log = Arc::clone(&self.log);
                tasks.spawn(append(log, *partition, Arc::clone(burst), window));
            }
        }
        Tally::gather(window, tasks).await
    }
}

async fn append(
    log: Arc<EmbeddedLog>,
    partition: u32,
    burst: Arc<Burst>,
    window: Window,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::new(window);
    while !window.is_over() {
        let begun = Instant::now();
        for delivery in log.append(partition, Vec::clone(&burst)).deliveries().await {
            match delivery {
                Delivery::At(_) => tally.answered(begun),
                Delivery::Unknown => anyhow::bail!("the log does not take records any more"),
            }
        }
    }
    Ok(tally)
}
