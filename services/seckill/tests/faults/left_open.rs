//! A transaction that Kafka has taken for ended and left open is ended by whoever takes the feed over.
//!
//! Kafka does so where the partition has no leader in the moment in which its end is to be written: in a cluster of one
//! that is when the broker has stood still, was given up, and is taken in again.

use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use seckill_log::kafka::{KafkaConfig, KafkaLog};
use seckill_log::{FeedRecord, Log};

use crate::alone;
use crate::system::engine::Engine;
use crate::system::fresh_name;

/// Of which some are hit.
const FEEDS: usize = 24;
const ROUNDS: usize = 20;
/// These brokers are given up after 2 s.
const STANDSTILL: Duration = Duration::from_millis(2_300);
/// Between the ends of the transactions, from when the broker goes on.
const APART: Duration = Duration::from_millis(6);
const WITHIN: Duration = Duration::from_secs(15);
/// By then the end of a transaction is written, if it ever is.
const SETTLED: Duration = Duration::from_secs(3);

fn client(broker: &Engine) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", broker.address());
    client
}

/// Where a topic ends for readers of what is committed, or of everything.
fn end(broker: &Engine, topic: &str, isolation: &str) -> i64 {
    let mut client = client(broker);
    let consumer: BaseConsumer =
        client.set("isolation.level", isolation).create().expect("a consumer");
    consumer.fetch_watermarks(topic, 0, WITHIN).expect("its ends").1
}

fn is_open(broker: &Engine, topic: &str) -> bool {
    end(broker, topic, "read_committed") < end(broker, topic, "read_uncommitted")
}

/// What an earlier writer of a feed has begun.
fn begin(broker: &Engine, topic: &str) -> BaseProducer {
    let mut client = client(broker);
    let writer: BaseProducer = client
        .set("transactional.id", topic)
        .set("transaction.timeout.ms", "60000")
        .create()
        .expect("a producer");
    writer.init_transactions(WITHIN).expect("a producer's epoch");
    writer.begin_transaction().expect("begun");
    let record = BaseRecord::<str, str>::to(topic).partition(0).payload("before");
    writer.send(record).expect("sent");
    writer.flush(WITHIN).expect("written");
    writer
}

/// Has transactions ended while the broker comes back; one that is left open.
fn left_open<'a>(broker: &Engine, topics: &'a [String]) -> Option<&'a String> {
    let writers: Vec<_> = topics.iter().map(|topic| begin(broker, topic)).collect();
    broker.signal("STOP");
    thread::sleep(STANDSTILL);
    broker.signal("CONT");
    let ending = writers.into_iter().zip(0_u32..).map(|(writer, number)| {
        thread::spawn(move || {
            thread::sleep(APART * number);
            let _ = writer.commit_transaction(WITHIN); // it may be told anything
        })
    });
    let ending: Vec<_> = ending.collect();
    ending.into_iter().for_each(|ending| ending.join().expect("no panic"));
    thread::sleep(SETTLED);
    topics.iter().find(|topic| is_open(broker, topic))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_the_broker_has_left_open_is_ended() {
    let _alone = alone().await;
    let broker = Engine::kafka(19_812);
    let prefixes: Vec<String> = (0..FEEDS).map(|_| fresh_name()).collect();
    let config = |prefix: &String| KafkaConfig {
        prefix: prefix.clone(),
        partitions: Some(8),
        ..KafkaConfig::new(&broker.address())
    };
    for prefix in &prefixes {
        drop(KafkaLog::connect(config(prefix)).await.expect("topics"));
    }
    let topics: Vec<_> = prefixes.iter().map(|prefix| format!("{prefix}.coupons")).collect();
    let open = tokio::task::block_in_place(|| {
        (0..ROUNDS).find_map(|_| left_open(&broker, &topics)).expect("one that is left open")
    });

    let prefix = open.trim_end_matches(".coupons").to_owned();
    let log = KafkaLog::connect(config(&prefix)).await.expect("a log");
    let mut writer = log.feed().take_over().await.expect("it is ended");
    assert!(!is_open(&broker, open));
    let read = log.feed().read(0, 1_000).await.expect("records");
    assert!(!read.is_empty() && read.iter().all(|(_, record)| record == "before"), "{read:?}");
    let record = FeedRecord { key: "k".to_owned(), headers: Vec::new(), value: b"after".into() };
    writer.append(vec![record]).await.expect("it is written");
    let all = log.feed().read(0, 1_000).await.expect("records");
    assert_eq!(all.len(), read.len() + 1);
    assert_eq!(all.last().expect("a record").1, "after");
}
