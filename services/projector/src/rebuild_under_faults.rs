//! A rebuild, its switch and its undo, while a sale goes on, readers read, and projectors are killed and
//! stand beside each other.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use seckill_log::Log;
use seckill_log::embedded::EmbeddedLog;
use seckill_proto::v1::{
    CouponGrabbed, Event, Fence, PromotionScheduled, PromotionStarted, Terms, event::Body,
};
use seckill_proto::{encode_event, encode_fence, partition_of};
use seckill_telemetry::Health;
use seckill_views::{NewRebuild, Phase, Step, SwitchMode, Views};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::build::Turns;
use crate::coordinate::Coordinator;
use crate::follow::Follower;
use crate::verify;

const PARTITIONS: u32 = 2;
const COUPONS: u32 = 1_000_000;
const TIMEOUT: Duration = Duration::from_secs(60);

/// One promotion of each partition.
fn promotions() -> Vec<String> {
    let of = |partition| {
        let mut ids = (0..).map(|number| format!("p{number}"));
        ids.find(|id| partition_of(id, PARTITIONS) == partition).expect("there is one")
    };
    (0..PARTITIONS).map(of).collect()
}

/// The only owner of a partition, who sells.
struct Seller {
    promotion_id: String,
    partition: u32,
    seq: u64,
    serial: u32,
}

impl Seller {
    fn open(&mut self) -> Vec<Vec<u8>> {
        let id = vec![7; 16];
        let terms =
            Terms { coupons: COUPONS, discount: 0.5, limit_per_customer: 1, ..Terms::default() };
        let scheduled = Body::Scheduled(PromotionScheduled { terms: Some(terms) });
        let fence = encode_fence(Fence { fence_id: id, ..Fence::default() });
        vec![fence, self.event(scheduled), self.event(Body::Started(PromotionStarted {}))]
    }

    fn event(&mut self, body: Body) -> Vec<u8> {
        let (seq, promotion_id) = (self.seq, self.promotion_id.clone());
        self.seq += 1;
        let at_ms = i64::from(self.serial) * 3;
        encode_event(Event { seq, at_ms, promotion_id, body: Some(body), ..Event::default() })
    }

    fn grab(&mut self) -> Vec<u8> {
        self.serial += 1;
        let (serial, remaining) = (self.serial, COUPONS - self.serial);
        let (customer_id, idempotency_key) = (format!("c{serial}"), String::new());
        self.event(Body::Grabbed(CouponGrabbed { serial, customer_id, remaining, idempotency_key }))
    }

    async fn sell(&mut self, log: &dyn Log, grabs: usize) {
        let grabs = (0..grabs).map(|_| self.grab()).collect();
        log.append(self.partition, grabs).deliveries().await;
    }
}

struct World {
    log: Arc<dyn Log>,
    views: Views,
    stop: CancellationToken,
}

impl World {
    async fn open(directory: &Path) -> Self {
        let log = EmbeddedLog::open(&directory.join("log"), Some(PARTITIONS)).expect("a log");
        let views = Views::open_directory(&directory.join("views"), PARTITIONS).await;
        let stop = CancellationToken::new();
        Self { log: Arc::new(log), views: views.expect("views"), stop }
    }

