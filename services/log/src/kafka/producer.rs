//! Appends, and one wake-up when all records of an append have been reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use rdkafka::ClientContext;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, Producer as _};
use rdkafka::producer::{ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use crate::kafka::KafkaConfig;
use crate::kafka::client::{self, partition_number, unavailable};
use crate::{Appending, Delivery, Entries, LogError};

/// How long librdkafka may try to get a record written. After that nobody knows what became of it,
/// and the owner looks.
const MESSAGE_TIMEOUT_MS: &str = "4000";

pub(super) type Handle = ThreadedProducer<Reports, NoCustomPartitioner>;

pub(super) struct Producer {
    config: Arc<KafkaConfig>,
    handle: RwLock<Arc<Handle>>,
    renewing: AtomicBool,
}

impl Producer {
    pub(super) fn connect(config: Arc<KafkaConfig>) -> Result<Self, LogError> {
        let handle = create(&config)?;
        Ok(Self { config, handle: RwLock::new(Arc::new(handle)), renewing: AtomicBool::new(false) })
    }

    pub(super) fn handle(&self) -> Arc<Handle> {
        Arc::clone(&self.handle.read())
    }

    pub(super) fn append(
        self: &Arc<Self>,
        topic: &str,
        partition: u32,
        records: &[Vec<u8>],
    ) -> Appending {
        let records = records.iter().map(|record| (None, record.as_slice()));
        self.send(topic, partition, records)
    }

    pub(super) fn put(
        self: &Arc<Self>,
        topic: &str,
        partition: u32,
        entries: &Entries,
    ) -> Appending {
        let records = entries.iter().map(|(key, value)| (Some(key.as_str()), &value[..]));
        self.send(topic, partition, records)
    }

    fn send<'a>(
        self: &Arc<Self>,
        topic: &str,
        partition: u32,
        records: impl ExactSizeIterator<Item = (Option<&'a str>, &'a [u8])>,
    ) -> Appending {
        let (done, appending) = Appending::new(records.len());
        let burst = Arc::new(Burst::new(records.len(), done));
        let handle = self.handle();
        let mut queued = true;
        for (index, (key, record)) in records.enumerate() {
            // After one that was not taken none may follow: the rest would leave a hole.
            queued = queued && enqueue(&handle, topic, partition, key, record, &burst, index);
            if !queued {
                burst.report(index, Delivery::Unknown);
            }
        }
        if !queued && handle.client().fatal_error().is_some() {
            self.renew();
        }
        appending
    }

    fn replace(&self, handle: Handle) {
        let old = std::mem::replace(&mut *self.handle.write(), Arc::new(handle));
        drop(old); // takes its time, and must not do so under the lock
    }

    /// A producer with a fatal error takes nothing any more: make another, off this thread.
    fn renew(self: &Arc<Self>) {
        if self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let producer = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            match create(&producer.config) {
                Ok(handle) => producer.replace(handle),
                Err(error) => tracing::error!(%error, "no new producer after a fatal error"),
            }
            producer.renewing.store(false, Ordering::Release);
        });
    }
}

fn create(config: &KafkaConfig) -> Result<Handle, LogError> {
    client::base(config)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("message.timeout.ms", MESSAGE_TIMEOUT_MS)
        .set("request.timeout.ms", MESSAGE_TIMEOUT_MS)
        .set("queue.buffering.max.messages", "500000")
        .create_with_context(Reports)
        .map_err(|error| unavailable(&error))
}

fn enqueue(
    handle: &Handle,
    topic: &str,
    partition: u32,
    key: Option<&str>,
    record: &[u8],
    burst: &Arc<Burst>,
    index: usize,
) -> bool {
    let slot = Box::new(Slot { burst: Arc::clone(burst), index });
    let mut message = BaseRecord::<str, [u8], _>::with_opaque_to(topic, slot)
        .partition(partition_number(partition))
        .payload(record);
    message.key = key;
    handle.send(message).inspect_err(|(error, _)| tracing::warn!(%error, "not queued")).is_ok()
}

/// The records of one append.
struct Burst {
    deliveries: Mutex<Vec<Delivery>>,
    missing: AtomicUsize,
    done: Mutex<Option<oneshot::Sender<Vec<Delivery>>>>,
}

impl Burst {
    fn new(records: usize, done: oneshot::Sender<Vec<Delivery>>) -> Self {
        Self {
            deliveries: Mutex::new(vec![Delivery::Unknown; records]),
            missing: AtomicUsize::new(records),
            done: Mutex::new(Some(done)),
        }
    }

    fn report(&self, index: usize, delivery: Delivery) {
        self.deliveries.lock()[index] = delivery;
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let deliveries = std::mem::take(&mut *self.deliveries.lock());
            if let Some(done) = self.done.lock().take() {
                let _ = done.send(deliveries); // nobody waits any more: no matter here
            }
        }
    }
}

pub(super) struct Slot {
    burst: Arc<Burst>,
    index: usize,
}

pub(super) struct Reports;

impl ClientContext for Reports {}

impl ProducerContext<NoCustomPartitioner> for Reports {
    type DeliveryOpaque = Box<Slot>;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: Box<Slot>) {
        let delivery = match result {
            Ok(message) => delivery_at(message.offset()),
            Err((error, _)) => {
                tracing::debug!(%error, "a record of unknown fate");
                Delivery::Unknown
            }
        };
        slot.burst.report(slot.index, delivery);
    }
}

/// librdkafka reports -1001 + i for a record whose acknowledgement it only infers.
fn delivery_at(offset: i64) -> Delivery {
    u64::try_from(offset).map_or(Delivery::Unknown, Delivery::At)
}
