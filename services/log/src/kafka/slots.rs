//! Membership: a consumer group over the empty slots topic.
//!
//! KIP-848 (`group.protocol=consumer`), because the broker then sets the pace of heartbeats and a
//! dead member is noticed in about a second; librdkafka's classic protocol counts in whole
//! seconds. Events are never fetched through the group, so a rebalance does not disturb reading.
//!
//! What a group has done of the events is committed under its name all the same: consumer groups are what
//! tools and exporters look at to tell how far behind somebody is.
//!
//! A member that the broker has forgotten, because either stood still for longer than a session
//! lasts, may never notice: librdkafka then keeps an assignment that counts for nobody. So whenever
//! a client has lost its brokers, another one takes its place in the group. And a client may reach the
//! brokers and yet never again the one that coordinates its group: where it has not been seen in the group for a
//! while, another one takes its place too. Where that does not help either, the group is left: see `generation.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, Statistics, TopicPartitionList};
use seckill_proto::Topics;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::kafka::client::{base, may_be_lost, partition_number, reaches, unavailable};
use crate::kafka::generation::Generation;
use crate::kafka::{ASK_TIMEOUT, KafkaConfig};
use crate::membership::Standing;
use crate::{Committer, Group, LogError, Membership};

const POLL: Duration = Duration::from_millis(50);
/// A thread that stood still itself for so long may have been forgotten too.
const STOOD_STILL: Duration = Duration::from_millis(900);
/// Between two commits of offsets: only those outside look at them, and a heartbeat waits behind each.
const COMMIT_EVERY: Duration = Duration::from_secs(5);
/// A client that has not been in the group for so long is given up: longer than an election takes, or the
/// moving of a group to another broker.
const OUT_OF_GROUP: Duration = Duration::from_secs(20);
/// A group that has not been there for so long is given up: longer than a broker loads it, as a rule.
const LOST_AFTER: Duration = Duration::from_secs(40);
/// Where another group has not been there either, it is given more time, up to this.
const LONGEST_OUTAGE: Duration = Duration::from_secs(3_600);
/// Between two questions to a group, of a client that does not know whether it is in it, and of one that is not; and how
/// long it may take to answer.
const ASK_IDLE_EVERY: Duration = Duration::from_secs(1);
const ASK_EVERY: Duration = Duration::from_secs(5);
const GROUP_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a member may wait for its first partitions before it counts as one that is to have none.
const FIRST_ASSIGNMENT: Duration = Duration::from_secs(3);
/// How long a client may take to leave: longer than a broker takes to answer.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// Between attempts to join again.
const RETRY: Duration = Duration::from_millis(200);

pub(super) fn join(
    config: &Arc<KafkaConfig>,
    topics: Arc<Topics>,
    group: Group,
    (generation, following): (Generation, AbortOnDropHandle<()>),
) -> Result<Membership, LogError> {
    let (sender, standing) = watch::channel(Standing::default());
    let (leaving, committer) = (Arc::new(AtomicBool::new(false)), Committer::default());
    let mut member = Member {
        config: Arc::clone(config),
        topics,
        committer: committer.clone(),
        committed: Instant::now(),
        told: BTreeMap::new(),
        group,
        standing: sender,
        leaving: Arc::clone(&leaving),
        signs: Arc::default(),
        joined: generation.number(),
        generation,
        asked: Instant::now(),
        outage: Outage::begin(Instant::now()),
    };
    let (consumer, signs) = member.connect(member.joined)?;
    member.signs = signs;
    member.subscribe(&consumer)?;
    let thread = thread::Builder::new()
        .name(format!("group-{}", group.name()))
        .spawn(move || member.run(consumer))
        .map_err(|error| LogError::Broken(error.to_string()))?;
    let leave = Leave { leaving, thread: Some(thread), _following: following };
    let membership = Membership::new(standing, committer, Some(Box::new(leave)));
    Ok(membership.named(uuid::Uuid::new_v4().simple().to_string()))
}

