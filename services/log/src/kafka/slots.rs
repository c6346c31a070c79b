//! Membership: a consumer group over the empty slots topic.
//!
//! KIP-848 (`group.protocol=consumer`), because the broker then sets the pace of heartbeats and a
//! dead member is noticed in about a second; librdkafka's classic protocol counts in whole
//! seconds. Events are never fetched through the group, so a rebalance does not disturb reading.
//!
//! A member that the broker has forgotten, because either stood still for longer than a session
//! lasts, may never notice: librdkafka then keeps an assignment that counts for nobody. So whenever
//! a client has lost its brokers, another one takes its place in the group.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use tokio::sync::watch;

use crate::kafka::client::{base, may_be_lost, reaches, unavailable};
use crate::kafka::{ASK_TIMEOUT, KafkaConfig};
use crate::{Group, LogError, Membership};

const POLL: Duration = Duration::from_millis(50);
/// A thread that stood still itself for so long may have been forgotten too.
const STOOD_STILL: Duration = Duration::from_millis(900);
/// Between attempts to join again.
const RETRY: Duration = Duration::from_millis(200);

pub(super) fn join(
    config: &Arc<KafkaConfig>,
    topic: &str,
    group: Group,
) -> Result<Membership, LogError> {
    let (sender, assigned) = watch::channel(BTreeSet::new());
    let leaving = Arc::new(AtomicBool::new(false));
    let mut member = Member {
        config: Arc::clone(config),
        topic: topic.to_owned(),
        group,
        assigned: sender,
        leaving: Arc::clone(&leaving),
        disturbed: Arc::default(),
    };
    let consumer = member.connect()?;
    member.subscribe(&consumer)?;
    let thread = thread::Builder::new()
        .name(format!("group-{}", group.name()))
        .spawn(move || member.run(consumer))
        .map_err(|error| LogError::Broken(error.to_string()))?;
    Ok(Membership::new(assigned, Box::new(Leave { leaving, thread: Some(thread) })))
}

/// Notes that a client may be lost.
struct Disturbance(Arc<AtomicBool>);

impl ClientContext for Disturbance {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "a group member has an error");
        if may_be_lost(&error) {
            self.0.store(true, Ordering::Release);
        }
    }
}

impl ConsumerContext for Disturbance {}

type Slots = BaseConsumer<Disturbance>;

struct Member {
    config: Arc<KafkaConfig>,
    topic: String,
    group: Group,
    assigned: watch::Sender<BTreeSet<u32>>,
    leaving: Arc<AtomicBool>,
    disturbed: Arc<AtomicBool>,
}

impl Member {
    /// A client that is not in the group yet.
    fn connect(&mut self) -> Result<Slots, LogError> {
        let disturbed = Arc::<AtomicBool>::default();
        let consumer = base(&self.config)
            .set("group.id", format!("{}.{}", self.config.prefix, self.group.name()))
            .set("group.protocol", "consumer")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "latest")
            .create_with_context(Disturbance(Arc::clone(&disturbed)))
            .map_err(|error| unavailable(&error))?;
        self.disturbed = disturbed;
        Ok(consumer)
    }

    fn subscribe(&self, consumer: &Slots) -> Result<(), LogError> {
        consumer.subscribe(&[&self.topic]).map_err(|error| unavailable(&error))
    }

    fn run(mut self, mut consumer: Slots) {
        while !self.leaving.load(Ordering::Acquire) {
            if self.follow(&consumer) {
                consumer = self.join_again(consumer);
                thread::sleep(RETRY);
            }
        }
        leave(consumer);
    }

    /// Puts another client in the place of this one, if there can be one.
    fn join_again(&mut self, before: Slots) -> Slots {
        let Some(consumer) = self.another() else { return before };
        tracing::warn!(group = self.group.name(), "joining the group again");
        self.publish(BTreeSet::new());
        leave(before);
        if let Err(error) = self.subscribe(&consumer) {
            tracing::error!(%error, group = self.group.name(), "not in the group");
            self.disturbed.store(true, Ordering::Release);
        }
        consumer
    }

    /// Another client, if it reaches the cluster; the disturbance of the one before stays noted.
    fn another(&mut self) -> Option<Slots> {
        let consumer = self.connect().ok()?;
        let reaches = reaches(consumer.client(), &self.topic, ASK_TIMEOUT);
        // What it met with on the way says nothing about it any more.
        while consumer.poll(Duration::ZERO).is_some() {}
        self.disturbed.store(!reaches, Ordering::Release);
        reaches.then_some(consumer)
    }

    /// Polls once; whether this member may have been forgotten.
    fn follow(&self, consumer: &Slots) -> bool {
        let begun = Instant::now();
        if let Some(Err(error)) = consumer.poll(POLL) {
            tracing::warn!(%error, group = self.group.name(), "the group member has an error");
            if may_be_lost(&error) || consumer.client().fatal_error().is_some() {
                self.disturbed.store(true, Ordering::Release);
            }
        }
        if begun.elapsed() > POLL + STOOD_STILL {
            self.disturbed.store(true, Ordering::Release);
        }
        self.publish(partitions_of(consumer));
        self.disturbed.load(Ordering::Acquire)
    }

    fn publish(&self, now: BTreeSet<u32>) {
        self.assigned.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }
}

/// Leaves the group, so that the others take over at once.
fn leave(consumer: Slots) {
    consumer.unsubscribe();
    drop(consumer);
}

fn partitions_of(consumer: &Slots) -> BTreeSet<u32> {
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
