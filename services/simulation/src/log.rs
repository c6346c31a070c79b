//! A log of a simulated broker: records are lost on their way, come twice, come late, when whoever sent them
//! is long dead, and the broker may say a wrong offset, or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use seckill_log::{
    Appending, Committer, Delivery, Entries, Feed, Fetched, Group, Log, LogError, Membership,
    Reader, Standing, Table,
};
use seckill_proto::v1::{Fence, record};
use seckill_proto::{decode_record, encode_fence};
use tokio::sync::{mpsc, oneshot, watch};

use crate::feed::{SimulatedFeed, Topic};
use crate::world::{Watched, World};

/// Requests under way on one connection; of more nobody hears again.
const UNDER_WAY: usize = 64;
/// An event whose time is further from when it came is dated by a clock that was wrong.
const DATED_MS: i64 = 60_000;
/// Records that a read gives at once.
const BATCH: usize = 40;

/// What the broker keeps.
pub(crate) struct Broker {
    world: Arc<World>,
    partitions: Vec<Partition>,
    /// By name and partition.
    tables: Mutex<BTreeMap<(&'static str, u32), Values>>,
    feed: Arc<Topic>,
}

/// The last value of every key of a table.
type Values = BTreeMap<String, Bytes>;

struct Partition {
    records: Mutex<Vec<Bytes>>,
    /// When each came, by a clock that is right.
    came_ms: Mutex<Vec<i64>>,
    end: Watched<u64>,
}

impl Broker {
    pub(crate) fn new(world: &Arc<World>, partitions: u32) -> Arc<Self> {
        let partition = |_| Partition {
            records: Mutex::default(),
            came_ms: Mutex::default(),
            end: Watched::default(),
        };
        Arc::new(Self {
            world: Arc::clone(world),
            partitions: (0..partitions).map(partition).collect(),
            tables: Mutex::default(),
            feed: Topic::new(world),
        })
    }

    fn partition(&self, partition: u32) -> &Partition {
        &self.partitions[partition as usize]
    }

    /// All records of a partition.
    pub(crate) fn records(&self, partition: u32) -> Vec<Bytes> {
        self.partition(partition).records.lock().clone()
    }

    /// Appends records: the offset of the first one.
    pub(crate) fn land(&self, partition: u32, records: &[Vec<u8>]) -> u64 {
        let of = self.partition(partition);
        let mut all = of.records.lock();
        let first = all.len() as u64;
        all.extend(records.iter().map(|record| Bytes::copy_from_slice(record)));
        of.came_ms.lock().resize(all.len(), self.world.wall_ms());
        of.end.set(all.len() as u64);
        first
    }

    /// Events that are dated by a clock that was wrong, whether or not they count.
    pub(crate) fn wrongly_dated(&self) -> Vec<String> {
        let partitions = self.partitions.iter().enumerate();
        let wrong = partitions.flat_map(|(partition, of)| {
            let (records, came_ms) = (of.records.lock(), of.came_ms.lock());
            let pairs = records.iter().zip(came_ms.iter()).enumerate();
            let wrong = pairs.filter_map(|(offset, (record, came_ms))| {
                let Ok(record::Kind::Event(event)) = decode_record(record) else { return None };
                let early_ms = came_ms - event.at_ms;
                let is_wrong = early_ms.abs() > DATED_MS;
                is_wrong.then(|| format!("{partition}:{offset} is dated {early_ms} ms too early"))
            });
            wrong.collect::<Vec<_>>()
        });
        wrong.collect()
    }

