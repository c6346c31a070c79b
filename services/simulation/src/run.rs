//! One run: a cluster, its clients, a schedule of faults, quiet at last, and the verdict.

use std::sync::Arc;
use std::time::Duration;

use seckill_checker::{Ledger, REFUSALS_OLD_US, check};
use seckill_command::newest_snapshots;
use seckill_projector::{Claim, NewSkip, Quarantine, QuarantineError, verify};
use seckill_views::{NewRebuild, Step, SwitchMode, Views};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::clients::Clients;
use crate::cluster::Cluster;
use crate::log::strange_fence;
use crate::panics;
use crate::world::{Weather, World};

/// How long everything may take to come right once nothing goes wrong any more.
const QUIET: Duration = Duration::from_secs(300);
/// Times that the views are held against the log, which may still move.
const VERIFIED: usize = 5;
/// Looks at the views until then.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What nobody can read.
const GARBAGE: &[u8] = b"\xff what is that?";

/// What to simulate.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Decides everything.
    pub seed: u64,
    /// Faults before it becomes quiet.
    pub faults: usize,
    /// Requests of each client before it becomes quiet.
    pub requests: usize,
    /// Whether the trace is kept, or only its hash.
    pub trace: bool,
}

impl Run {
    /// A run of the usual length.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, faults: 24, requests: 20, trace: false }
    }
}

/// What happened in a run, or in several.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Totals {
    /// Requests for coupons.
    pub grabs: u64,
    /// Coupons given.
    pub coupons: u64,
    /// Events that count.
    pub events: u64,
    /// Events that do not.
    pub void: u64,
    /// Takeovers of a partition.
    pub takeovers: u64,
    /// Faults.
    pub faults: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Lines of the trace.
    pub lines: u64,
    /// Hash of the trace.
    pub hash: u64,
    /// What happened in a run, line by line, where it was to be kept.
    pub trace: Vec<String>,
}

impl Totals {
    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        self.grabs += other.grabs;
        self.coupons += other.coupons;
        self.events += other.events;
        self.void += other.void;
        self.takeovers += other.takeovers;
        self.faults += other.faults;
        self.simulated_ms += other.simulated_ms;
        self.lines += other.lines;
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

/// A run in which a promise was broken.
#[derive(Debug)]
pub struct Failed {
    /// Which ones, in words.
    pub broken: Vec<String>,
    /// What happened, where it was to be kept.
    pub trace: Vec<String>,
}

/// Simulates a run.
///
/// # Errors
/// A promise was broken.
///
/// # Panics
/// The runtime cannot be made.
pub fn simulate(run: Run) -> Result<Totals, Failed> {
    panics::note_all();
    panics::take();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let world = World::new(run.seed, run.trace);
        let (totals, mut broken) = play(&world, run).await;
        broken.extend(panics::take().iter().map(|panic| format!("nothing panics: {panic}")));
        let trace = world.take_trace();
        if broken.is_empty() {
            Ok(Totals { trace, ..totals })
        } else {
            Err(Failed { broken, trace })
        }
    })
}

/// The shortest run found that breaks a promise, of one that does: with fewer faults, then with fewer requests.
#[must_use]
pub fn shortest(run: Run) -> Run {
    let fails = |run: &Run| simulate(Run { trace: false, ..*run }).is_err();
    let fewer_faults = (0..run.faults).map(|faults| Run { faults, ..run });
    let run = fewer_faults.into_iter().find(fails).unwrap_or(run);
    let fewer_requests = (1..run.requests).map(|requests| Run { requests, ..run });
    fewer_requests.into_iter().find(fails).unwrap_or(run)
}

async fn play(world: &Arc<World>, run: Run) -> (Totals, Vec<String>) {
    let (partitions, nodes) = (1 + world.below(2), 2 + world.below(2));
    let cluster = Cluster::new(world, u32::try_from(partitions).unwrap_or(1), nodes);
    let clients = Clients::new(&cluster, 1 + world.below(3));
    for node in 0..nodes {
        cluster.start(node).await;
    }
    cluster.assign(true);
    let using = Using::begin(&clients, run.requests);
    let tidying = tokio::spawn(tidy(Arc::clone(&cluster)));
    trouble(&cluster, run.faults).await;
    calm(&cluster).await;
    let came_right = async {
        let serves = tokio::time::timeout(QUIET, using.end()).await;
        serves
            .map_err(|_| "it does not serve again once nothing goes wrong any more".to_owned())?;
        views_come_right(&cluster).await
    };
    let mut broken: Vec<String> = came_right.await.err().into_iter().collect();
    tidying.abort();
    let mut ledger = Ledger::default();
    match ledger.read_log(&*cluster.log()).await {
        Ok(against) => broken.extend(against.iter().map(ToString::to_string)),
        Err(error) => broken.push(format!("the log can be read: {error}")),
    }
    let attempts = clients.attempts();
    let untrue = check(&ledger, &attempts, REFUSALS_OLD_US);
    broken.extend(untrue.iter().map(ToString::to_string));
    broken.extend(clients.unseen());
    broken.extend(cluster.broker.wrongly_dated());
    let totals = count(world, &ledger, attempts.len(), run.faults);
    cluster.forget();
    (totals, broken)
}

