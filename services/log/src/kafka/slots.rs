//! Membership: a consumer group over the empty slots topic.
//!
//! KIP-848 (`group.protocol=consumer`), because the broker then sets the pace of heartbeats and a
//! dead member is noticed in about a second; librdkafka's classic protocol counts in whole
//! seconds. Events are never fetched through the group, so a rebalance does not disturb reading.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::watch;

use crate::kafka::KafkaConfig;
use crate::kafka::client::{base, unavailable};
use crate::{Group, LogError, Membership};

const POLL: Duration = Duration::from_millis(50);

pub(super) fn join(
    config: &KafkaConfig,
    topic: &str,
    group: Group,
) -> Result<Membership, LogError> {
    let consumer: BaseConsumer = base(config)
        .set("group.id", format!("{}.{}", config.prefix, group.name()))
        .set("group.protocol", "consumer")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "latest")
        .create()
        .map_err(|error| unavailable(&error))?;
    consumer.subscribe(&[topic]).map_err(|error| unavailable(&error))?;
    let (sender, assigned) = watch::channel(BTreeSet::new());
    let leaving = Arc::new(AtomicBool::new(false));
    let noticed = Arc::clone(&leaving);
    let thread = thread::Builder::new()
        .name(format!("group-{}", group.name()))
        .spawn(move || run(consumer, group.name(), &sender, &noticed))
        .map_err(|error| LogError::Broken(error.to_string()))?;
    Ok(Membership::new(assigned, Box::new(Leave { leaving, thread: Some(thread) })))
}

fn run(
    consumer: BaseConsumer,
    group: &str,
    assigned: &watch::Sender<BTreeSet<u32>>,
    leaving: &AtomicBool,
) {
    while !leaving.load(Ordering::Acquire) {
        if let Some(Err(error)) = consumer.poll(POLL) {
            tracing::warn!(%error, group = group, "the group member tries again by itself");
        }
        let now = partitions_of(&consumer);
        assigned.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }
    consumer.unsubscribe();
    drop(consumer); // leaves the group, so that the others take over at once
}

fn partitions_of(consumer: &BaseConsumer) -> BTreeSet<u32> {
    let Ok(assignment) = consumer.assignment() else { return BTreeSet::new() };
    let partitions = assignment.elements().into_iter();
    partitions.filter_map(|element| u32::try_from(element.partition()).ok()).collect()
}

struct Leave {
    leaving: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
