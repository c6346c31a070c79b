//! Which group it is that members join: the first of its name, or one that has taken its place.
//!
//! A broker may lose a group for good. Kafka 4.3.1, started again after `kill -9`, may begin a group anew while it is
//! still loading what it has of it; from then on it can load neither ("Cannot set the epoch of ... because the
//! partition is still owned at epoch ..."), and the group has no coordinator any more, however often the broker is
//! started. So members that have been out of their group for long, though they reach the brokers, go on to the next
//! group, which has another name, and leave word of that in the table of owners: all others follow, and nobody ever
//! goes back. Should a group be left for nothing, the next one serves as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;

use crate::kafka::client::blocking;
use crate::kafka::lookup::{Lookups, Place};
use crate::kafka::producer::Producer;
use crate::kafka::table;
use crate::{Delivery, Group, LogError};

/// How often it is looked which one it is.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Where word of it is left.
const PARTITION: u32 = 0;

/// Which group, as far as this process knows. 0 is the first.
#[derive(Clone, Default)]
pub(super) struct Generation {
    number: Arc<AtomicU32>,
    /// A member has been out of this one for long.
    stuck: Arc<AtomicBool>,
}

impl Generation {
    pub(super) fn number(&self) -> u32 {
        self.number.load(Ordering::Acquire)
    }

    /// Whether the next one is to take its place.
    pub(super) fn set_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::Release);
    }

    /// Of the group with this name.
    pub(super) fn name(prefix: &str, group: Group, number: u32) -> String {
        let first = format!("{prefix}.{}", group.name());
        if number == 0 { first } else { format!("{first}.{number}") }
    }
}

/// The table of owners, where all members look.
pub(super) struct Word {
    pub(super) producer: Arc<Producer>,
    pub(super) lookups: Arc<Lookups>,
    pub(super) topic: String,
    pub(super) group: Group,
}

impl Word {
    fn key(&self) -> String {
        format!("group-{}", self.group.name())
    }

    async fn read(&self) -> Result<u32, LogError> {
        let (lookups, topic) = (Arc::clone(&self.lookups), self.topic.clone());
        let scan = move || table::scan(&lookups, &Place { topic: &topic, partition: PARTITION });
        let (entries, key) = (blocking(scan).await?, self.key());
        let word = entries.iter().find(|(of, _)| *of == key);
        let number = word.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
        Ok(number.unwrap_or_default())
    }

    async fn leave(&self, number: u32) -> Result<(), LogError> {
        let entries = vec![(self.key(), Bytes::from(number.to_string()))];
        let put = self.producer.put(&self.topic, PARTITION, &entries).deliveries().await;
        if put.contains(&Delivery::Unknown) {
            return Err(LogError::Unavailable(format!("{} could not be written", self.topic)));
        }
        Ok(())
    }

    /// Which one it is now, and from then on whenever that changes, for as long as the handle lives. Where nobody can be
    /// asked it is taken for the first.
    pub(super) async fn follow(self) -> (Generation, AbortOnDropHandle<()>) {
        let generation = Generation::default();
        generation.number.store(self.read().await.unwrap_or_default(), Ordering::Release);
        let followed = generation.clone();
        let following = async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                if let Err(error) = self.look(&followed).await {
                    tracing::debug!(%error, "which group it is cannot be seen");
                }
            }
        };
        (generation, AbortOnDropHandle::new(tokio::spawn(following)))
    }

    async fn look(&self, generation: &Generation) -> Result<(), LogError> {
        let (known, mut number) = (generation.number(), self.read().await?);
        if number <= known && generation.stuck.swap(false, Ordering::AcqRel) {
            number = known + 1;
            self.leave(number).await?;
            let group = self.group.name();
            tracing::error!(
                group,
                number,
                "the broker has lost the group: another takes its place"
            );
        }
        generation.number.fetch_max(number, Ordering::AcqRel);
        Ok(())
    }
}
