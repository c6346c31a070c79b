//! A group that its broker cannot load any more is left by all its members for the next one.

use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use seckill_log::kafka::{KafkaConfig, KafkaLog};
use seckill_log::{Group, Log, Membership, Table};

use crate::alone;
use crate::system::engine::Engine;
use crate::system::{eventually, fresh_name};

/// Until a member gives a client up, and then the group; and until all have heard of that.
const PATIENCE: Duration = Duration::from_secs(120);
const PARTITIONS: u32 = 4;
/// Of the topic in which a broker keeps its groups: `offsets.topic.num.partitions` of these brokers.
const OF_GROUPS: u32 = 16;
/// The only client that may write there.
const ADMIN: &str = "__admin_client";

/// Where a broker keeps a group: Java's hash of its name, without the sign.
fn kept_in(group: &str) -> u32 {
    let hash = group
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.unsigned_abs() % OF_GROUPS
}

/// A prefix under which the next group is not kept beside the first.
fn prefix() -> String {
    let mut prefixes = std::iter::repeat_with(fresh_name);
    let apart = |prefix: &String| {
        kept_in(&format!("{prefix}.projector")) != kept_in(&format!("{prefix}.projector.1"))
    };
    prefixes.find(apart).expect("names never end")
}

async fn connect(broker: &Engine, prefix: &str) -> KafkaLog {
    let config = KafkaConfig {
        prefix: prefix.to_owned(),
        partitions: Some(PARTITIONS),
        ..KafkaConfig::new(&broker.address())
    };
    KafkaLog::connect(config).await.expect("a broker")
}

/// Is told whether a record was written.
struct Told(mpsc::SyncSender<bool>);

impl ClientContext for Told {}

impl ProducerContext for Told {
    type DeliveryOpaque = ();

    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        let _ = self.0.send(delivery.is_ok());
    }
}

/// Leaves something in place of the group's state that no broker can load.
fn break_group(broker: &Engine, group: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.address()).set("client.id", ADMIN);
    let (told, deliveries) = mpsc::sync_channel(1);
    let producer: BaseProducer<Told> = config.create_with_context(Told(told)).expect("a producer");
    let length = u16::try_from(group.len()).expect("a short name").to_be_bytes();
    // The metadata of a consumer group, version 0, without the fields that belong to it.
    let key = [&[0, 3], &length[..], group.as_bytes()].concat();
    let partition = i32::try_from(kept_in(group)).expect("a small number");
    let record = BaseRecord::to("__consumer_offsets").partition(partition);
    producer.send(record.key(&key).payload(&[0_u8, 0][..])).expect("it has room");
    producer.flush(PATIENCE).expect("the broker answers");
    assert!(deliveries.recv().expect("an answer"), "it is written");
}

/// Which group it is that members join, as they have left word.
async fn number_of_group(log: &KafkaLog) -> Option<Bytes> {
    let owners = log.scan(Table::Owners, 0).await.expect("the table of owners");
    owners.into_iter().find_map(|(key, number)| (key == "group-projector").then_some(number))
}

async fn all_have_a_share(members: &mut [Membership]) {
    eventually("the partitions are shared out", PATIENCE, async || {
        let shares = members.iter_mut().map(|member| (member.is_member(), member.assigned().len()));
        let shares: Vec<_> = shares.collect();
        shares.iter().all(|(is_member, partitions)| *is_member && *partitions > 0)
            && shares.iter().map(|(_, partitions)| partitions).sum::<usize>() == PARTITIONS as usize
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_the_broker_has_lost_is_left_for_the_next() {
    let _alone = alone().await;
    let broker = Engine::kafka(19_792);
    let (prefix, group) = (prefix(), Group::Projector);
    let logs = [connect(&broker, &prefix).await, connect(&broker, &prefix).await];
    let mut members = Vec::new();
    for log in &logs {
        members.push(log.join(group).await.expect("a member"));
    }
    all_have_a_share(&mut members).await;

    break_group(&broker, &format!("{prefix}.projector"));
    broker.kill();
    broker.up();
    eventually("they know that they are in no group", PATIENCE, async || {
        members.iter().all(|member| !member.is_member())
    })
    .await;
    all_have_a_share(&mut members).await;
    assert_eq!(number_of_group(&logs[0]).await.as_deref(), Some(&b"1"[..]));

    // Who comes later goes where the others are.
    let late = connect(&broker, &prefix).await;
    members.push(late.join(group).await.expect("a member"));
    all_have_a_share(&mut members).await;
}
