//! Kafka loses acknowledged records: whoever has seen them stops, and says so.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::alone;
use crate::system::engine::Engine;
use crate::system::{Engines, System, eventually, fresh_name, run, text};
use seckill_log::kafka::{KafkaConfig, KafkaLog};
use seckill_log::{Delivery, Log};
use seckill_proto::v1::Fence;
use seckill_proto::{encode_fence, partition_of};

const TIMEOUT: Duration = Duration::from_secs(60);
const GRABS: usize = 300;
const PARTITIONS: u32 = 8;

/// A sale on a broker of its own.
struct Lossy {
    broker: Engine,
    name: String,
    sale: System,
}

impl Lossy {
    async fn open(port: u16) -> Self {
        let (broker, name) = (Engine::kafka(port), fresh_name());
        let sale =
            System::open(Engines::Kafka { kafka: broker.address(), name: name.clone() }).await;
        let lossy = Self { broker, name, sale };
        lossy.sale.offer("sale", 1_000).await;
        lossy.grab(0, GRABS).await;
        lossy
    }

    /// Grabs for these customers, and waits until the views show the last one.
    async fn grab(&self, from: usize, to: usize) {
        let mut position = String::new();
        for number in from..to {
            let answer = self.sale.grab("sale", &format!("customer {number}")).await;
            assert_eq!(answer.status, 201, "{answer:?}");
            position = answer.json["position"].as_str().expect("a position").to_owned();
        }
        let path = format!("/v1/promotions/sale?after={position}");
        eventually("the views follow", TIMEOUT, async || self.sale.get(&path).await.status == 200)
            .await;
    }

    fn partition(&self) -> u32 {
        partition_of("sale", PARTITIONS)
    }

    fn segment_folder(&self) -> PathBuf {
        let partition = self.partition();
        self.broker.data().join(format!("kafka/data/{}.events-{partition}", self.name))
    }

    /// Nothing is decided and no view goes on, and both say why.
    async fn assert_refused(&self, word: &str) {
        let partition = self.partition();
        let parts =
            [format!("command/partition/{partition}"), format!("projector/partition/{partition}")];
        let mut said = String::new();
        eventually("both say what is lost", TIMEOUT, async || {
            let answer = self.sale.request(reqwest::Method::GET, "/readyz", None).await;
            let Ok(answer) = answer else { return false };
            said = answer.text;
            parts.iter().all(|part| {
                let reason = answer.json["not_ready"][part].as_str().unwrap_or_default();
                reason.contains("lost records") && reason.contains(word)
            })
        })
        .await;
        let answer = self.sale.grab("sale", "a new customer").await;
        assert_eq!(answer.status, 503, "{answer:?}, {said}");
    }

    /// Starts again on what is left; nothing is given, whatever comes.
    async fn assert_refused_at_start(&mut self, word: &str) {
        self.sale.spawn();
        self.assert_refused(word).await;
        self.sale.kill();
    }

    /// Somebody who does not know this system writes on, past where the log once ended.
    async fn grow_again(&self) {
        let config =
            KafkaConfig { prefix: self.name.clone(), ..KafkaConfig::new(&self.broker.address()) };
        let log = KafkaLog::connect(config).await.expect("a broker");
        let fences =
            |count: u8| (0..count).map(|id| Fence { fence_id: vec![id; 16], ..Fence::default() });
        let records: Vec<Vec<u8>> =
            std::iter::repeat_with(|| fences(100)).take(6).flatten().map(encode_fence).collect();
        let deliveries = log.append(self.partition(), records).deliveries().await;
        assert!(!deliveries.contains(&Delivery::Unknown), "written");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_has_lost_its_end_stops_the_partition() {
    let _alone = alone().await;
    let mut lossy = Lossy::open(19_692).await;
    lossy.sale.kill();
    lossy.broker.kill();
    let segment = lossy.segment_folder().join("00000000000000000000.log");
    let length = std::fs::metadata(&segment).expect("a segment").len();
    File::options().write(true).open(&segment).expect("it").set_len(length * 2 / 3).expect("cut");
    lossy.broker.up();
    lossy.assert_refused_at_start("are missing").await;

    lossy.grow_again().await;
    lossy.assert_refused_at_start("grown again").await;

    let shown = run("repair", &lossy.sale.flags());
    assert!(!shown.status.success(), "{}", text(&shown));
    assert!(
        text(&shown).contains("coupons are in the views and not in the log"),
        "{}",
        text(&shown)
    );
    let mut flags = lossy.sale.flags();
    flags.push("--accept-loss".to_owned());
    let accepted = run("repair", &flags);
    assert!(accepted.status.success(), "{}", text(&accepted));
    lossy.sale.start().await;
    let answer = lossy.sale.grab("sale", "a new customer").await;
    assert_eq!(answer.status, 201, "{answer:?}");
    lossy.sale.stop();
    let verified = lossy.sale.verify();
    assert!(verified.status.success(), "{}", text(&verified));
    assert!(text(&verified).contains("a loss was accepted"), "{}", text(&verified));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_deleted_under_it_stops_the_partition() {
    let _alone = alone().await;
    let mut lossy = Lossy::open(19_792).await;
    lossy.broker.delete_topic(&format!("{}.events", lossy.name));
    eventually("grabs are turned away", TIMEOUT, async || {
        [503, 504].contains(&lossy.sale.grab("sale", "a new customer").await.status)
    })
    .await;
    lossy.sale.kill();
    lossy.assert_refused_at_start("are missing").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_put_back_from_an_older_copy_stops_the_partition() {
    let _alone = alone().await;
    let mut lossy = Lossy::open(19_892).await;
    lossy.sale.stop();
    lossy.broker.down();
    let kept = tempfile::tempdir().expect("a folder");
    copy(&lossy.broker.data(), kept.path());
    lossy.broker.up();
    lossy.sale.start().await;
    lossy.grab(GRABS, 2 * GRABS).await;
    lossy.sale.kill();
    lossy.broker.down();
    std::fs::remove_dir_all(lossy.broker.data()).expect("removed");
    copy(kept.path(), &lossy.broker.data());
    lossy.broker.up();
    lossy.assert_refused_at_start("are missing").await;
}
