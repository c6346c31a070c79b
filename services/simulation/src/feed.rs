//! The feed of a simulated broker: whoever took it over last writes it, and a write that failed may be there.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use seckill_log::{Fed, Feed, FeedRecord, FeedWriter, LogError};

use crate::world::World;

/// What the broker keeps.
pub(crate) struct Topic {
    world: Arc<World>,
    records: Mutex<Vec<Bytes>>,
    writer: Mutex<u64>,
}

impl Topic {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        let (records, writer) = Default::default();
        Arc::new(Self { world: Arc::clone(world), records, writer })
    }

    async fn call(&self) -> Result<(), LogError> {
        self.world.broker_takes().await;
        match self.world.chance(self.world.weather().call) {
            true => Err(LogError::Unavailable("the feed: a simulated fault".into())),
            false => Ok(()),
        }
    }
}

pub(crate) struct SimulatedFeed(pub(crate) Arc<Topic>);

#[async_trait]
impl Feed for SimulatedFeed {
    async fn take_over(&self) -> Result<Box<dyn FeedWriter>, LogError> {
        self.0.call().await?;
        let mut writer = self.0.writer.lock();
        *writer += 1;
        Ok(Box::new(Writer { topic: Arc::clone(&self.0), number: *writer }))
    }

    async fn end(&self) -> Result<u64, LogError> {
        self.0.call().await?;
        Ok(self.0.records.lock().len() as u64)
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Fed, LogError> {
        self.0.call().await?;
        let records = self.0.records.lock();
        let rest = (0..).zip(records.iter()).skip(usize::try_from(from).unwrap_or(usize::MAX));
        Ok(rest.take(limit).map(|(at, record)| (at, record.clone())).collect())
    }
}

struct Writer {
    topic: Arc<Topic>,
    number: u64,
}

#[async_trait]
impl FeedWriter for Writer {
    async fn append(&mut self, records: Vec<FeedRecord>) -> Result<u64, LogError> {
        self.topic.call().await?;
        if *self.topic.writer.lock() != self.number {
            return Err(LogError::Unavailable("another one writes the feed".into()));
        }
        let end = {
            let mut all = self.topic.records.lock();
            all.extend(records.into_iter().map(|record| Bytes::from(record.value)));
            all.len() as u64
        };
        self.topic.call().await?; // they are there, and nobody heard of it
        Ok(end)
    }
}
