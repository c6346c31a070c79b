//! The wanted events of all partitions, in the order of their times.

use std::time::Duration;

use futures::future::try_join_all;
use seckill_log::Log;

use crate::ReplayError;
use crate::selection::Selection;
use crate::source::{Item, Source};

/// How long partitions are waited for at once while they are followed.
const STEP: Duration = Duration::from_millis(100);

/// Events one after another: those that are there by time, and where it follows, those that come later as
/// they come. Of one partition always in order.
pub struct Replay {
    selection: Selection,
    sources: Vec<Source>,
    told: u64,
}

impl Replay {
    /// Begins. The selection was checked.
    ///
    /// # Errors
    /// The log could not be read.
    pub async fn open(log: &dyn Log, selection: Selection) -> Result<Self, ReplayError> {
        let mut sources = Vec::new();
        for partition in 0..log.partitions() {
            if selection.reads(partition, log.partitions()) {
                sources.push(Source::open(log, partition).await?);
            }
        }
        Ok(Self { selection, sources, told: 0 })
    }

    /// The next event; none after the last one. Where a partition cannot be read on, those of the others come
    /// first.
    ///
    /// # Errors
    /// The log could not be read, or not be folded.
    pub async fn next(&mut self) -> Result<Option<Item>, ReplayError> {
        if self.selection.limit.is_some_and(|limit| self.told >= limit) {
            return Ok(None);
        }
        let next = self.next_of_all().await?;
        self.told += u64::from(next.is_some());
        Ok(next)
    }

    async fn next_of_all(&mut self) -> Result<Option<Item>, ReplayError> {
        loop {
            for source in &mut self.sources {
                source.fill(&self.selection).await?;
            }
            let ready = self.sources.iter_mut().filter(|source| !source.ready.is_empty());
            let first = ready.min_by_key(|source| {
                let item = source.ready.front().expect("it is not empty");
                (item.at_ms, item.position)
            });
            if let Some(source) = first {
                return Ok(source.ready.pop_front());
            }
            if let Some(error) = self.sources.iter_mut().find_map(|source| source.failed.take()) {
                return Err(error);
            }
            if !self.selection.follow {
                return Ok(None);
            }
            let selection = &self.selection;
            let following = self.sources.iter_mut().map(|source| source.follow(selection, STEP));
            try_join_all(following).await?;
        }
    }
}