    fn scan(&self, table: Table, partition: u32) -> Entries {
        let tables = self.tables.lock();
        let entries = tables.get(&(name(table), partition)).into_iter().flatten();
        entries.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn change(&self, table: Table, partition: u32, change: impl FnOnce(&mut Values)) {
        change(self.tables.lock().entry((name(table), partition)).or_default());
    }
}

fn name(table: Table) -> &'static str {
    match table {
        Table::Snapshots => "snapshots",
        Table::Owners => "owners",
    }
}

/// The log as one process sees it.
pub(crate) struct SimulatedLog {
    broker: Arc<Broker>,
    world: Arc<World>,
    node: String,
    connections: Mutex<BTreeMap<u32, mpsc::Sender<Request>>>,
    standings: BTreeMap<&'static str, watch::Receiver<Standing>>,
}

struct Request {
    records: Vec<Vec<u8>>,
    said: oneshot::Sender<Vec<Delivery>>,
}

impl SimulatedLog {
    /// `standings` says which partitions a group gives this process.
    pub(crate) fn new(
        broker: &Arc<Broker>,
        node: &str,
        standings: BTreeMap<&'static str, watch::Receiver<Standing>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            broker: Arc::clone(broker),
            world: Arc::clone(&broker.world),
            node: node.to_owned(),
            connections: Mutex::default(),
            standings,
        })
    }

    async fn call(&self, what: &str) -> Result<(), LogError> {
        self.world.note(format_args!("{}: {what}?", self.node));
        self.world.broker_takes().await;
        if self.world.chance(self.world.weather().call) {
            self.world.note(format_args!("{}: {what} fails", self.node));
            return Err(LogError::Unavailable(format!("{what}: a simulated fault")));
        }
        Ok(())
    }

    /// Changes a table after a while, whether or not somebody still waits for that.
    async fn change(
        &self,
        what: &'static str,
        change: impl FnOnce(&Broker) + Send + 'static,
    ) -> Result<(), LogError> {
        let half = self.world.weather().call / 2.0;
        let (lost, unheard) = (self.world.chance(half), self.world.chance(half));
        let broker = Arc::clone(&self.broker);
        let changing = tokio::spawn(async move {
            broker.world.broker_takes().await;
            if !lost {
                change(&broker);
            }
            broker.world.broker_takes().await;
        });
        let _ = changing.await;
        if lost || unheard {
            self.world.note(format_args!("{}: {what} fails (lost: {lost})", self.node));
            return Err(LogError::Unavailable(format!("{what}: a simulated fault")));
        }
        Ok(())
    }

    /// Takes requests of one connection, in their order, to their end: also those of the dead.
    async fn carry(
        world: Arc<World>,
        broker: Arc<Broker>,
        node: String,
        partition: u32,
        mut requests: mpsc::Receiver<Request>,
    ) {
        while let Some(Request { records, said }) = requests.recv().await {
            world.broker_takes().await;
            let mut deliveries = Vec::with_capacity(records.len());
            for piece in pieces(&world, &records) {
                deliveries.extend(arrive(&world, &broker, &node, partition, piece));
            }
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                world.broker_takes().await; // answers overtake one another
                let _ = said.send(deliveries);
            });
        }
    }
}

/// Records as they come: as a rule in one piece.
fn pieces<'a>(world: &World, mut rest: &'a [Vec<u8>]) -> Vec<&'a [Vec<u8>]> {
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let split = world.chance(world.weather().append);
        let count = if split { 1 + world.below(rest.len()) } else { rest.len() };
        let (piece, after) = rest.split_at(count);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Gives entries of a table in any order, as far as it goes.
async fn give(
    world: Arc<World>,
    mut entries: Entries,
    to: mpsc::Sender<Result<(String, Bytes), LogError>>,
) {
    while !entries.is_empty() {
        let entry = entries.swap_remove(world.below(entries.len()));
        let fails = world.chance(world.weather().call);
        let failure = || LogError::Unavailable("fetch: a simulated fault".into());
        let entry = if fails { Err(failure()) } else { Ok(entry) };
        if to.send(entry).await.is_err() || fails {
            return;
        }
        world.takes().await;
    }
}

/// What becomes of records that are sent together.
fn arrive(
    world: &World,
    broker: &Broker,
    node: &str,
    partition: u32,
    records: &[Vec<u8>],
) -> Vec<Delivery> {
    let bad = world.weather().append;
    let unknown = vec![Delivery::Unknown; records.len()];
    if world.chance(bad) {
        world.note(format_args!("{node}: {} records of {partition} are lost", records.len()));
        return unknown; // and later ones still come: a hole
    }
    let first = broker.land(partition, records);
    world.note(format_args!("{node}: {partition}:{first} and {} more", records.len() - 1));
    if world.chance(bad) {
        return unknown;
    }
    if world.chance(bad / 2.0) {
        let again = broker.land(partition, records);
        world.note(format_args!("{node}: the same once more at {partition}:{again}"));
    }
    let said = if world.chance(bad / 2.0) { wrong(world, first) } else { first };
    if said != first && world.chance(0.5) {
        // Another has taken the partition over there.
        for _ in first + records.len() as u64..=said.min(first + 4) {
            broker.land(partition, &[strange_fence(world)]);
        }
    }
    (said..).take(records.len()).map(Delivery::At).collect()
}

/// The fence of nobody here.
pub(crate) fn strange_fence(world: &World) -> Vec<u8> {
    let fence_id = [world.number().to_be_bytes(), world.number().to_be_bytes()].concat();
    encode_fence(Fence { fence_id, ..Fence::default() })
}

/// An offset that is not the one: later, and as a rule close by. An earlier one would be what an owner expects
/// whose record another's has come before: nobody can tell that from the truth, and no broker says so.
fn wrong(world: &World, offset: u64) -> u64 {
    let far = if world.chance(0.2) { 1_000 } else { 4 };
    offset + 1 + world.below(far) as u64
}

#[async_trait]
impl Log for SimulatedLog {
    fn partitions(&self) -> u32 {
        u32::try_from(self.broker.partitions.len()).unwrap_or(u32::MAX)
    }

