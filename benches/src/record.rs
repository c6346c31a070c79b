//! Records as the owner would write them, made before the clock runs.

use seckill_edge::now_ms;
use seckill_proto::encode_event;
use seckill_proto::v1::{CouponGrabbed, Event, event};

use crate::sale::{OpenSale, Target};

/// How many different ones are sent in turn.
const DIFFERENT: u32 = 8_192;
/// Serials have grown to so many digits in the middle of a run.
const FIRST_SERIAL: u32 = 200_000;

pub(crate) struct Record {
    pub(crate) partition: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Grabs of a sale, promotion after promotion in turn.
pub(crate) fn of_sale(sale: &OpenSale) -> Vec<Record> {
    let records = (0..DIFFERENT).map(|number| {
        let Target { id, partition } = sale.wanted_by(number);
        let event = grabbed(id, FIRST_SERIAL + number, sale.crowd.customer_id(number));
        Record { partition: *partition, bytes: encode_event(event) }
    });
    records.collect()
}

fn grabbed(promotion_id: &str, serial: u32, customer_id: String) -> Event {
    let remaining = u32::MAX - serial;
    let grabbed = CouponGrabbed { serial, customer_id, remaining, idempotency_key: String::new() };
    Event {
        term: 0, // the first fence of a log is its first record
        seq: u64::from(serial) + 1,
        at_ms: now_ms(),
        promotion_id: promotion_id.to_owned(),
        body: Some(event::Body::Grabbed(grabbed)),
    }
}

/// The mean size of records, in bytes.
pub(crate) fn mean_bytes(records: &[Record]) -> usize {
    records.iter().map(|record| record.bytes.len()).sum::<usize>() / records.len().max(1)
}
