//! Reads a compacted topic: the last value of every key.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use crate::kafka::KafkaConfig;
use crate::kafka::client::{partition_consumer, partition_number, unavailable, watermarks};
use crate::{Entries, LogError};

/// A table that stands still for so long is given up on.
const STALLED: Duration = Duration::from_secs(5);

pub(super) fn scan(config: &KafkaConfig, topic: &str, partition: u32) -> Result<Entries, LogError> {
    let mut entries = HashMap::new();
    read(config, topic, partition, &mut |key, value| {
        match value {
            Some(value) => entries.insert(key.to_owned(), Bytes::copy_from_slice(value)),
            None => entries.remove(key),
        };
        true
    })?;
    Ok(entries.into_iter().collect())
}

/// Gives the values of some keys, those that were replaced since too.
pub(super) fn fetch(
    config: &KafkaConfig,
    topic: &str,
    partition: u32,
    keys: &HashSet<String>,
    to: &mpsc::Sender<Result<(String, Bytes), LogError>>,
) -> Result<(), LogError> {
    read(config, topic, partition, &mut |key, value| match value {
        Some(value) if keys.contains(key) => {
            let value = Bytes::copy_from_slice(value);
            to.blocking_send(Ok((key.to_owned(), value))).is_ok()
        }
        Some(_) | None => true,
    })
}

/// Gives every record, in the order of the topic, until `each` wants no more.
fn read(
    config: &KafkaConfig,
    topic: &str,
    partition: u32,
    each: &mut dyn FnMut(&str, Option<&[u8]>) -> bool,
) -> Result<(), LogError> {
    let consumer = partition_consumer(config)?;
    let number = partition_number(partition);
    let (begin, end) = watermarks(consumer.client(), topic, number)?;
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, number, Offset::Offset(begin))
        .and_then(|()| consumer.assign(&assignment))
        .map_err(|error| unavailable(&error))?;
    let (mut next, mut moved) = (begin, Instant::now());
    // Compaction leaves holes, but never takes the last record.
    while next < end {
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Err(error)) => tracing::debug!(%error, topic, "the consumer tries again"),
            Some(Ok(message)) => {
                next = message.offset() + 1;
                let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
                if key.is_some_and(|key| !each(key, message.payload())) {
                    return Ok(());
                }
                moved = Instant::now(); // whoever takes them may take a while
            }
        }
        if moved.elapsed() > STALLED {
            return Err(LogError::Unavailable(format!("{topic} cannot be read")));
        }
    }
    Ok(())
}