    /// Sells before the test goes on, and slowly from then on.
    async fn sell(&self) -> Vec<JoinHandle<()>> {
        let mut selling = Vec::new();
        for (partition, promotion_id) in (0..).zip(promotions()) {
            let mut seller = Seller { promotion_id, partition, seq: 0, serial: 0 };
            self.log.append(partition, seller.open()).deliveries().await;
            seller.sell(&*self.log, 5_000).await;
            let (log, stop) = (Arc::clone(&self.log), self.stop.clone());
            selling.push(tokio::spawn(async move {
                while !stop.is_cancelled() {
                    seller.sell(&*log, 10).await;
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }));
        }
        selling
    }

    fn project(&self, partition: u32) -> AbortOnDropHandle<()> {
        let (log, views) = (Arc::clone(&self.log), self.views.clone());
        let health = Health::default().part("test");
        let (of_log, of_views) = (Arc::clone(&log), views.clone());
        let follower = Follower::new(of_log, of_views, partition, health, Turns::new());
        let coordinator = Coordinator::new(log, views);
        let coordinator = (partition == 0).then_some(coordinator);
        let running = crate::run(follower, coordinator, None, CancellationToken::new());
        AbortOnDropHandle::new(tokio::spawn(running))
    }

    /// Kills projectors at any moment; now and then two are there.
    fn trouble(&self, seed: u64) -> JoinHandle<()> {
        let mut random = StdRng::seed_from_u64(seed);
        let start = || (0..PARTITIONS).map(|partition| self.project(partition)).collect();
        let mut running: Vec<_> = start();
        let mut zombies: Vec<AbortOnDropHandle<()>> = Vec::new();
        let this =
            Self { log: Arc::clone(&self.log), views: self.views.clone(), stop: self.stop.clone() };
        tokio::spawn(async move {
            while !this.stop.is_cancelled() {
                // A phase takes two quiet seconds of whoever leads it.
                let quiet = if random.random_bool(0.4) { 2_600..4_000 } else { 20..400 };
                tokio::time::sleep(Duration::from_millis(random.random_range(quiet))).await;
                let partition = random.random_range(0..PARTITIONS);
                let next = this.project(partition);
                let before = std::mem::replace(&mut running[partition as usize], next);
                zombies.clear();
                zombies.extend(random.random_bool(0.3).then_some(before));
            }
        })
    }

    /// Sees to it that what was once shown stays, and that reads never fail.
    fn read(&self, promotion_id: String) -> JoinHandle<u64> {
        let (views, stop) = (self.views.clone(), self.stop.clone());
        tokio::spawn(async move {
            let (mut remaining, mut coupons, mut given, mut reads) = (COUPONS, 0, 0, 0);
            while !stop.is_cancelled() {
                if let Some(row) = views.promotion(&promotion_id).await.expect("a row") {
                    assert!(row.remaining <= remaining, "{remaining}, then {}", row.remaining);
                    remaining = row.remaining;
                }
                let id = format!("{promotion_id}-{}", coupons + 1).parse().expect("an id");
                let coupon = views.coupon(&id).await.expect("a row");
                coupons += u32::from(coupon.is_some());
                let id = format!("{promotion_id}-{}", coupons.max(1)).parse().expect("an id");
                let there = views.coupon(&id).await.expect("a row").is_some();
                assert!(there || coupons == 0, "coupon {coupons} was shown, and is gone");
                let timeline = views.timeline(&promotion_id, None, 1_000).await.expect("rows");
                let total = timeline.items.last().map_or(0, |second| second.total);
                assert!(total >= given, "{given}, then {total}");
                (given, reads) = (total, reads + 1);
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            reads
        })
    }

    async fn take(&self, step: Step) {
        self.views.step(&step).await.expect("views").expect("a step");
    }

    async fn until(&self, phase: Option<Phase>) {
        let begun = Instant::now();
        loop {
            let rebuild = self.views.rebuild().await.expect("views");
            if rebuild.as_ref().map(|rebuild| rebuild.phase) == phase {
                return;
            }
            assert!(begun.elapsed() < TIMEOUT, "no {phase:?}: {rebuild:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn assert_equal(&self, views: &Views) {
        for partition in 0..PARTITIONS {
            let end = self.log.end(partition).await.expect("an end");
            let begun = Instant::now();
            while views.progress(partition).await.expect("one").map_or(0, |p| p.next_offset) < end {
                assert!(begun.elapsed() < TIMEOUT, "partition {partition} does not reach {end}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let report = verify(&*self.log, views, vec![]).await.expect("a report");
        assert!(report.is_equal(), "{report:?}");
    }
}

fn start() -> Step {
    let (views, rate, switch) = (Vec::new(), None, SwitchMode::Auto);
    let at = jiff::Timestamp::UNIX_EPOCH;
    Step::Start(NewRebuild { views, rate, switch, at })
}

async fn rebuild_under_faults(seed: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::open(directory.path()).await;
    let selling = world.sell().await;
    let trouble = world.trouble(seed);
    let readers: Vec<_> = promotions().into_iter().map(|id| world.read(id)).collect();

    world.take(start()).await;
    world.until(Some(Phase::Switched)).await;
    let rebuild = world.views.rebuild().await.expect("views").expect("a rebuild");
    let comparison = rebuild.comparison.expect("both were compared");
    assert!(comparison.different == 0 && comparison.rows["coupons_by_day"] > 5_000);
    world.take(Step::Undo).await;
    world.until(Some(Phase::Undone)).await;
    world.take(Step::Switch).await;
    world.until(Some(Phase::Switched)).await;

    world.stop.cancel();
    for selling in selling {
        selling.await.expect("it ends");
    }
    trouble.await.expect("it ends");
    let _last: Vec<_> = (0..PARTITIONS).map(|partition| world.project(partition)).collect();
    for reader in readers {
        let reads = reader.await.expect("nothing that was shown is gone");
        assert!(reads > 100, "{reads} reads");
    }
    world.assert_equal(&world.views).await;
    world.assert_equal(&world.views.beside()).await;
    world.take(Step::Drop).await;
    world.until(None).await;
    world.assert_equal(&world.views).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_never_see_a_rebuild_whatever_happens_to_projectors() {
    let seeds = std::env::var("SECKILL_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    for seed in 0..seeds.unwrap_or(1) {
        rebuild_under_faults(seed).await;
    }
}

/// Deletes the stored rows of promotions, with the views closed.
fn spoil(directory: &Path) {
    let database = fjall::Database::builder(directory.join("views")).open().expect("a database");
    let table = database.keyspace("promotions_g4", Default::default).expect("a table");
    table.clear().expect("it is emptied");
}

/// Views that cannot be written on are what a rebuild is for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_mends_views_that_stand_still() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut sellers = Vec::new();
    {
        let world = World::open(directory.path()).await;
        for (partition, promotion_id) in (0..).zip(promotions()) {
            let mut seller = Seller { promotion_id, partition, seq: 0, serial: 0 };
            world.log.append(partition, seller.open()).deliveries().await;
            seller.sell(&*world.log, 3_000).await;
            sellers.push(seller);
        }
        let _running: Vec<_> = (0..PARTITIONS).map(|partition| world.project(partition)).collect();
        world.assert_equal(&world.views).await;
    }
    spoil(directory.path());
    let world = World::open(directory.path()).await;
    for seller in &mut sellers {
        seller.sell(&*world.log, 10).await;
    }
    let _running: Vec<_> = (0..PARTITIONS).map(|partition| world.project(partition)).collect();
    let stopped = || async {
        let progress = world.views.progress(0).await.expect("one").expect("one");
        progress.next_offset < world.log.end(0).await.expect("an end")
    };
    assert!(stopped().await, "its rows are gone");
    world.take(start()).await;
    let begun = Instant::now();
    while world
        .views
        .rebuild()
        .await
        .expect("views")
        .is_none_or(|rebuild| !matches!(rebuild.phase, Phase::Built | Phase::Switched))
    {
        assert!(begun.elapsed() < TIMEOUT, "{:?}", world.views.rebuild().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.assert_equal(&world.views.beside()).await;
}
