//! From events to rows. Pure.
//!
//! A row is a function of the log up to its position. So an event that a row reflects already is
//! passed over, and a projection may begin again anywhere before.

use std::collections::HashMap;

use jiff::Timestamp;
use seckill_proto::v1::{self, CouponGrabbed, Event, Terms, event};
use seckill_proto::{CouponId, Position};
use seckill_views::{CouponRow, FinishReason, PromotionRow, PromotionState};

/// An event about a promotion that was never scheduled: the log is damaged, or the views are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an event at {position} is about promotion {promotion_id:?}, which was never scheduled: the views are \
     damaged, or the log is; `seckill verify` tells. Views are made again from the log: move the directory \
     away, or choose another --cql-keyspace"
)]
pub struct Unscheduled {
    position: Position,
    promotion_id: String,
}

/// Rows of promotions, as far as events have been applied.
#[derive(Debug, Default)]
pub(crate) struct Projection {
    promotions: HashMap<String, PromotionRow>,
}

impl Projection {
    /// Whether the row of a promotion is at hand.
    pub(crate) fn knows(&self, promotion_id: &str) -> bool {
        self.promotions.contains_key(promotion_id)
    }

    pub(crate) fn insert(&mut self, row: PromotionRow) {
        self.promotions.insert(row.id.clone(), row);
    }

    pub(crate) fn get(&self, promotion_id: &str) -> Option<&PromotionRow> {
        self.promotions.get(promotion_id)
    }

    /// Forgets promotions that are over; they can be loaded again.
    pub(crate) fn forget_finished(&mut self) {
        self.promotions.retain(|_, row| row.state != PromotionState::Finished);
    }

    /// Applies an event. The coupon, where it gave one.
    pub(crate) fn apply(
        &mut self,
        event: &Event,
        position: Position,
    ) -> Result<Option<CouponRow>, Unscheduled> {
        let Some(body) = &event.body else { return Ok(None) };
        if let event::Body::Scheduled(scheduled) = body {
            let row = scheduled.terms.as_ref().map(|terms| new_row(event, terms, position));
            let new = row.filter(|row| !self.knows(&row.id));
            new.into_iter().for_each(|row| self.insert(row));
            return Ok(None);
        }
        let unscheduled = || Unscheduled { position, promotion_id: event.promotion_id.clone() };
        let row = self.promotions.get_mut(&event.promotion_id).ok_or_else(unscheduled)?;
        if row.position < position {
            update(row, body);
            row.position = position;
        }
        let event::Body::Grabbed(grabbed) = body else { return Ok(None) };
        Ok(Some(coupon(event, grabbed, row.discount, position)))
    }
}

/// Whether an event needs the row that came before it.
pub(crate) fn needs_row(event: &Event) -> bool {
    !matches!(event.body, None | Some(event::Body::Scheduled(_)))
}

fn new_row(event: &Event, terms: &Terms, position: Position) -> PromotionRow {
    let mut row = PromotionRow {
        id: event.promotion_id.clone(),
        name: String::new(),
        coupons: 0,
        remaining: 0,
        discount: 0.0,
        limit_per_customer: 0,
        starts_at: Timestamp::UNIX_EPOCH,
        finishes_at: None,
        state: PromotionState::Scheduled,
        finish_reason: None,
        created: position,
        position,
    };
    set_terms(&mut row, terms);
    row
}

fn set_terms(row: &mut PromotionRow, terms: &Terms) {
    row.name.clone_from(&terms.name);
    let granted = row.coupons - row.remaining;
    row.coupons = terms.coupons;
    row.remaining = terms.coupons.saturating_sub(granted);
    row.discount = terms.discount;
    row.limit_per_customer = terms.limit_per_customer;
    row.starts_at = timestamp(terms.starts_at_ms);
    row.finishes_at = terms.finishes_at_ms.map(timestamp);
}