/// What a client says of itself.
struct Signs {
    /// It may be lost.
    disturbed: AtomicBool,
    /// When it was last in the group, or was made.
    seen_in_group: Mutex<Instant>,
    /// Since when it is in the group.
    in_group_since: Mutex<Option<Instant>>,
    /// The group has given it partitions.
    steady: AtomicBool,
    /// It has none, and does not know whether the group counts it in.
    idle: AtomicBool,
}

impl Default for Signs {
    fn default() -> Self {
        let seen_in_group = Mutex::new(Instant::now());
        let [disturbed, steady, idle] = [false; 3].map(AtomicBool::new);
        Self { disturbed, seen_in_group, in_group_since: Mutex::default(), steady, idle }
    }
}

impl Signs {
    fn disturb(&self) {
        self.disturbed.store(true, Ordering::Release);
    }

    /// Takes note of whether the client is in the group now.
    fn note(&self, in_group: bool, now: Instant) {
        let mut since = self.in_group_since.lock();
        let mut seen = self.seen_in_group.lock();
        if in_group {
            since.get_or_insert(now);
            *seen = now;
        } else if now.duration_since(*seen) > OUT_OF_GROUP {
            *since = None;
            self.disturb();
        }
    }

    /// Whether the group counts the client in; one without partitions may only be about to get some.
    fn is_member(&self, has_partitions: bool, now: Instant) -> bool {
        let since = *self.in_group_since.lock();
        since.is_some_and(|since| has_partitions || now.duration_since(since) > FIRST_ASSIGNMENT)
    }
}

/// Takes notes of what librdkafka tells.
struct Listener(Arc<Signs>);

impl ClientContext for Listener {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "a group member has an error");
        if may_be_lost(&error) {
            self.0.disturb();
        }
    }

    fn stats(&self, statistics: Statistics) {
        let of_group = statistics.cgrp.filter(|of| of.state == "up");
        let join_state = of_group.as_ref().map(|of| of.join_state.as_str());
        // A member that has never had a partition stays in "init", and so does one that has no answer.
        let (idle, steady) = (join_state == Some("init"), join_state == Some("steady"));
        self.0.idle.store(idle, Ordering::Release);
        self.0.steady.store(steady, Ordering::Release);
        if !idle {
            self.0.note(steady, Instant::now());
        }
    }
}

impl ConsumerContext for Listener {}

type Slots = BaseConsumer<Listener>;

struct Member {
    config: Arc<KafkaConfig>,
    topics: Arc<Topics>,
    group: Group,
    committer: Committer,
    /// When offsets were committed last, and which.
    committed: Instant,
    told: BTreeMap<u32, u64>,
    standing: watch::Sender<Standing>,
    leaving: Arc<AtomicBool>,
    /// Of the client that is in the group.
    signs: Arc<Signs>,
    /// Which group is to be joined, and which one is.
    generation: Generation,
    joined: u32,
    /// When the group was asked last whether it is there.
    asked: Instant,
    outage: Outage,
}

