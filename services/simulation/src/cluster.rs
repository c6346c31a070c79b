//! The nodes of a simulated cluster: each a command node and a projector, as `up` runs them, on one broker
//! and one database. They are started, killed and told to stop at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use seckill_command::{
    Archive, AskViews, Clock, Dispatcher, Failure, Neighbours, Node, NodeConfig, Peers, Random,
    Shown, Told, ViewsWitness,
};
use seckill_log::{Log, Standing};
use seckill_projector::Projector;
use seckill_proto::v1::{Command, NodeStatus, OwnerHint};
use seckill_telemetry::Health;
use seckill_views::{Faults, MemoryStore, Views, ViewsError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::log::{Broker, SimulatedLog};
use crate::world::World;

/// Records after which a snapshot is made: so it is made and read all the time.
const SNAPSHOT_RECORDS: u64 = 20;
/// After how long a sale that is over is archived.
const RETAIN: Duration = Duration::from_secs(8);
/// For how long a partition that is to go to another node is served on.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How many other nodes keep the state of a partition.
const STANDBYS: usize = 1;
/// The chance that a node does not hear of partitions that it is given.
const UNHEARD: f64 = 0.2;
const GROUPS: [&str; 2] = ["command", "projector"];

pub(crate) struct Cluster {
    pub(crate) world: Arc<World>,
    pub(crate) broker: Arc<Broker>,
    pub(crate) partitions: u32,
    store: MemoryStore,
    places: Vec<Place>,
}

/// Where a node runs.
struct Place {
    name: String,
    standings: BTreeMap<&'static str, watch::Sender<Standing>>,
    /// How far its wall clock is ahead, in milliseconds.
    lead_ms: Arc<AtomicI64>,
    running: Mutex<Option<Running>>,
    /// It serves on until others have taken over.
    leaving: AtomicBool,
    /// How often it was started.
    instances: AtomicU64,
}

struct Running {
    instance: u64,
    node: Node,
    projector: Projector,
    stop: CancellationToken,
    /// What other nodes hold on to.
    connections: CancellationToken,
}

impl Cluster {
    pub(crate) fn new(world: &Arc<World>, partitions: u32, nodes: usize) -> Arc<Self> {
        let place = |number| Place {
            name: format!("node-{number}"),
            standings: GROUPS.map(|group| (group, watch::channel(Standing::default()).0)).into(),
            lead_ms: Arc::default(),
            running: Mutex::default(),
            leaving: AtomicBool::default(),
            instances: AtomicU64::default(),
        };
        Arc::new(Self {
            world: Arc::clone(world),
            broker: Broker::new(world, partitions),
            partitions,
            store: MemoryStore::default(),
            places: (0..nodes).map(place).collect(),
        })
    }

    pub(crate) fn nodes(&self) -> usize {
        self.places.len()
    }

    /// Whether a node runs, and was not told to stop.
    pub(crate) fn is_running(&self, node: usize) -> bool {
        let place = &self.places[node];
        place.running.lock().is_some() && !place.leaving.load(Ordering::Relaxed)
    }

    /// Whether a node runs, or is about to end.
    pub(crate) fn has_process(&self, node: usize) -> bool {
        self.places[node].running.lock().is_some()
    }

    /// The way in to a node that runs.
    pub(crate) fn dispatcher(&self, node: usize) -> Option<Dispatcher> {
        Some(self.places[node].running.lock().as_ref()?.node.dispatcher())
    }

    /// What a node that runs tells of itself, and what that ends with.
    fn neighbours(&self, node: usize) -> Option<(Arc<Neighbours>, CancellationToken)> {
        let running = self.places[node].running.lock();
        let running = running.as_ref()?;
        Some((running.node.neighbours(), running.connections.clone()))
    }

    fn number_of(&self, endpoint: &str) -> Option<usize> {
        self.places.iter().position(|place| place.name == endpoint)
    }

    /// The views, by whoever asks them from outside.
    pub(crate) async fn views(&self) -> Result<Views, ViewsError> {
        let faults = Arc::new(Database(Arc::clone(&self.world)));
        Views::open_in_memory(self.store.clone(), faults, self.partitions).await
    }

    /// The log, by whoever reads it from outside.
    pub(crate) fn log(&self) -> Arc<dyn Log> {
        SimulatedLog::new(&self.broker, "outside", BTreeMap::new())
    }

    /// Starts a node. What it needs may fail: then it tries again, as a process that is started again.
    pub(crate) async fn start(self: &Arc<Self>, number: usize) {
        let place = &self.places[number];
        loop {
            match self.try_start(number).await {
                Ok(running) => {
                    self.world.note(format_args!("{} runs", place.name));
                    *place.running.lock() = Some(running);
                    return;
                }
                Err(error) => {
                    self.world.note(format_args!("{} does not start: {error}", place.name));
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    async fn try_start(self: &Arc<Self>, number: usize) -> Result<Running, String> {
        let place = &self.places[number];
        let standings = place.standings.iter().map(|(group, sender)| (*group, sender.subscribe()));
        let log: Arc<dyn Log> = SimulatedLog::new(&self.broker, &place.name, standings.collect());
        let views = self.views().await.map_err(|error| error.to_string())?;
        let (world, lead) = (Arc::clone(&self.world), Arc::clone(&place.lead_ms));
        let since_boot = Arc::clone(&self.world);
        let chance = Arc::clone(&self.world);
        let wall = move || world.wall_ms() + lead.load(Ordering::Relaxed);
        let config = NodeConfig {
            clock: Clock::new(wall, move || since_boot.now_ms()),
            views: Some(witness(&views)),
            archive: Some(archive(&views)),
            peers: Some(Arc::new(Network(Arc::clone(self)))),
            random: Random::new(move || chance.number()),
            snapshot_records: SNAPSHOT_RECORDS,
            hand_over: HAND_OVER,
            standbys: STANDBYS,
            ..NodeConfig::new(&place.name, &place.name)
        };
        let (health, stop) = (Health::default(), CancellationToken::new());
        let node = Node::start(Arc::clone(&log), config, health.clone(), stop.clone()).await;
        let node = node.map_err(|error| error.to_string())?;
        match Projector::start(log, views, health, stop.clone()).await {
            Ok(projector) => {
                let connections = CancellationToken::new();
                let instance = place.instances.fetch_add(1, Ordering::Relaxed);
                Ok(Running { instance, node, projector, stop, connections })
            }
            Err(error) => {
                node.kill();
                Err(error.to_string())
            }
        }
    }

    /// Ends a node in the middle of whatever it does.
    pub(crate) fn kill(&self, number: usize) {
        let place = &self.places[number];
        if let Some(running) = place.running.lock().take() {
            self.world.note(format_args!("{} is killed", place.name));
            running.connections.cancel(); // before it can say that it serves nothing any more
            running.node.kill();
            running.projector.kill();
        }
    }

    /// Lets go of the nodes, which hold on to this in order to reach each other.
    pub(crate) fn forget(&self) {
        self.places.iter().for_each(|place| drop(place.running.lock().take()));
    }

    /// Asks a node to end, and waits until it has.
    pub(crate) async fn stop(&self, number: usize) {
        let place = &self.places[number];
        let begun = {
            let running = place.running.lock();
            running.as_ref().map(|running| (running.instance, running.node.hand_over()))
        };
        let Some((instance, leave)) = begun else { return };
        self.world.note(format_args!("{} is told to stop", place.name));
        place.leaving.store(true, Ordering::Relaxed);
        let leave = tokio::spawn(leave);
        if self.world.chance(0.7) {
            self.assign(true); // as the group does when it hears of it
        }
        let _ = leave.await;
        // It may have been killed meanwhile, and started again.
        let running = place.running.lock().take_if(|running| running.instance == instance);
        place.leaving.store(false, Ordering::Relaxed);
        if let Some(Running { node, projector, stop, connections, .. }) = running {
            connections.cancel();
            stop.cancel();
            node.stopped().await;
            projector.stopped().await;
            self.world.note(format_args!("{} has stopped", place.name));
        }
    }

    /// Sets the wall clock of a node.
    pub(crate) fn set_clock(&self, number: usize, lead_ms: i64) {
        self.places[number].lead_ms.store(lead_ms, Ordering::Relaxed);
    }

    /// Tells each node which partitions it is to look after. Truth is that every partition is one node's that
    /// runs; otherwise a partition may be nobody's, of two, or of one that does not run. Either way a node may never hear
    /// of what it is given.
    pub(crate) fn assign(&self, truthful: bool) {
        for group in GROUPS {
            let mut shares = vec![BTreeSet::new(); self.nodes()];
            for partition in 0..self.partitions {
                for node in self.owners(partition, truthful) {
                    shares[node].insert(partition);
                }
            }
            self.world.note(format_args!("{group}: {shares:?}"));
            for (place, mut partitions) in self.places.iter().zip(shares) {
                if self.world.chance(UNHEARD) {
                    self.world.note(format_args!("{group}: {} does not hear of it", place.name));
                    let before = place.standings[group].borrow().partitions.clone();
                    partitions.retain(|partition| before.contains(partition));
                }
                let standing = Standing { partitions, is_member: true };
                place.standings[group].send_if_modified(|before| {
                    let changed = *before != standing;
                    *before = standing;
                    changed
                });
            }
        }
    }

    fn owners(&self, partition: u32, truthful: bool) -> Vec<usize> {
        let running: Vec<usize> = (0..self.nodes()).filter(|node| self.is_running(*node)).collect();
        let any = || self.world.below(self.nodes());
        match self.world.below(10) {
            0 if !truthful => Vec::new(),
            1 if !truthful => vec![any()],
            2 | 3 if !truthful => vec![any(), any()],
            _ if running.is_empty() => Vec::new(),
            _ => vec![running[(partition as usize + self.world.below(2)) % running.len()]],
        }
    }
}

/// The database as nodes reach it.
struct Database(Arc<World>);

#[async_trait]
impl Faults for Database {
    async fn fails(&self, call: &str) -> bool {
        self.0.note(format_args!("views: {call}?"));
        self.0.takes().await;
        self.0.chance(self.0.weather().call / 4.0)
    }
}

/// The way from node to node: requests and answers are lost, and come late.
struct Network(Arc<Cluster>);

#[async_trait]
impl Peers for Network {
    async fn decide(
        &self,
        endpoint: &str,
        commands: &[Command],
        _: Option<&str>,
    ) -> Result<Vec<Told>, Failure> {
        let (cluster, commands) = (Arc::clone(&self.0), commands.to_vec());
        let world = Arc::clone(&cluster.world);
        let number = cluster.number_of(endpoint);
        world.takes().await;
        let Some(to) = number.and_then(|number| cluster.dispatcher(number)) else {
            return Err(Failure::Unreached); // nobody listens there
        };
        if world.chance(world.weather().call) {
            return Err(Failure::Unknown); // the request is lost
        }
        // They are decided whether or not anybody still waits for the answers.
        let answer = tokio::spawn(async move { to.decide_here(commands).await }).await;
        world.takes().await;
        if world.chance(world.weather().call) {
            return Err(Failure::Unknown); // the answer is lost
        }
        answer.unwrap_or(Err(Failure::Unknown))
    }

    async fn release(&self, partition: u32, owner: &OwnerHint, to: &str) -> Result<(), Failure> {
        let (cluster, world, endpoint) = (&self.0, &self.0.world, &owner.endpoint);
        world.note(format_args!("{to} asks {endpoint} for partition {partition}"));
        let number = cluster.number_of(endpoint);
        world.takes().await;
        let Some(from) = number.and_then(|number| cluster.dispatcher(number)) else {
            return Err(Failure::Unreached); // nobody listens there
        };
        if world.chance(world.weather().call) {
            return Err(Failure::Unknown); // the request is lost
        }
        let released = from.release(partition, &owner.fence_id, to.to_owned()).await;
        world.takes().await;
        if world.chance(world.weather().call) { Err(Failure::Unknown) } else { released }
    }

    async fn follow(
        &self,
        endpoint: &str,
        own: &str,
    ) -> Result<BoxStream<'static, NodeStatus>, Failure> {
        let (cluster, world) = (&self.0, Arc::clone(&self.0.world));
        world.takes().await;
        let number = cluster.number_of(endpoint);
        let reached = number.and_then(|number| cluster.neighbours(number));
        let Some((neighbours, connections)) = reached else {
            return Err(Failure::Unreached); // nobody listens there
        };
        world.note(format_args!("{own} holds on to {endpoint}"));
        let from = (neighbours.tell(own.to_owned()), connections, world);
        let heard = stream::unfold(from, async |(mut statuses, connections, world)| {
            let heard = async {
                let status = statuses.next().await?;
                world.takes().await;
                (!world.chance(world.weather().call)).then_some(status) // or the connection breaks
            };
            let status = connections.run_until_cancelled(heard).await??;
            Some((status, (statuses, connections, world)))
        });
        Ok(heard.boxed())
    }
}

fn witness(views: &Views) -> ViewsWitness {
    let views = views.clone();
    Arc::new(move |partition| {
        let views = views.clone();
        Box::pin(async move {
            let progress = views.progress(partition).await.map_err(|error| error.to_string())?;
            Ok(progress.map(|progress| progress.checkpoint()))
        })
    })
}

fn archive(views: &Views) -> Archive {
    let views = views.clone();
    let ask: AskViews = Arc::new(move |partition, promotion_id, customer_id| {
        let views = views.clone();
        Box::pin(async move {
            let shown = views.coupon_as_far_as(partition, &promotion_id, &customer_id).await;
            let (row, next_offset) = shown.map_err(|error| error.to_string())?;
            let coupon = row.map(|row| (row.serial, row.grabbed_at.as_millisecond()));
            Ok(Shown { coupon, next_offset })
        })
    });
    Archive { retain: RETAIN, ask }
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::{GrabCoupon, SchedulePromotion, Terms, command};

    use super::*;

    const EVERY: Duration = Duration::from_millis(5);
    const GRABS: usize = 400;

    fn command(body: command::Body) -> Command {
        Command { promotion_id: "a sale".to_owned(), body: Some(body) }
    }

    fn offer() -> Command {
        let terms = Terms {
            name: "a sale".to_owned(),
            coupons: 1_000,
            discount: 0.5,
            starts_at_ms: 1,
            finishes_at_ms: None,
            limit_per_customer: 1,
        };
        command(command::Body::Schedule(SchedulePromotion { terms: Some(terms) }))
    }

    fn grab(number: usize) -> Command {
        let customer_id = format!("customer {number}");
        command(command::Body::Grab(GrabCoupon { customer_id, ..GrabCoupon::default() }))
    }

    impl Cluster {
        fn give_all_to(&self, node: usize) {
            for (number, place) in self.places.iter().enumerate() {
                let all = if number == node { (0..self.partitions).collect() } else { [].into() };
                let standing = Standing { partitions: all, is_member: true };
                place.standings["command"].send_replace(standing);
            }
        }
    }

    impl Cluster {
        /// How often the first partition was taken over.
        fn fences(&self) -> usize {
            let is_fence = |record: &bytes::Bytes| {
                matches!(seckill_proto::place_of(record), seckill_proto::Place::Fence(_))
            };
            self.broker.records(0).iter().filter(|record| is_fence(record)).count()
        }
    }

    /// Customers who come all the time and ask all nodes in turn: those whom no node answered in the first place.
    async fn turned_away(cluster: &Arc<Cluster>, moves: impl AsyncFnOnce()) -> Vec<Failure> {
        let asking = (0..GRABS).map(|number| {
            let cluster = Arc::clone(cluster);
            tokio::spawn(async move {
                tokio::time::sleep(EVERY * u32::try_from(number).unwrap_or(0)).await;
                let nodes = cluster.nodes();
                let node = (0..nodes).map(|next| (number + next) % nodes);
                let asked = node.into_iter().find_map(|node| cluster.dispatcher(node));
                asked.expect("a node runs").send(grab(number)).await
            })
        });
        let asking: Vec<_> = asking.collect();
        moves().await;
        let mut failures = Vec::new();
        for asked in asking {
            failures.extend(asked.await.expect("it is asked").err());
        }
        failures
    }

    /// Nodes that know each other, of which the first one serves a sale.
    async fn on_sale(nodes: usize, seed: u64) -> Arc<Cluster> {
        let world = World::new(seed, false);
        let cluster = Cluster::new(&world, 1, nodes);
        cluster.give_all_to(0);
        for node in 0..nodes {
            cluster.start(node).await;
        }
        let first = cluster.dispatcher(0).expect("a node");
        while first.send(offer()).await.is_err() {
            tokio::time::sleep(EVERY).await;
        }
        tokio::time::sleep(Duration::from_secs(5)).await; // they find each other
        cluster
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_go_from_node_to_node_and_nobody_is_turned_away() {
        for seed in 0..20 {
            assert_nobody_is_turned_away(seed).await;
        }
    }

    async fn assert_nobody_is_turned_away(seed: u64) {
        let cluster = on_sale(3, seed).await;
        let failures = turned_away(&cluster, async || {
            tokio::time::sleep(EVERY * 100).await;
            cluster.give_all_to(1);
            tokio::time::sleep(EVERY * 100).await;
            cluster.give_all_to(0);
            tokio::time::sleep(EVERY * 100).await;
            let moves = async {
                tokio::time::sleep(EVERY).await;
                cluster.give_all_to(1);
            };
            tokio::join!(cluster.stop(0), moves);
        });
        let failures = failures.await;
        assert!(failures.is_empty(), "seed {seed}: {failures:?}");
        assert_eq!(cluster.fences(), 4, "seed {seed}");
        cluster.forget();
    }

    #[tokio::test(start_paused = true)]
    async fn a_partition_that_the_group_gives_to_nobody_who_hears_of_it_is_served_on() {
        let cluster = on_sale(3, 7).await;
        let nobody = cluster.nodes();
        cluster.give_all_to(nobody);
        for number in 0..120 {
            let node = cluster.dispatcher(number % 3).expect("a node");
            let answer = node.send(grab(number)).await;
            assert!(answer.is_ok(), "{number}: {answer:?}");
            tokio::time::sleep(EVERY * 100).await;
        }
        assert_eq!(cluster.fences(), 2, "one of them has it, and nobody else wants it");
        cluster.give_all_to(0);
        tokio::time::sleep(EVERY * 1_000).await;
        cluster.give_all_to(1);
        tokio::time::sleep(EVERY * 1_000).await;
        let last = cluster.dispatcher(1).expect("a node").send(grab(120)).await;
        assert!(last.is_ok(), "{last:?}");
        assert!(cluster.fences() <= 4, "nobody holds on to what the group gives to others");
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_next_takes_over_at_once_from_a_node_that_is_gone() {
        let cluster = on_sale(2, 7).await;
        let first = cluster.dispatcher(0).expect("a node");
        assert!(first.send(grab(GRABS)).await.is_ok());
        cluster.kill(0);
        let killed = tokio::time::Instant::now();
        let next = cluster.dispatcher(1).expect("a node");
        while next.send(grab(GRABS + 1)).await.is_err() {
            tokio::time::sleep(EVERY).await;
        }
        // The group has said nothing.
        assert!(killed.elapsed() < Duration::from_millis(200), "after {:?}", killed.elapsed());
        assert_eq!(cluster.fences(), 2);
        cluster.give_all_to(1);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(next.send(grab(GRABS + 2)).await.is_ok());
        assert_eq!(cluster.fences(), 2, "it has it already");
        cluster.start(0).await;
        cluster.give_all_to(0);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(next.send(grab(GRABS + 3)).await.is_ok());
        assert_eq!(cluster.fences(), 3, "it does not hold on to what it was given for a while");
    }
}
