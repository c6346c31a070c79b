//! What became of the records of one append: one wake-up when all of them have been reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;

use parking_lot::Mutex;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{NoCustomPartitioner, ProducerContext};
use rdkafka::{ClientContext, Timestamp};
use tokio::sync::oneshot;

use crate::Delivery;
use crate::kafka::client::may_be_lost;

/// The records of one append.
pub(super) struct Burst {
    deliveries: Mutex<Vec<Delivery>>,
    missing: AtomicUsize,
    done: Mutex<Option<oneshot::Sender<Vec<Delivery>>>>,
    /// When the broker took the last of them, where the topic has the broker's time.
    appended_ms: Mutex<Option<i64>>,
}

impl Burst {
    pub(super) fn new(records: usize, done: oneshot::Sender<Vec<Delivery>>) -> Arc<Self> {
        Arc::new(Self {
            deliveries: Mutex::new(vec![Delivery::Unknown; records]),
            missing: AtomicUsize::new(records),
            done: Mutex::new(Some(done)),
            appended_ms: Mutex::new(None),
        })
    }

    pub(super) fn appended_ms(&self) -> Option<i64> {
        *self.appended_ms.lock()
    }

    pub(super) fn report(&self, index: usize, delivery: Delivery) {
        self.deliveries.lock()[index] = delivery;
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let deliveries = std::mem::take(&mut *self.deliveries.lock());
            if let Some(done) = self.done.lock().take() {
                let _ = done.send(deliveries); // nobody waits any more: no matter here
            }
        }
    }
}

/// A record's place in its burst; travels through librdkafka with the record.
pub(super) struct Slot {
    pub(super) burst: Arc<Burst>,
    pub(super) index: usize,
}

/// Has a producer looked at. Raised twice it is heard once.
#[derive(Clone)]
pub(super) struct Alarm(pub(super) SyncSender<()>);

impl Alarm {
    pub(super) fn raise(&self) {
        let _ = self.0.try_send(()); // full: raised already
    }
}

/// Passes on what librdkafka reports of records, and of the producer itself.
pub(super) struct Reports {
    pub(super) alarm: Alarm,
}

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the producer has an error");
        if may_be_lost(&error) {
            self.alarm.raise();
        }
    }
}

impl ProducerContext<NoCustomPartitioner> for Reports {
    type DeliveryOpaque = Box<Slot>;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: Box<Slot>) {
        let delivery = match result {
            Ok(message) => {
                if let Timestamp::LogAppendTime(ms) = message.timestamp() {
                    *slot.burst.appended_ms.lock() = Some(ms);
                }
                delivery_at(message.offset())
            }
            Err((error, _)) => {
                tracing::debug!(%error, "a record of unknown fate");
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut) {
                    self.alarm.raise();
                }
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
