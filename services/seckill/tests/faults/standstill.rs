//! A broker that stands still until its cluster gives it up leaves no client behind.
//!
//! In a cluster of one there is then no broker at all for a moment, and a client that asks in that
//! moment is lost for good; so each round has one more chance to be the one.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::alone;
use crate::system::engine::Engine;
use crate::system::{eventually, fresh_name};
use seckill_log::kafka::{KafkaConfig, KafkaLog};
use seckill_log::{Delivery, Group, Log, Membership, Reader};

const PATIENCE: Duration = Duration::from_secs(60);
/// Around the 2 s after which these brokers are given up, in milliseconds.
const STANDSTILLS_MS: [u64; 10] =
    [1_900, 2_000, 2_050, 2_100, 2_100, 2_150, 2_200, 2_250, 2_400, 2_600];
const PARTITIONS: u32 = 6;

async fn connect(broker: &Engine, prefix: &str) -> KafkaLog {
    connect_to(broker, prefix, PARTITIONS).await
}

async fn connect_to(broker: &Engine, prefix: &str, partitions: u32) -> KafkaLog {
    let config = KafkaConfig {
        prefix: prefix.to_owned(),
        partitions: Some(partitions),
        ..KafkaConfig::new(&broker.address())
    };
    KafkaLog::connect(config).await.expect("a broker")
}

async fn stand_still(broker: &Engine, ms: u64) {
    broker.signal("STOP");
    tokio::time::sleep(Duration::from_millis(ms)).await; // the outage itself, not a wait for something
    broker.signal("CONT");
}

/// Everybody has an equal share, and together they have everything.
async fn share(members: &mut [&mut Membership]) {
    let all: BTreeSet<u32> = (0..PARTITIONS).collect();
    let each = all.len() / members.len();
    eventually("the partitions are shared out", PATIENCE, async || {
        let shares: Vec<_> = members.iter_mut().map(|member| member.assigned()).collect();
        shares.iter().all(|share| share.len() == each)
            && shares.into_iter().flatten().collect::<BTreeSet<_>>() == all
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_group_come_back() {
    let _alone = alone().await;
    let broker = Engine::kafka(19_492);
    let (prefix, group) = (fresh_name(), Group::Projector);
    let first = connect(&broker, &prefix).await;
    let second = connect(&broker, &prefix).await;
    let third = connect(&broker, &prefix).await;
    let mut one = first.join(group).await.expect("a member");
    let mut two = second.join(group).await.expect("a member");
    share(&mut [&mut one, &mut two]).await;
    for ms in STANDSTILLS_MS.into_iter().map(Some).chain([None]) {
        match ms {
            Some(ms) => stand_still(&broker, ms).await,
            None => {
                broker.kill();
                broker.up();
            }
        }
        // One that only believes to be a member would not hear of a third.
        let mut guest = third.join(group).await.expect("a member");
        share(&mut [&mut one, &mut two, &mut guest]).await;
        tokio::task::spawn_blocking(move || drop(guest)).await.expect("it leaves");
        share(&mut [&mut one, &mut two]).await;
    }
}

/// More members than partitions: who has none belongs to the group all the same, and stays in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_partitions_is_one_all_the_same() {
    let _alone = alone().await;
    let broker = Engine::kafka(19_692);
    let prefix = fresh_name();
    let (first, second) =
        (connect_to(&broker, &prefix, 1).await, connect_to(&broker, &prefix, 1).await);
    let one = first.join(Group::Command).await.expect("a member");
    eventually("the first is a member", PATIENCE, async || one.is_member()).await;
    let two = second.join(Group::Command).await.expect("a member");
    eventually("so is the second", PATIENCE, async || two.is_member()).await;
    // Longer than a member may be out of its group before another takes its place.
    let until = tokio::time::Instant::now() + Duration::from_secs(25);
    while tokio::time::Instant::now() < until {
        assert!(one.is_member() && two.is_member());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Appends until one record is known to be durable; where.
async fn append(log: &KafkaLog) -> u64 {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        let deliveries = log.append(0, vec![b"a record".to_vec()]).deliveries().await;
        if let [Delivery::At(offset)] = deliveries[..] {
            return offset;
        }
    }
    panic!("nothing could be written for {PATIENCE:?}");
}

/// Reads on until the record at `offset` has come. Readers may end; whoever has one makes another.
async fn read_to(log: &KafkaLog, reader: &mut Box<dyn Reader>, next: &mut u64, offset: u64) {
    eventually("what was written is read", PATIENCE, async || {
        match reader.next(Duration::from_millis(100)).await {
            Ok(records) => *next = records.last().map_or(*next, |(offset, _)| offset + 1),
            Err(_) => *reader = log.read(0, *next).await.expect("a reader"),
        }
        *next > offset
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_and_readers_come_back() {
    let _alone = alone().await;
    let broker = Engine::kafka(19_592);
    let log = connect(&broker, &fresh_name()).await;
    let (mut reader, mut next) = (log.read(0, 0).await.expect("a reader"), 0);
    for ms in STANDSTILLS_MS {
        let before = append(&log).await;
        let standstill = stand_still(&broker, ms);
        // Records on their way have the producer ask where to send them.
        let (_, after) = tokio::join!(standstill, append(&log));
        assert!(after > before);
        let end = append(&log).await;
        read_to(&log, &mut reader, &mut next, end).await;
        eventually("its end is known", PATIENCE, async || {
            log.end(0).await.is_ok_and(|known| known > end)
        })
        .await;
    }
}