fn update(row: &mut PromotionRow, body: &event::Body) {
    match body {
        event::Body::Scheduled(_) => {}
        event::Body::Changed(changed) => {
            changed.terms.iter().for_each(|terms| set_terms(row, terms));
        }
        event::Body::Started(_) | event::Body::Resumed(_) => row.state = PromotionState::Active,
        event::Body::Paused(_) => row.state = PromotionState::Paused,
        event::Body::SoldOut(_) => row.state = PromotionState::SoldOut,
        event::Body::Grabbed(grabbed) => row.remaining = grabbed.remaining,
        event::Body::Restocked(restocked) => {
            row.coupons = restocked.coupons;
            row.remaining = restocked.remaining;
            if row.state == PromotionState::SoldOut {
                row.state = PromotionState::Active;
            }
        }
        event::Body::Finished(finished) => {
            row.state = PromotionState::Finished;
            row.finish_reason = Some(finish_reason(finished.reason()));
        }
    }
}

fn finish_reason(reason: v1::FinishReason) -> FinishReason {
    match reason {
        v1::FinishReason::SoldOut => FinishReason::SoldOut,
        v1::FinishReason::Time => FinishReason::Time,
        v1::FinishReason::Closed => FinishReason::Closed,
        // Strict decoding lets no record without a reason through.
        v1::FinishReason::Cancelled | v1::FinishReason::Unspecified => FinishReason::Cancelled,
    }
}

fn coupon(event: &Event, grabbed: &CouponGrabbed, discount: f64, position: Position) -> CouponRow {
    let id = CouponId { promotion_id: event.promotion_id.clone(), serial: grabbed.serial };
    CouponRow {
        id: id.to_string(),
        promotion_id: id.promotion_id,
        serial: id.serial,
        customer_id: grabbed.customer_id.clone(),
        discount,
        grabbed_at: timestamp(event.at_ms),
        position,
    }
}

/// Milliseconds since the epoch; what lies outside of all calendars is brought in.
fn timestamp(ms: i64) -> Timestamp {
    let limit = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(ms).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::{PromotionFinished, PromotionScheduled, PromotionStarted, event::Body};

    use super::*;

    fn at(offset: u64) -> Position {
        Position { partition: 0, offset }
    }

    fn event(at_ms: i64, body: Body) -> Event {
        Event { at_ms, promotion_id: "p".into(), body: Some(body), ..Event::default() }
    }

    fn sale() -> Vec<Event> {
        let terms = Terms {
            name: "a sale".into(),
            coupons: 2,
            discount: 0.7,
            starts_at_ms: 1_000,
            finishes_at_ms: None,
            limit_per_customer: 1,
        };
        let grabbed = |serial, customer_id: &str, remaining| {
            Body::Grabbed(CouponGrabbed {
                serial,
                customer_id: customer_id.into(),
                remaining,
                idempotency_key: String::new(),
            })
        };
        vec![
            event(500, Body::Scheduled(PromotionScheduled { terms: Some(terms) })),
            event(1_000, Body::Started(PromotionStarted {})),
            event(1_001, grabbed(1, "a", 1)),
            event(1_002, grabbed(2, "b", 0)),
            event(
                1_002,
                Body::Finished(PromotionFinished { reason: v1::FinishReason::SoldOut.into() }),
            ),
        ]
    }

    fn apply_all(projection: &mut Projection, events: &[Event]) -> Vec<CouponRow> {
        let coupons = (0..).zip(events);
        coupons.filter_map(|(o, event)| projection.apply(event, at(o)).expect("rows")).collect()
    }

    #[test]
    fn a_sale_becomes_rows() {
        let mut projection = Projection::default();
        let coupons = apply_all(&mut projection, &sale());
        let row = projection.get("p").expect("a row");
        assert_eq!((row.remaining, row.state), (0, PromotionState::Finished));
        assert_eq!(row.finish_reason, Some(FinishReason::SoldOut));
        assert_eq!((row.created, row.position), (at(0), at(4)));
        assert_eq!(coupons[1].id, "p-2");
        // The original stored the time of storing.
        assert_eq!(coupons[0].grabbed_at.as_millisecond(), 1_001);
    }

    /// The original made a second coupon of a redelivered message, and revived a promotion.
    #[test]
    fn events_that_come_again_change_nothing() {
        let mut projection = Projection::default();
        let first = apply_all(&mut projection, &sale());
        let row = projection.get("p").cloned();
        assert_eq!(apply_all(&mut projection, &sale()), first);
        assert_eq!(projection.get("p").cloned(), row);
    }

    #[test]
    fn an_event_about_nothing_is_noticed() {
        assert!(Projection::default().apply(&sale()[1], at(0)).is_err());
    }
}