fn count(world: &World, ledger: &Ledger, grabs: usize, faults: usize) -> Totals {
    let [coupons, events, void, takeovers] = ledger.totals();
    let (lines, hash) = world.fingerprint();
    let (grabs, faults, simulated_ms) = (grabs as u64, faults as u64, world.now_ms());
    let trace = Vec::new();
    Totals { grabs, coupons, events, void, takeovers, faults, simulated_ms, lines, hash, trace }
}

/// Those who use the cluster.
struct Using {
    clients: Arc<Clients>,
    offering: JoinHandle<()>,
    operating: JoinHandle<()>,
    shopping: JoinSet<()>,
}

impl Using {
    fn begin(clients: &Arc<Clients>, requests: usize) -> Self {
        let (clients, mut shopping) = (Arc::clone(clients), JoinSet::new());
        let offers = Arc::clone(&clients);
        let offering = tokio::spawn(async move { offers.offer().await });
        for client in 0..clients.shoppers() {
            shopping.spawn(Arc::clone(&clients).shop(client, requests));
        }
        let operating = tokio::spawn(Arc::clone(&clients).operate());
        Self { clients, offering, operating, shopping }
    }

    /// Waits until all is done that was begun, and every wish has its answer.
    async fn end(mut self) {
        let _ = self.offering.await;
        while self.shopping.join_next().await.is_some() {}
        self.operating.abort();
        self.clients.ask_all_again().await;
    }
}

/// One fault after another.
async fn trouble(cluster: &Arc<Cluster>, faults: usize) {
    let world = &cluster.world;
    let mut beside = JoinSet::new();
    tokio::time::sleep(world.ms(200, 2_000)).await;
    for _ in 0..faults {
        fault(cluster, &mut beside).await;
        tokio::time::sleep(world.ms(20, 1_500)).await;
        if world.chance(0.6) {
            cluster.assign(world.chance(0.5));
        }
    }
    beside.join_all().await;
}

/// Begins a fault; what takes long goes on beside the next ones.
async fn fault(cluster: &Arc<Cluster>, beside: &mut JoinSet<()>) {
    let world = &cluster.world;
    let node = world.below(cluster.nodes());
    match world.below(16) {
        0..4 if cluster.has_process(node) => cluster.kill(node),
        4 if cluster.is_running(node) => {
            let cluster = Arc::clone(cluster);
            beside.spawn(async move { cluster.stop(node).await });
        }
        0..5 if !cluster.has_process(node) => cluster.start(node).await,
        5 | 6 => drop(beside.spawn(stand_still(Arc::clone(world)))),
        7..10 => {
            let weather = weather(world);
            world.note(format_args!("{weather:?}"));
            world.set_weather(weather);
        }
        10 => {
            let lead_ms = world.below(7_200_000) as i64 - 3_600_000;
            world.note(format_args!("the clock of node-{node} leaps to {lead_ms} ms"));
            cluster.set_clock(node, lead_ms);
        }
        11 => {
            let partition = world.below(cluster.partitions as usize);
            let partition = u32::try_from(partition).unwrap_or_default();
            let garbage = world.chance(0.5);
            let record = if garbage { GARBAGE.to_vec() } else { strange_fence(world) };
            let at = cluster.broker.land(partition, &[record]);
            world.note(format_args!("a stranger writes {partition}:{at} (garbage: {garbage})"));
        }
        12 | 13 => rebuild(cluster).await,
        _ => cluster.assign(false),
    }
}

async fn stand_still(world: Arc<World>) {
    world.note(format_args!("the broker stands still"));
    world.broker_stands.set(true);
    tokio::time::sleep(world.ms(50, 7_000)).await;
    world.note(format_args!("the broker goes on"));
    world.broker_stands.set(false);
}

