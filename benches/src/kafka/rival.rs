//! Contestant `raw` of Kafka: one thread that produces, librdkafka's that deliver.
//!
//! Settings as for the owner (acks=all, idempotent, no compression, no Nagle) except for
//! `linger.ms`. Only so many records are under way at a time; the thread is woken when an eighth
//! of them has been delivered, which costs it fewer turns than being woken for each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::{Condvar, Mutex};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{
    BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer,
};
use rdkafka::{ClientConfig, ClientContext};

use crate::lap::{Tally, Window};
use crate::record::Record;

const FLUSH: Duration = Duration::from_secs(10);
/// How soon the thread notices that nothing is delivered any more and its time is over.
const LOOK: Duration = Duration::from_millis(100);

type Handle = ThreadedProducer<Deliveries, NoCustomPartitioner>;

#[derive(Clone)]
pub(crate) struct ProducerRival {
    pub(crate) brokers: String,
    pub(crate) topic: String,
    pub(crate) linger_ms: f64,
    pub(crate) in_flight: usize,
    pub(crate) records: Arc<Vec<Record>>,
}

impl ProducerRival {
    pub(crate) fn name(&self) -> String {
        format!("raw, linger {} ms", self.linger_ms)
    }

    pub(crate) async fn lap(&self, length: Duration) -> anyhow::Result<Tally> {
        let rival = self.clone();
        let run = move || rival.run(length);
        tokio::task::spawn_blocking(run).await.context("the producer ended badly")?
    }

    /// Blocks for the whole lap.
    fn run(&self, length: Duration) -> anyhow::Result<Tally> {
        let window = Window::of(length);
        let handle = self.connect(window)?;
        let deliveries = handle.context();
        let mut records = self.records.iter().cycle();
        while !window.is_over() {
            for record in records.by_ref().take(deliveries.take_room(self.in_flight)) {
                self.send(&handle, record)?;
            }
        }
        handle.flush(FLUSH).context("records were not delivered in time")?;
        let mut flow = deliveries.flow.lock();
        Ok(std::mem::replace(&mut flow.tally, Tally::new(window)))
    }

    fn connect(&self, window: Window) -> anyhow::Result<Handle> {
        let flow = Flow { under_way: 0, wake_at: 0, tally: Tally::new(window) };
        ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", self.linger_ms.to_string())
            .set("socket.nagle.disable", "true")
            .create_with_context(Deliveries { flow: Mutex::new(flow), room: Condvar::new() })
            .context("no producer")
    }

    fn send(&self, handle: &Handle, record: &Record) -> anyhow::Result<()> {
        let message =
            BaseRecord::<(), [u8], _>::with_opaque_to(&self.topic, Box::new(Instant::now()))
                .partition(i32::try_from(record.partition)?)
                .payload(&record.bytes);
        handle.send(message).map_err(|(error, _)| error).context("a record was not taken")
    }
}

struct Flow {
    under_way: usize,
    /// The thread waits until so few are under way.
    wake_at: usize,
    tally: Tally,
}

struct Deliveries {
    flow: Mutex<Flow>,
    room: Condvar,
}

impl Deliveries {
    /// Waits for a while until a worthwhile number of records may be sent, and takes them as sent.
    fn take_room(&self, most: usize) -> usize {
        let mut flow = self.flow.lock();
        flow.wake_at = most - (most / 8).max(1);
        if flow.under_way > flow.wake_at {
            self.room.wait_for(&mut flow, LOOK);
        }
        let room = most - flow.under_way;
        flow.under_way = most;
        room
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, result: &DeliveryResult<'_>, begun: Box<Instant>) {
        let mut flow = self.flow.lock();
        match result {
            Ok(message) if message.offset() >= 0 => flow.tally.answered(*begun),
            Ok(_) | Err(_) => flow.tally.failed(),
        }
        flow.under_way -= 1;
        if flow.under_way == flow.wake_at {
            self.room.notify_one();
        }
    }
}
