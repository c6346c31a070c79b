//! A broker that stands still for a moment must not leave partitions without anybody.
#![cfg(feature = "real-engines")]

mod sale;

use std::collections::BTreeSet;
use std::time::Duration;

use sale::engine::Engine;
use sale::{eventually, fresh_name};
use seckill_log::kafka::{KafkaConfig, KafkaLog};
use seckill_log::{Group, Log, Membership};

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than a session of the group lasts on this broker.
const STANDSTILL: Duration = Duration::from_millis(2_200);

async fn share(members: &mut [&mut Membership], all: &BTreeSet<u32>) {
    eventually("every partition has exactly one member", PATIENCE, async || {
        let assigned: Vec<u32> = members.iter_mut().flat_map(|member| member.assigned()).collect();
        assigned.len() == all.len() && assigned.into_iter().collect::<BTreeSet<_>>() == *all
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_back_after_the_broker_stood_still() {
    let broker = Engine::kafka(19_492);
    let config = KafkaConfig {
        prefix: fresh_name(),
        partitions: Some(6),
        ..KafkaConfig::new(&broker.address())
    };
    let first = KafkaLog::connect(config.clone()).await.expect("a broker");
    let second = KafkaLog::connect(config).await.expect("a broker");
    let all: BTreeSet<u32> = (0..6).collect();
    let mut stays = first.join(Group::Projector).await.expect("a member");
    let mut leaves = second.join(Group::Projector).await.expect("a member");
    share(&mut [&mut stays, &mut leaves], &all).await;
    for _ in 0..3 {
        broker.signal("STOP");
        tokio::time::sleep(STANDSTILL).await; // the outage itself, not a wait for something
        broker.signal("CONT");
        share(&mut [&mut stays, &mut leaves], &all).await;
    }
    // A member that only believes to be one would not hear of this.
    tokio::task::spawn_blocking(move || drop(leaves)).await.expect("it leaves");
    share(&mut [&mut stays], &all).await;
}
