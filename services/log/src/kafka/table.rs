//! Reads a compacted topic: the last value of every key.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::client::{partition_consumer, partition_number, unavailable};
use crate::kafka::{ASK_TIMEOUT, KafkaConfig};
use crate::{Entries, LogError};

/// A table that stands still for so long is given up on.
const STALLED: Duration = Duration::from_secs(5);

pub(super) fn scan(config: &KafkaConfig, topic: &str, partition: u32) -> Result<Entries, LogError> {
    let consumer = partition_consumer(config)?;
    let number = partition_number(partition);
    let watermarks = consumer.fetch_watermarks(topic, number, ASK_TIMEOUT);
    let (begin, end) = watermarks.map_err(|error| unavailable(&error))?;
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, number, Offset::Offset(begin))
        .and_then(|()| consumer.assign(&assignment))
        .map_err(|error| unavailable(&error))?;
    let mut entries = HashMap::new();
    let (mut next, mut moved) = (begin, Instant::now());
    // Compaction leaves holes, but never takes the last record.
    while next < end {
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Err(error)) => tracing::debug!(%error, topic, "the consumer tries again"),
            Some(Ok(message)) => {
                (next, moved) = (message.offset() + 1, Instant::now());
                note(&mut entries, &message);
            }
        }
        if moved.elapsed() > STALLED {
            return Err(LogError::Unavailable(format!("{topic} cannot be read")));
        }
    }
    Ok(entries.into_iter().collect())
}

fn note(entries: &mut HashMap<String, Bytes>, message: &impl Message) {
    let Some(Ok(key)) = message.key().map(std::str::from_utf8) else { return };
    match message.payload() {
        Some(value) => entries.insert(key.to_owned(), Bytes::copy_from_slice(value)),
        None => entries.remove(key),
    };
}
