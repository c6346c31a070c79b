//! The one producer of the process, and a thread that replaces it when it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::RwLock;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, Producer as _, ThreadedProducer};

use crate::kafka::KafkaConfig;
use crate::kafka::TRACEPARENT;
use crate::kafka::client::{base, partition_number, reaches, unavailable};
use crate::kafka::delivery::{Alarm, Burst, Reports, Slot};
use crate::{Appending, Delivery, Entries, LogError, Traced};

/// How long librdkafka may try to get a record written. After that nobody knows what became of it,
/// and the owner looks.
const MESSAGE_TIMEOUT_MS: &str = "4000";
/// How long a producer that is in doubt has to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// Between attempts to make another.
const RETRY: Duration = Duration::from_millis(200);

pub(super) type Handle = ThreadedProducer<Reports, NoCustomPartitioner>;

pub(super) struct Producer {
    current: Arc<Current>,
    alarm: Alarm,
    watch: Option<JoinHandle<()>>,
}

/// A record as it is sent.
struct Sent<'a> {
    key: Option<&'a str>,
    value: Option<&'a [u8]>,
    trace: Option<&'a str>,
}

impl<'a> Sent<'a> {
    fn of(key: &'a str, value: Option<&'a [u8]>) -> Self {
        Self { key: Some(key), value, trace: None }
    }
}

impl Producer {
    /// `topic` must exist: a producer that can tell of it is well.
    pub(super) fn connect(config: Arc<KafkaConfig>, topic: &str) -> Result<Self, LogError> {
        let (sender, alarms) = sync_channel(1);
        let alarm = Alarm(sender);
        let handle = RwLock::new(Arc::new(create(&config, &alarm)?));
        let (topic, closing) = (topic.to_owned(), AtomicBool::new(false));
        let current = Arc::new(Current { config, topic, handle, closing });
        let (watched, for_next) = (Arc::clone(&current), alarm.clone());
        let watch = thread::Builder::new()
            .name("log-producer".into())
            .spawn(move || watched.keep_well(&alarms, &for_next))
            .map_err(|error| LogError::Broken(error.to_string()))?;
        Ok(Self { current, alarm, watch: Some(watch) })
    }

    pub(super) fn handle(&self) -> Arc<Handle> {
        Arc::clone(&self.current.handle.read())
    }

    pub(super) fn append(
        &self,
        topic: &str,
        partition: u32,
        records: &[Vec<u8>],
        traced: &Traced,
    ) -> Appending {
        let mut traced = traced.iter().peekable();
        let records = records.iter().enumerate().map(|(index, record)| {
            let trace = traced.next_if(|(traced, _)| *traced == index);
            Sent { key: None, value: Some(record), trace: trace.map(|(_, trace)| &**trace) }
        });
        self.send(topic, partition, records)
    }

    pub(super) fn put(&self, topic: &str, partition: u32, entries: &Entries) -> Appending {
        let records = entries.iter().map(|(key, value)| Sent::of(key, Some(value)));
        self.send(topic, partition, records)
    }

    pub(super) fn delete(&self, topic: &str, partition: u32, keys: &[String]) -> Appending {
        self.send(topic, partition, keys.iter().map(|key| Sent::of(key, None)))
    }

    /// The broker's time when it took a record of this key, where the topic has the broker's time.
    pub(super) async fn time_ms(&self, topic: &str, key: &str) -> Option<i64> {
        let (appending, burst) =
            self.send_burst(topic, 0, std::iter::once(Sent::of(key, Some(&[]))));
        appending.deliveries().await;
        burst.appended_ms()
    }

    fn send<'a>(
        &self,
        topic: &str,
        partition: u32,
        records: impl ExactSizeIterator<Item = Sent<'a>>,
    ) -> Appending {
        self.send_burst(topic, partition, records).0
    }

    fn send_burst<'a>(
        &self,
        topic: &str,
        partition: u32,
        records: impl ExactSizeIterator<Item = Sent<'a>>,
    ) -> (Appending, Arc<Burst>) {
        let (done, appending) = Appending::new(records.len());
        let burst = Burst::new(records.len(), done);
        let handle = self.handle();
        let mut queued = true;
        for (index, record) in records.enumerate() {
            // After one that was not taken none may follow: the rest would leave a hole.
            queued = queued && enqueue(&handle, topic, partition, &record, &burst, index);
            if !queued {
                burst.report(index, Delivery::Unknown);
            }
        }
        if !queued {
            self.alarm.raise();
        }
        (appending, burst)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.current.closing.store(true, Ordering::Release);
        self.alarm.raise();
        if let Some(watch) = self.watch.take() {
            let _ = watch.join();
        }
    }
}

/// The producer in use.
struct Current {
    config: Arc<KafkaConfig>,
    topic: String,
    handle: RwLock<Arc<Handle>>,
    closing: AtomicBool,
}

impl Current {
    /// Looks at the producer at every alarm, and replaces it where it has a fatal error or is
    /// lost. One that only waits for its broker is left alone.
    fn keep_well(&self, alarms: &Receiver<()>, alarm: &Alarm) {
        while alarms.recv().is_ok() && !self.closing() {
            while self.needs_another() {
                match self.another(alarm) {
                    Some(handle) if self.needs_another() => self.replace(handle),
                    Some(_) | None => thread::sleep(RETRY),
                }
            }
        }
    }

    fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Looking takes a while, in which the end may have come.
    fn needs_another(&self) -> bool {
        !self.closing() && !self.is_well() && !self.closing()
    }

    fn is_well(&self) -> bool {
        let handle = Arc::clone(&self.handle.read());
        let client = handle.client();
        client.fatal_error().is_none() && reaches(client, &self.topic, ANSWERS_WITHIN)
    }

    /// Another producer, if it reaches the cluster.
    fn another(&self, alarm: &Alarm) -> Option<Handle> {
        let handle = create(&self.config, alarm)
            .inspect_err(|error| tracing::error!(%error, "no other producer can be made"))
            .ok()?;
        reaches(handle.client(), &self.topic, ANSWERS_WITHIN).then_some(handle)
    }

    /// What the old one has on its way becomes of unknown fate.
    fn replace(&self, handle: Handle) {
        tracing::warn!("the producer was lost and is replaced");
        let old = std::mem::replace(&mut *self.handle.write(), Arc::new(handle));
        drop(old); // takes its time, and must not do so under the lock
    }
}

fn create(config: &KafkaConfig, alarm: &Alarm) -> Result<Handle, LogError> {
    base(config)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("message.timeout.ms", MESSAGE_TIMEOUT_MS)
        .set("request.timeout.ms", MESSAGE_TIMEOUT_MS)
        .set("queue.buffering.max.messages", "500000")
        .create_with_context(Reports { alarm: alarm.clone() })
        .map_err(|error| unavailable(&error))
}

fn enqueue(
    handle: &Handle,
    topic: &str,
    partition: u32,
    record: &Sent<'_>,
    burst: &Arc<Burst>,
    index: usize,
) -> bool {
    let slot = Box::new(Slot { burst: Arc::clone(burst), index });
    let mut message = BaseRecord::<str, [u8], _>::with_opaque_to(topic, slot)
        .partition(partition_number(partition));
    (message.key, message.payload) = (record.key, record.value);
    message.headers = record
        .trace
        .map(|trace| OwnedHeaders::new().insert(Header { key: TRACEPARENT, value: Some(trace) }));
    handle.send(message).inspect_err(|(error, _)| tracing::warn!(%error, "not queued")).is_ok()
}