impl Member {
    /// A client that is not in the group yet.
    fn connect(&self, number: u32) -> Result<(Slots, Arc<Signs>), LogError> {
        let signs = Arc::<Signs>::default();
        let consumer = base(&self.config)
            .set("group.id", Generation::name(&self.config.prefix, self.group, number))
            .set("group.protocol", "consumer")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "latest")
            .set("statistics.interval.ms", "1000")
            .create_with_context(Listener(Arc::clone(&signs)))
            .map_err(|error| unavailable(&error))?;
        Ok((consumer, signs))
    }

    fn subscribe(&self, consumer: &Slots) -> Result<(), LogError> {
        consumer.subscribe(&[&self.topics.slots]).map_err(|error| unavailable(&error))
    }

    fn run(mut self, mut consumer: Slots) {
        while !self.leaving.load(Ordering::Acquire) {
            self.ask(&consumer);
            if self.follow(&consumer) || self.joined != self.generation.number() {
                consumer = self.join_again(consumer);
                thread::sleep(RETRY);
            }
            if self.committed.elapsed() > COMMIT_EVERY {
                self.committed = Instant::now();
                self.commit(&consumer);
            }
        }
        self.commit(&consumer);
        let _ = consumer.poll(POLL); // it is on its way by then; nobody waits for an absent broker
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
            self.signs.disturb();
        }
        consumer
    }

    /// Another client, if it reaches the cluster; otherwise the one before stays, and its disturbance.
    fn another(&mut self) -> Option<Slots> {
        let number = self.generation.number();
        let (consumer, signs) = self.connect(number).ok()?;
        if !reaches(consumer.client(), &self.topics.slots, ASK_TIMEOUT) {
            self.outage.excuse(Instant::now());
            return None;
        }
        // What it met with on the way says nothing about it any more.
        while consumer.poll(Duration::ZERO).is_some() {}
        signs.disturbed.store(false, Ordering::Release);
        self.signs = signs;
        if std::mem::replace(&mut self.joined, number) != number {
            self.outage.go_on(Instant::now());
        }
        Some(consumer)
    }

    /// Asks the group whether it is there, where the client does not know or has been out of it for a moment; and says that
    /// it is lost where it has not been there for long.
    fn ask(&mut self, consumer: &Slots) {
        let (now, signs) = (Instant::now(), Arc::clone(&self.signs));
        if signs.steady.load(Ordering::Acquire) {
            self.outage.end(now);
        } else {
            let idle = signs.idle.load(Ordering::Acquire);
            let pause = if idle { ASK_IDLE_EVERY } else { ASK_EVERY };
            if now.duration_since(self.asked) > pause {
                let answers = answers(consumer, &self.topics.slots);
                self.asked = Instant::now();
                match (answers, idle) {
                    (true, true) => self.outage.end(self.asked),
                    (true, false) => self.outage.excuse(self.asked),
                    (false, _) => {}
                }
                if idle {
                    signs.note(answers, self.asked);
                }
            }
        }
        self.generation.set_stuck(self.outage.is_long(now));
    }

    /// Polls once; whether this member may have been forgotten.
    fn follow(&self, consumer: &Slots) -> bool {
        let begun = Instant::now();
        if let Some(Err(error)) = consumer.poll(POLL) {
            tracing::warn!(%error, group = self.group.name(), "the group member has an error");
            if may_be_lost(&error) || consumer.client().fatal_error().is_some() {
                self.signs.disturb();
            }
        }
        if begun.elapsed() > POLL + STOOD_STILL {
            self.signs.disturb();
        }
        self.publish(partitions_of(consumer));
        self.signs.disturbed.load(Ordering::Acquire)
    }

    /// Leaves the group's offsets with the broker, where one has changed: then all of them, as one may not
    /// have been taken.
    fn commit(&mut self, consumer: &Slots) {
        let now = self.committer.offsets();
        if now == self.told {
            return;
        }
        self.told.clone_from(&now);
        let (mut offsets, mine) =
            (TopicPartitionList::new(), self.standing.borrow().partitions.clone());
        for (partition, offset) in now {
            if !mine.contains(&partition) {
                continue; // told by whoever has it now
            }
            let offset = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
            let (topic, partition) = (&self.topics.events, partition_number(partition));
            if let Err(error) = offsets.add_partition_offset(topic, partition, offset) {
                tracing::debug!(%error, "an offset cannot be committed");
            }
        }
        if offsets.count() > 0
            && let Err(error) = consumer.commit(&offsets, CommitMode::Async)
        {
            tracing::debug!(%error, group = self.group.name(), "offsets were not committed");
        }
    }

    fn publish(&self, partitions: BTreeSet<u32>) {
        let is_member = self.signs.is_member(!partitions.is_empty(), Instant::now());
        let now = Standing { partitions, is_member };
        self.standing.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }
}

/// For how long a group has not been there, though the cluster is.
struct Outage {
    since: Instant,
    patience: Duration,
}

impl Outage {
    fn begin(now: Instant) -> Self {
        Self { since: now, patience: LOST_AFTER }
    }

    /// The group is there, and its member in it.
    fn end(&mut self, now: Instant) {
        *self = Self::begin(now);
    }

