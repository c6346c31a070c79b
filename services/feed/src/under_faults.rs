//! The feed of a log with void records, while feeders are killed and stand beside each other, and after a loss.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use seckill_log::embedded::EmbeddedLog;
use seckill_log::{FeedRecord, Folded, Log, Stretch, fold_from};
use seckill_proto::v1::{AcceptedLoss, Checkpoint, CouponGrabbed, Event, Fence, event::Body};
use seckill_proto::{CouponId, Position, encode_event, encode_fence, partition_of};
use seckill_telemetry::Health;
use seckill_views::{Changes, CouponRow, Progress, PromotionRow, PromotionState, Views};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{FeedCheck, FeedCompared, FeedError, Feeder, Shop, accept_feed_loss};

const PARTITIONS: u32 = 2;
const DISCOUNT: f64 = 0.25;
const TIMEOUT: Duration = Duration::from_secs(60);

/// One of this partition.
fn promotion(partition: u32) -> String {
    let mut ids = (0..).map(|number| format!("p{number}"));
    ids.find(|id| partition_of(id, PARTITIONS) == partition).expect("there is one")
}

struct World {
    log: Arc<dyn Log>,
    views: Views,
}

impl World {
    async fn open(directory: &Path) -> Self {
        let log = EmbeddedLog::open(&directory.join("log"), Some(PARTITIONS)).expect("a log");
        let views = Views::open_directory(&directory.join("views"), PARTITIONS).await;
        let world = Self { log: Arc::new(log), views: views.expect("views") };
        for partition in 0..PARTITIONS {
            let progress = Progress::at(partition, &Checkpoint::default(), None);
            let promotions = vec![row(partition)];
            let changes = Changes { promotions, ..Changes::none(progress) };
            world.views.write(changes).await.expect("they are written");
        }
        world
    }

    fn feed(&self, stop: &CancellationToken) -> JoinHandle<()> {
        let part = Health::default().part("test");
        let feeder = Feeder::new(Arc::clone(&self.log), self.views.clone(), part);
        tokio::spawn(feeder.run(stop.clone()))
    }

