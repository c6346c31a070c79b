//! Strict reading of log records.
//!
//! prost skips what it does not know. On the log that would mean to act on half an event written
//! by a newer version, so a record that does not encode back to its own length is unreadable, and
//! whoever reads it stops there.

use prost::Message;

use crate::v1::{Event, Fence, Record, Skip, record};

/// A record that this version must not act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not a protobuf message of this type.
    #[error("it is no record of this log: {0}")]
    Malformed(String),
    /// Fields that this version does not know.
    #[error("it has fields that this version does not know")]
    UnknownFields,
    /// A field that must be there is missing or out of its range.
    #[error("the record has no valid {0}")]
    Missing(&'static str),
}

/// Decodes a record of the event log.
///
/// # Errors
/// [`Unreadable`] for everything but exactly what this version would have written.
pub fn decode_record(bytes: &[u8]) -> Result<record::Kind, Unreadable> {
    let record = decode_strictly::<Record>(bytes)?;
    match record.kind.ok_or(Unreadable::Missing("kind"))? {
        record::Kind::Fence(fence) => check_fence(fence).map(record::Kind::Fence),
        record::Kind::Event(event) => check_event(event).map(record::Kind::Event),
        record::Kind::Skip(skip) => check_skip(skip).map(record::Kind::Skip),
    }
}

/// The place that a record takes among others, as far as any version can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A fence of this id.
    Fence(Vec<u8>),
    /// An event of a term, and its number there.
    Event {
        /// Offset of the fence.
        term: u64,
        /// 0, 1, 2, ... within the term.
        seq: u64,
    },
    /// None.
    None,
}

/// What can be told of a record that need not be readable.
#[must_use]
pub fn place_of(bytes: &[u8]) -> Place {
    match Record::decode(bytes).ok().and_then(|record| record.kind) {
        Some(record::Kind::Fence(fence)) => Place::Fence(fence.fence_id),
        Some(record::Kind::Event(Event { term, seq, .. })) => Place::Event { term, seq },
        Some(record::Kind::Skip(_)) | None => Place::None,
    }
}

/// Decodes a message of which every field must be known.
///
/// # Errors
/// [`Unreadable`] for everything but exactly what this version would have written.
pub fn decode_strictly<M: Message + Default>(bytes: &[u8]) -> Result<M, Unreadable> {
    let message = M::decode(bytes).map_err(|error| Unreadable::Malformed(error.to_string()))?;
    if message.encoded_len() == bytes.len() { Ok(message) } else { Err(Unreadable::UnknownFields) }
}

/// Encodes an event as a record of the log.
#[must_use]
pub fn encode_event(event: Event) -> Vec<u8> {
    Record { kind: Some(record::Kind::Event(event)) }.encode_to_vec()
}

/// Encodes a fence as a record of the log.
#[must_use]
pub fn encode_fence(fence: Fence) -> Vec<u8> {
    Record { kind: Some(record::Kind::Fence(fence)) }.encode_to_vec()
}

/// Encodes a skip as a record of the log.
#[must_use]
pub fn encode_skip(skip: Skip) -> Vec<u8> {
    Record { kind: Some(record::Kind::Skip(skip)) }.encode_to_vec()
}

fn check_skip(skip: Skip) -> Result<Skip, Unreadable> {
    match (skip.by.is_empty(), skip.reason.is_empty()) {
        (true, _) => Err(Unreadable::Missing("by")),
        (false, true) => Err(Unreadable::Missing("reason")),
        (false, false) => Ok(skip),
    }
}

fn check_fence(fence: Fence) -> Result<Fence, Unreadable> {
    if fence.fence_id.len() != 16 {
        return Err(Unreadable::Missing("fence_id"));
    }
    Ok(fence)
}

fn check_event(event: Event) -> Result<Event, Unreadable> {
    use crate::v1::event::Body;
    if event.promotion_id.is_empty() {
        return Err(Unreadable::Missing("promotion_id"));
    }
    match event.body.as_ref().ok_or(Unreadable::Missing("body"))? {
        Body::Scheduled(scheduled) => check_terms(scheduled.terms.as_ref())?,
        Body::Changed(changed) => check_terms(changed.terms.as_ref())?,
        Body::Grabbed(grabbed) if grabbed.serial == 0 => return Err(Unreadable::Missing("serial")),
        Body::Grabbed(grabbed) if grabbed.customer_id.is_empty() => {
            return Err(Unreadable::Missing("customer_id"));
        }
        Body::Finished(finished) if finished.reason == 0 => {
            return Err(Unreadable::Missing("reason"));
        }
        Body::Finished(finished) if crate::v1::FinishReason::try_from(finished.reason).is_err() => {
            return Err(Unreadable::Missing("reason"));
        }
        Body::Grabbed(_)
        | Body::Started(_)
        | Body::Restocked(_)
        | Body::SoldOut(_)
        | Body::Paused(_)
        | Body::Resumed(_)
        | Body::Finished(_) => {}
    }
    Ok(event)
}

fn check_terms(terms: Option<&crate::v1::Terms>) -> Result<(), Unreadable> {
    match terms {
        Some(terms) if terms.coupons > 0 && terms.limit_per_customer > 0 => Ok(()),
        _ => Err(Unreadable::Missing("terms")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{CouponGrabbed, event::Body};

    fn grabbed(serial: u32) -> Event {
        Event {
            term: 3,
            seq: 1,
            at_ms: 1_700_000_000_000,
            promotion_id: "p".into(),
            body: Some(Body::Grabbed(CouponGrabbed {
                serial,
                customer_id: "c".into(),
                remaining: 9,
                idempotency_key: String::new(),
            })),
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let bytes = encode_event(grabbed(1));
        assert_eq!(decode_record(&bytes), Ok(record::Kind::Event(grabbed(1))));
    }

    #[test]
    fn a_field_of_a_newer_version_is_not_skipped() {
        let mut bytes = encode_event(grabbed(1));
        bytes.extend([0xA0, 0x06, 0x01]); // field 100, varint 1
        assert_eq!(decode_record(&bytes), Err(Unreadable::UnknownFields));
    }

    #[test]
    fn an_event_of_a_newer_version_is_not_skipped() {
        let event = Event { body: None, ..grabbed(1) };
        assert_eq!(decode_record(&encode_event(event)), Err(Unreadable::Missing("body")));
    }

    #[test]
    fn nonsense_is_unreadable() {
        for bytes in [&b""[..], b"hello", &[0xFF; 40], &encode_event(grabbed(0))] {
            assert!(decode_record(bytes).is_err(), "{bytes:?}");
        }
    }
}