    /// It is not the group that is to blame.
    fn excuse(&mut self, now: Instant) {
        self.since = now;
    }

    /// Another group has taken its place. It is given more time: one process that reaches no coordinator must not have
    /// all others move again and again.
    fn go_on(&mut self, now: Instant) {
        *self = Self { since: now, patience: LONGEST_OUTAGE.min(self.patience * 2) };
    }

    fn is_long(&self, now: Instant) -> bool {
        now.duration_since(self.since) > self.patience
    }
}

/// Whether the group's coordinator answers, whatever it says.
fn answers(consumer: &Slots, topic: &str) -> bool {
    use RDKafkaErrorCode::{
        CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator, OperationTimedOut,
        RequestTimedOut, WaitingForCoordinator,
    };
    let is_absent = |error: &KafkaError| {
        matches!(
            error.rdkafka_error_code(),
            Some(
                CoordinatorLoadInProgress
                    | CoordinatorNotAvailable
                    | NotCoordinator
                    | OperationTimedOut
                    | RequestTimedOut
                    | WaitingForCoordinator
            )
        )
    };
    let mut asked_for = TopicPartitionList::new();
    asked_for.add_partition(topic, 0);
    match consumer.committed_offsets(asked_for, GROUP_TIMEOUT) {
        Ok(known) => {
            !known.elements().iter().any(|of| of.error().err().as_ref().is_some_and(is_absent))
        }
        Err(error) => !is_absent(&error),
    }
}

/// Leaves the group, so that the others take over at once. A client that has lost its brokers may never come to an end:
/// it is left behind, and the group forgets it when its session is over.
fn leave(consumer: Slots) {
    let (sender, left) = sync_channel(1);
    let leaving = move || {
        consumer.unsubscribe();
        drop(consumer);
        let _ = sender.send(()); // nobody may wait any more
    };
    let thread = thread::Builder::new().name("group-leave".into()).spawn(leaving);
    if thread.is_err() || left.recv_timeout(LEAVE_WITHIN).is_err() {
        tracing::warn!("a client of the group does not come to an end, and is left behind");
    }
}

fn partitions_of(consumer: &Slots) -> BTreeSet<u32> {
    let Ok(assignment) = consumer.assignment() else { return BTreeSet::new() };
    let partitions = assignment.elements().into_iter();
    partitions.filter_map(|element| u32::try_from(element.partition()).ok()).collect()
}

struct Leave {
    leaving: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _following: AbortOnDropHandle<()>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_left_when_it_is_to_blame_and_ever_more_slowly() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut outage = Outage::begin(begun);
        assert!(!outage.is_long(at(40)) && outage.is_long(at(41)));
        outage.excuse(at(40));
        assert!(!outage.is_long(at(80)) && outage.is_long(at(81)), "the cluster was not reached");
        outage.go_on(at(81));
        assert!(!outage.is_long(at(161)) && outage.is_long(at(162)), "twice as long");
        outage.go_on(at(162));
        assert!(!outage.is_long(at(322)) && outage.is_long(at(323)), "four times as long");
        outage.end(at(323));
        assert!(!outage.is_long(at(363)) && outage.is_long(at(364)));
    }

    #[test]
    fn a_client_that_is_out_of_the_group_for_long_is_given_up() {
        let signs = Signs::default();
        let at = |seconds| Instant::now() + Duration::from_secs(seconds);
        let disturbed = || signs.disturbed.load(Ordering::Acquire);
        signs.note(false, at(10));
        assert!(!signs.is_member(true, at(10)), "it never was in the group");
        signs.note(true, at(11));
        assert!(signs.is_member(true, at(11)));
        assert!(!signs.is_member(false, at(12)), "its first partitions may be on their way");
        assert!(signs.is_member(false, at(15)), "it is to have none");
        signs.note(false, at(30));
        assert!(
            signs.is_member(true, at(30)) && !disturbed(),
            "a coordinator may be away for a while"
        );
        signs.note(false, at(32));
        assert!(!signs.is_member(true, at(32)) && disturbed());
    }
}