    /// Feeds what is in the log, and stops.
    async fn feed_all(&self) -> FeedCompared {
        let stop = CancellationToken::new();
        let feeding = self.feed(&stop);
        let begun = Instant::now();
        while self.compare().await.expect("both are read").to_come > 0 {
            assert!(begun.elapsed() < TIMEOUT, "{:?}", self.compare().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stop.cancel();
        feeding.await.expect("it ends");
        self.compare().await.expect("both are read")
    }

    async fn compare(&self) -> Result<FeedCompared, FeedError> {
        let mut check = FeedCheck::read(&*self.log).await?;
        for partition in 0..PARTITIONS {
            check.note(&self.coupons(partition).await);
        }
        Ok(check.compare())
    }

    /// As the log says.
    async fn coupons(&self, partition: u32) -> Vec<CouponRow> {
        let fold = fold_from(&*self.log, partition, &Checkpoint::default()).await;
        let (mut fold, mut rows) = (fold.expect("a fold"), Vec::new());
        let mut stretch = Stretch::from(&*self.log, partition, 0).await.expect("a log");
        while fold.next_offset() < stretch.end() {
            for (offset, record) in stretch.next().await.expect("records") {
                let folded = fold.step(offset, &record).expect("readable");
                let Folded::Event(Event { promotion_id, at_ms, body, .. }) = folded else {
                    continue;
                };
                let Some(Body::Grabbed(grabbed)) = body else { continue };
                let CouponGrabbed { serial, customer_id, .. } = grabbed;
                rows.push(CouponRow {
                    id: CouponId { promotion_id: promotion_id.clone(), serial }.to_string(),
                    promotion_id,
                    serial,
                    customer_id,
                    discount: DISCOUNT,
                    grabbed_at: Timestamp::from_millisecond(at_ms).expect("a time"),
                    position: Position { partition, offset },
                });
            }
        }
        rows
    }

    async fn append(&self, partition: u32, records: Vec<Vec<u8>>) {
        self.log.append(partition, records).deliveries().await;
    }
}

fn row(partition: u32) -> PromotionRow {
    let position = Position { partition, offset: 0 };
    PromotionRow {
        id: promotion(partition),
        name: String::new(),
        coupons: 1_000_000,
        remaining: 1_000_000,
        discount: DISCOUNT,
        limit_per_customer: 1,
        starts_at: Timestamp::UNIX_EPOCH,
        finishes_at: None,
        state: PromotionState::Active,
        finish_reason: None,
        created: position,
        position,
    }
}

fn fence() -> Vec<u8> {
    encode_fence(Fence { fence_id: vec![7; 16], ..Fence::default() })
}

fn grab((term, seq): (u64, u64), partition: u32, serial: u32) -> Vec<u8> {
    let (customer_id, remaining) = (format!("c{serial}"), 1_000_000 - serial);
    let idempotency_key = String::new();
    let grabbed = CouponGrabbed { serial, customer_id, remaining, idempotency_key };
    let (promotion_id, body) = (promotion(partition), Some(Body::Grabbed(grabbed)));
    encode_event(Event { term, seq, at_ms: i64::from(serial), promotion_id, body })
}

/// Owners that follow each other, each of which leaves something behind that counts for nobody.
async fn sell(world: &World, random: &mut StdRng, serials: &mut [u32]) {
    for partition in 0..PARTITIONS {
        let term = world.log.end(partition).await.expect("an end");
        let mut records = vec![fence()];
        let serial = &mut serials[partition as usize];
        for seq in 0..random.random_range(1..60) {
            *serial += 1;
            records.push(grab((term, seq), partition, *serial));
            if random.random_bool(0.1) {
                records.push(grab((term, 9_999), partition, *serial + 1));
            }
        }
        world.append(partition, records).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_coupon_is_fed_once_whatever_happens_to_feeders() {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::open(directory.path()).await;
    let mut random = StdRng::seed_from_u64(11);
    let never = CancellationToken::new();
    let (mut running, mut serials) = (Vec::new(), [0; PARTITIONS as usize]);
    for _ in 0..40 {
        running.push(world.feed(&never));
        for _ in 0..random.random_range(1..6) {
            sell(&world, &mut random, &mut serials).await;
            tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
        }
        while running.len() > random.random_range(0..3) {
            running.swap_remove(random.random_range(0..running.len())).abort();
        }
    }
    running.iter().for_each(JoinHandle::abort);
    let compared = world.feed_all().await;
    assert_eq!((compared.different, compared.to_come), (0, 0), "{compared:?}");
    assert_eq!(compared.fed, u64::from(serials.iter().sum::<u32>()));
    let told = Shop::of(&*world.log).after(0, 1_000_000).await.expect("it is read");
    assert!(told.is_sorted_by(|one, next| one.number < next.number));
    assert_eq!(told.len() as u64, compared.fed);
}

/// The embedded log that a directory holds, without its last records, and with an operator's word for it.
async fn lose(directory: &Path, partition: u32, kept: u64) {
    let old = directory.join("log");
    let log = EmbeddedLog::open(&old, None).expect("a log");
    let other = EmbeddedLog::open(&directory.join("other"), Some(PARTITIONS)).expect("a log");
    for other_partition in 0..PARTITIONS {
        let mut stretch = Stretch::from(&log, other_partition, 0).await.expect("a log");
        let end = if other_partition == partition { kept } else { stretch.end() };
        let mut records = Vec::new();
        while (records.len() as u64) < stretch.end() {
            records.extend(stretch.next().await.expect("records"));
        }
        records.truncate(usize::try_from(end).expect("few"));
        let records = records.into_iter().map(|(_, record)| record.to_vec()).collect();
        other.append(other_partition, records).deliveries().await;
    }
    drop((log, other));
    std::fs::rename(old.join("feed"), directory.join("other/feed")).expect("it is moved");
    std::fs::rename(old.join("tables"), directory.join("other/tables")).expect("it is moved");
    std::fs::remove_dir_all(&old).expect("it is removed");
    std::fs::rename(directory.join("other"), &old).expect("it is moved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_accepted_loss_the_feed_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    {
        let world = World::open(directory.path()).await;
        for partition in 0..PARTITIONS {
            let grabs = (0_u32..9).map(|seq| grab((0, u64::from(seq)), partition, seq + 1));
            world.append(partition, std::iter::once(fence()).chain(grabs).collect()).await;
        }
        let compared = world.feed_all().await;
        assert_eq!((compared.fed, compared.different), (18, 0), "{compared:?}");
    }
    lose(directory.path(), 1, 7).await;
    let world = World::open(directory.path()).await;
    let compared = world.compare().await.expect("both are read");
    assert_eq!(compared.different, 1, "{compared:?}");
    let accepted_loss = Some(AcceptedLoss { end: 7, refuted: Vec::new() });
    let word = Fence { fence_id: vec![8; 16], accepted_loss, ..Fence::default() };
    world.append(1, vec![encode_fence(word)]).await;
    assert_eq!(accept_feed_loss(&*world.log).await.expect("it is accepted"), 3);
    world.append(1, vec![grab((7, 0), 1, 7), grab((7, 1), 1, 8)]).await;
    for _ in 0..2 {
        let compared = world.feed_all().await;
        let FeedCompared { fed, lost, different, .. } = compared;
        assert_eq!((fed, lost, different), (17, 3, 0), "{compared:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_write_into_the_feed_is_passed_over_and_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::open(directory.path()).await;
    world.append(0, vec![fence(), grab((0, 0), 0, 1)]).await;
    assert_eq!(world.feed_all().await.fed, 1);
    let junk = |value: &[u8]| FeedRecord {
        key: String::new(),
        headers: Vec::new(),
        value: value.to_vec(),
    };
    let mut writer = world.log.feed().take_over().await.expect("a writer");
    writer.append(vec![junk(b"junk"), junk(b"")]).await.expect("it is written");
    world.append(0, vec![grab((0, 1), 0, 2)]).await;
    let compared = world.feed_all().await;
    assert_eq!((compared.fed, compared.different), (2, 2), "{compared:?}");
    let shop = Shop::of(&*world.log);
    let numbers = async |after, limit| {
        let told = shop.after(after, limit).await.expect("it is read");
        told.iter().map(|told| told.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(0, 10).await, [1, 4]);
    assert_eq!(numbers(1, 1).await, [4], "what follows junk is found");
    assert!(numbers(4, 10).await.is_empty());
}

/// As a topic that was left when all others were deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_of_another_log_is_not_gone_on_with() {
    let directory = tempfile::tempdir().expect("a directory");
    {
        let world = World::open(directory.path()).await;
        world.append(0, vec![fence(), grab((0, 0), 0, 1), grab((0, 1), 0, 2)]).await;
        assert_eq!(world.feed_all().await.fed, 2);
    }
    let (log, kept) = (directory.path().join("log"), directory.path().join("kept"));
    std::fs::rename(log.join("feed"), &kept).expect("it is moved");
    std::fs::remove_dir_all(&log).expect("it is removed");
    drop(EmbeddedLog::open(&log, Some(PARTITIONS)).expect("another log"));
    std::fs::rename(&kept, log.join("feed")).expect("it is moved");
    let world = World::open(directory.path()).await;
    let grabs = (0_u32..4).map(|seq| grab((0, u64::from(seq)), 0, seq + 1));
    world.append(0, std::iter::once(fence()).chain(grabs.skip(2)).collect()).await;
    let stop = CancellationToken::new();
    let (health, name) = (Health::default(), "feed");
    let feeder = Feeder::new(Arc::clone(&world.log), world.views.clone(), health.part(name));
    let feeding = tokio::spawn(feeder.run(stop.clone()));
    let begun = Instant::now();
    while !health.not_ready().get(name).is_some_and(|reason| reason.contains("another log")) {
        assert!(begun.elapsed() < TIMEOUT, "{:?}", health.not_ready());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    feeding.await.expect("it ends");
    assert_eq!(Shop::of(&*world.log).after(0, 9).await.expect("it is read").len(), 2);
}