    fn append(&self, partition: u32, records: Vec<Vec<u8>>) -> Appending {
        let (said, appending) = Appending::new(records.len());
        let mut connections = self.connections.lock();
        let connection = connections.entry(partition).or_insert_with(|| {
            let (sender, requests) = mpsc::channel(UNDER_WAY);
            let (world, broker) = (Arc::clone(&self.world), Arc::clone(&self.broker));
            tokio::spawn(Self::carry(world, broker, self.node.clone(), partition, requests));
            sender
        });
        let _ = connection.try_send(Request { records, said });
        appending
    }

    async fn end(&self, partition: u32) -> Result<u64, LogError> {
        self.call("end").await?;
        let end = self.broker.partition(partition).records.lock().len() as u64;
        self.world.takes().await; // it may have grown since
        Ok(end)
    }

    async fn read(&self, partition: u32, from: u64) -> Result<Box<dyn Reader>, LogError> {
        self.call("read").await?;
        let (broker, world) = (Arc::clone(&self.broker), Arc::clone(&self.world));
        Ok(Box::new(SimulatedReader { broker, world, partition, next: from }))
    }

    async fn put(&self, table: Table, partition: u32, entries: Entries) -> Result<(), LogError> {
        // A table is torn where only the first of them were written.
        let torn = self.world.chance(self.world.weather().call / 2.0);
        let count = if torn { self.world.below(entries.len().max(1)) } else { entries.len() };
        let put = move |broker: &Broker| {
            broker.change(table, partition, |all| all.extend(entries.into_iter().take(count)));
        };
        self.change("put", put).await?;
        match torn {
            true => Err(LogError::Unavailable("put: a simulated fault in its middle".into())),
            false => Ok(()),
        }
    }

    async fn time_ms(&self) -> Result<Option<i64>, LogError> {
        self.call("time").await?;
        let told_ms = self.world.wall_ms();
        self.world.takes().await;
        Ok(Some(told_ms))
    }

    async fn scan(&self, table: Table, partition: u32) -> Result<Entries, LogError> {
        self.call("scan").await?;
        let entries = self.broker.scan(table, partition);
        self.world.takes().await;
        Ok(entries)
    }

    fn fetch(&self, table: Table, partition: u32, keys: Vec<String>) -> Fetched {
        let (sender, fetched) = mpsc::channel(4);
        let (world, broker) = (Arc::clone(&self.world), Arc::clone(&self.broker));
        tokio::spawn(async move {
            world.broker_takes().await;
            let mut entries = broker.scan(table, partition);
            entries.retain(|(key, _)| keys.contains(key));
            give(world, entries, sender).await;
        });
        fetched
    }

    async fn delete(
        &self,
        table: Table,
        partition: u32,
        keys: Vec<String>,
    ) -> Result<(), LogError> {
        let delete = move |broker: &Broker| {
            broker.change(table, partition, |all| all.retain(|key, _| !keys.contains(key)));
        };
        self.change("delete", delete).await
    }

    async fn sweep(&self, table: Table, partition: u32, keep: Vec<String>) -> Result<(), LogError> {
        let sweep = move |broker: &Broker| {
            broker.change(table, partition, |all| all.retain(|key, _| keep.contains(key)));
        };
        self.change("sweep", sweep).await
    }

    async fn join(&self, group: Group) -> Result<Membership, LogError> {
        self.call("join").await?;
        let standing = self.standings[group.name()].clone();
        let membership = Membership::new(standing, Committer::default(), None);
        Ok(membership.named(format!("{}-{:016x}", self.node, self.world.number())))
    }

    fn feed(&self) -> Arc<dyn Feed> {
        Arc::new(SimulatedFeed(Arc::clone(&self.broker.feed)))
    }
}

struct SimulatedReader {
    broker: Arc<Broker>,
    world: Arc<World>,
    partition: u32,
    next: u64,
}

#[async_trait]
impl Reader for SimulatedReader {
    async fn next(&mut self, wait: Duration) -> Result<Vec<(u64, Bytes)>, LogError> {
        self.world.broker_takes().await;
        if self.world.chance(self.world.weather().call / 4.0) {
            return Err(LogError::Unavailable("a reader: a simulated fault".into()));
        }
        let from = self.next;
        let there = self.broker.partition(self.partition).end.wait_for(|end| end > from);
        if tokio::time::timeout(wait, there).await.is_err() {
            return Ok(Vec::new());
        }
        let count = 1 + self.world.below(BATCH);
        let records = self.broker.partition(self.partition).records.lock();
        let rest = (from..).zip(records.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)));
        let batch: Vec<_> = rest.take(count).map(|(at, record)| (at, record.clone())).collect();
        self.next = batch.last().map_or(from, |(at, _)| at + 1);
        Ok(batch)
    }
}
