//! Short reads: a table, or one record of the log.
//!
//! To make a consumer takes a tenth of a second, and a takeover reads half a dozen times. So consumers that have done
//! their work wait for the next.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};

use crate::LogError;
use crate::kafka::KafkaConfig;
use crate::kafka::client::{
    assign, is_out_of_range, partition_consumer, partition_number, unavailable, watermarks,
};

/// So many wait at most.
const IDLE: usize = 8;
/// A read that stands still for so long is given up on.
const STALLED: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(200);
/// A broker answers the requests of a connection one after another: whoever reads next waits for a fetch at the end of a
/// topic that nobody needs any more.
const FETCH_WAIT_MS: &str = "5";

/// Consumers for short reads.
pub(super) struct Lookups {
    config: Arc<KafkaConfig>,
    idle: Mutex<Vec<BaseConsumer>>,
}

/// A partition of a topic.
pub(super) struct Place<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: u32,
}

impl Place<'_> {
    /// Also makes the client know who leads the partition: it looks only once a second for what it does not know.
    fn watermarks(&self, consumer: &BaseConsumer) -> Result<(i64, i64), LogError> {
        watermarks(consumer.client(), self.topic, partition_number(self.partition))
    }
}

impl Lookups {
    pub(super) fn new(config: Arc<KafkaConfig>) -> Self {
        Self { config, idle: Mutex::default() }
    }

    /// Gives every record of a topic's partition, in order, until `each` wants no more.
    pub(super) fn read_all(
        &self,
        place: &Place<'_>,
        each: &mut dyn FnMut(&str, Option<&[u8]>) -> bool,
    ) -> Result<(), LogError> {
        self.with(&mut |consumer| {
            let (begin, end) = place.watermarks(consumer)?;
            if begin >= end {
                return Ok(());
            }
            // Compaction leaves holes, but never takes the last record.
            read(consumer, place, begin, &mut |message| {
                let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
                let wanted = key.is_none_or(|key| each(key, message.payload()));
                wanted && message.offset() + 1 < end
            })
        })
    }

    /// The record at an offset before the end; none where another one comes in its place.
    pub(super) fn record(&self, place: &Place<'_>, offset: u64) -> Result<Option<Bytes>, LogError> {
        let Ok(begin) = i64::try_from(offset) else { return Ok(None) };
        let mut found = None;
        self.with(&mut |consumer| {
            let (_, end) = place.watermarks(consumer)?;
            if begin >= end {
                return Ok(());
            }
            let reading = read(consumer, place, begin, &mut |message| {
                let payload = message.payload().unwrap_or_default();
                found = (message.offset() == begin).then(|| Bytes::copy_from_slice(payload));
                false
            });
            reading.or_else(nothing_where_lost)
        })?;
        Ok(found)
    }

    /// Reads with a consumer that waits; and where that one fails, which may be lost, with a new one.
    fn with(
        &self,
        work: &mut dyn FnMut(&BaseConsumer) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        if let Some(consumer) = self.take() {
            if work(&consumer).is_ok() {
                self.keep(consumer);
                return Ok(());
            }
            discard(consumer);
            let others = std::mem::take(&mut *self.idle.lock());
            others.into_iter().for_each(discard);
        }
        let mut settings = partition_consumer(&self.config);
        settings.set("fetch.wait.max.ms", FETCH_WAIT_MS);
        let consumer = settings.create().map_err(|error| unavailable(&error))?;
        let done = work(&consumer);
        match done {
            Ok(()) => self.keep(consumer),
            Err(_) => discard(consumer),
        }
        done
    }

    /// One that has not met with anything while it waited.
    fn take(&self) -> Option<BaseConsumer> {
        loop {
            let consumer = self.idle.lock().pop()?;
            if consumer.poll(Duration::ZERO).is_none() {
                return Some(consumer);
            }
            discard(consumer);
        }
    }

    fn keep(&self, consumer: BaseConsumer) {
        let mut idle = self.idle.lock();
        if consumer.unassign().is_ok() && idle.len() < IDLE {
            idle.push(consumer);
        }
    }
}

fn nothing_where_lost(error: LogError) -> Result<(), LogError> {
    if matches!(error, LogError::Lost { .. }) { Ok(()) } else { Err(error) }
}

/// Nobody waits for the end of a client that has failed.
fn discard(consumer: BaseConsumer) {
    thread::spawn(move || drop(consumer));
}

/// Gives records from an offset on, as long as `each` wants more.
fn read(
    consumer: &BaseConsumer,
    place: &Place<'_>,
    begin: i64,
    each: &mut dyn FnMut(&BorrowedMessage<'_>) -> bool,
) -> Result<(), LogError> {
    let Place { topic, partition } = *place;
    assign(consumer, topic, partition, begin)?;
    let mut moved = Instant::now();
    while moved.elapsed() < STALLED {
        match consumer.poll(POLL) {
            None => {}
            Some(Err(error)) if is_out_of_range(&error) => {
                let from = u64::try_from(begin).unwrap_or_default();
                return Err(LogError::Lost { partition, from });
            }
            Some(Err(error)) => tracing::debug!(%error, topic, "the consumer tries again"),
            Some(Ok(message)) => {
                if !each(&message) {
                    return Ok(());
                }
                moved = Instant::now(); // whoever takes them may take a while
            }
        }
    }
    Err(LogError::Unavailable(format!("{topic} cannot be read")))
}