fn weather(world: &World) -> Weather {
    match world.below(4) {
        0 => Weather::CALM,
        1 => Weather { append: 0.0, call: 0.0, slow: 0.3 },
        2 => Weather { append: 0.1, call: 0.05, slow: 0.05 },
        _ => Weather { append: 0.04, call: 0.02, slow: 0.1 },
    }
}

/// A step of a rebuild, whether or not it is possible.
async fn rebuild(cluster: &Arc<Cluster>) {
    let world = &cluster.world;
    let step = match world.below(8) {
        0..3 => {
            let (views, rate, switch) = (Vec::new(), None, SwitchMode::Auto);
            Step::Start(NewRebuild { views, rate, switch, at: jiff::Timestamp::UNIX_EPOCH })
        }
        3 => Step::Pause,
        4 => Step::Resume,
        5 => Step::Undo,
        6 => Step::Switch,
        _ => Step::Drop,
    };
    let taken = match cluster.views().await {
        Ok(views) => views.step(&step).await.map(|taken| taken.is_ok()),
        Err(error) => Err(error),
    };
    world.note(format_args!("rebuild: {step:?}: {taken:?}"));
}

/// An operator who has skipped what partitions stop at. Never ends.
async fn tidy(cluster: Arc<Cluster>) {
    let world = &cluster.world;
    loop {
        tokio::time::sleep(world.ms(500, 4_000)).await;
        if let Ok(views) = cluster.views().await {
            let skipped = skip_listed(&Quarantine::new(cluster.log(), views), world).await;
            skipped.unwrap_or_else(|error| world.note(format_args!("not skipped: {error}")));
        }
    }
}

async fn skip_listed(quarantine: &Quarantine, world: &World) -> Result<(), QuarantineError> {
    for record in quarantine.list().await?.records {
        if let (None, Ok(position)) = (record.skipped, record.position.parse()) {
            let (by, reason) = ("an operator".to_owned(), "a stranger wrote it".to_owned());
            let skip = NewSkip { by, reason, through: None };
            quarantine.skip(position, skip, world.wall_ms()).await?;
            world.note(format_args!("{position} is skipped"));
        }
    }
    Ok(())
}

/// Nothing goes wrong any more, and every node runs.
async fn calm(cluster: &Arc<Cluster>) {
    let world = &cluster.world;
    world.note(format_args!("calm"));
    world.set_weather(Weather::CALM);
    for node in 0..cluster.nodes() {
        if !cluster.has_process(node) {
            cluster.start(node).await;
        }
    }
    cluster.assign(true);
}

/// Waits until views and feed have all that is in the log, and holds every row against it.
async fn views_come_right(cluster: &Arc<Cluster>) -> Result<(), String> {
    let (begun, mut different) = (Instant::now(), 0);
    loop {
        until_reached(cluster).await?;
        let log = cluster.log();
        let views = cluster.views().await.map_err(|error| error.to_string())?;
        let snapshots = newest_snapshots(&*log).await.map_err(|error| error.to_string())?;
        let claims = snapshots.into_iter().map(Claim::of_snapshot).collect();
        let report = verify(&*log, &views, claims).await.map_err(|error| error.to_string())?;
        let to_come = report.counts.get("coupons not in the feed yet").copied().unwrap_or(0);
        // A partition may have been taken over while it was compared: then the views were short of that.
        different += usize::from(!report.is_equal());
        if different >= VERIFIED || begun.elapsed() > QUIET {
            let differences = report.differences;
            return Err(format!(
                "views and feed ({to_come} to come) are not the log: {differences:?}"
            ));
        }
        if report.is_equal() && to_come == 0 {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn until_reached(cluster: &Cluster) -> Result<(), String> {
    let begun = Instant::now();
    let views = cluster.views().await.map_err(|error| error.to_string())?;
    for partition in 0..cluster.partitions {
        while let Some(short) = short_of(cluster, &views, partition).await? {
            if begun.elapsed() > QUIET {
                return Err(short);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

/// What the views have not got of a partition; nothing where they have all.
async fn short_of(
    cluster: &Cluster,
    views: &Views,
    partition: u32,
) -> Result<Option<String>, String> {
    let end = cluster.broker.records(partition).len() as u64;
    let next = views.next_offset(partition).await.map_err(|error| error.to_string())?;
    Ok((next < end).then(|| format!("{next} of {end} records of {partition} are in the views")))
}
