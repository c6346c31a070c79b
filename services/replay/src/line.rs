//! An event as a line of JSON.

use jiff::Timestamp;
use seckill_edge::timestamp;
use seckill_proto::v1::{Fence, FinishReason, Skip, Terms, event};
use serde::Serialize;
use utoipa::ToSchema;

use crate::source::{Item, What};

/// A record of the log.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct Line<'a> {
    /// Where it is, as PARTITION:OFFSET.
    #[schema(example = "3:1042")]
    position: String,
    /// When it was decided; none of a fence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    at: Option<Timestamp>,
    /// Of what promotion; none of a fence or a skip.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    promotion_id: Option<&'a str>,
    #[serde(flatten)]
    body: Option<Body<'a>>,
    /// Of which owner of the partition it is: the offset of that owner's fence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    term: Option<u64>,
    /// Its number within the term.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    seq: Option<u64>,
    /// It does not count: its owner had been deposed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    void: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = EventBody)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Body<'a> {
    PromotionScheduled(Offer<'a>),
    PromotionChanged(Offer<'a>),
    PromotionStarted {},
    PromotionPaused {},
    PromotionResumed {},
    PromotionSoldOut {},
    CouponGrabbed {
        serial: u32,
        customer_id: &'a str,
        remaining: u32,
        #[serde(skip_serializing_if = "str::is_empty")]
        idempotency_key: &'a str,
    },
    PromotionRestocked {
        coupons: u32,
        remaining: u32,
    },
    PromotionFinished {
        reason: &'static str,
    },
    /// A node takes the partition over.
    Fence {
        node: &'a str,
    },
    /// An operator has taken the record at this offset out.
    Skip {
        offset: u64,
        by: &'a str,
        reason: &'a str,
    },
}

#[derive(Serialize, ToSchema)]
struct Offer<'a> {
    name: &'a str,
    coupons: u32,
    discount: f64,
    limit_per_customer: u32,
    #[schema(value_type = String, format = DateTime)]
    starts_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    finishes_at: Option<Timestamp>,
}

/// The record as one line of JSON, without its end.
#[must_use]
pub fn to_json(item: &Item) -> String {
    serde_json::to_string(&line(item)).expect("a record is plain JSON")
}

fn line(item: &Item) -> Line<'_> {
    let position = item.position.to_string();
    let (at, promotion_id) = (Some(timestamp(item.at_ms)), None);
    let (term, seq, void) = (None, None, false);
    match &item.what {
        What::Event { event, void } => Line {
            position,
            at,
            promotion_id: Some(&event.promotion_id),
            body: event.body.as_ref().map(body),
            term: Some(event.term),
            seq: Some(event.seq),
            void: *void,
        },
        What::Fence(Fence { node, .. }) => {
            let (term, body) = (Some(item.position.offset), Some(Body::Fence { node }));
            Line { position, at: None, promotion_id, body, term, seq, void }
        }
        What::Skip(Skip { offset, by, reason, .. }) => {
            let body = Some(Body::Skip { offset: *offset, by, reason });
            Line { position, at, promotion_id, body, term, seq, void }
        }
    }
}

fn body(body: &event::Body) -> Body<'_> {
    match body {
        event::Body::Scheduled(scheduled) => Body::PromotionScheduled(offer(&scheduled.terms)),
        event::Body::Changed(changed) => Body::PromotionChanged(offer(&changed.terms)),
        event::Body::Started(_) => Body::PromotionStarted {},
        event::Body::Paused(_) => Body::PromotionPaused {},
        event::Body::Resumed(_) => Body::PromotionResumed {},
        event::Body::SoldOut(_) => Body::PromotionSoldOut {},
        event::Body::Grabbed(grabbed) => Body::CouponGrabbed {
            serial: grabbed.serial,
            customer_id: &grabbed.customer_id,
            remaining: grabbed.remaining,
            idempotency_key: &grabbed.idempotency_key,
        },
        event::Body::Restocked(restocked) => {
            Body::PromotionRestocked { coupons: restocked.coupons, remaining: restocked.remaining }
        }
        event::Body::Finished(finished) => {
            Body::PromotionFinished { reason: reason(finished.reason()) }
        }
    }
}

fn offer(terms: &Option<Terms>) -> Offer<'_> {
    let terms = terms.as_ref().expect("strict decoding lets no record without terms through");
    Offer {
        name: &terms.name,
        coupons: terms.coupons,
        discount: terms.discount,
        limit_per_customer: terms.limit_per_customer,
        starts_at: timestamp(terms.starts_at_ms),
        finishes_at: terms.finishes_at_ms.map(timestamp),
    }
}

fn reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::SoldOut => "sold_out",
        FinishReason::Time => "time",
        FinishReason::Closed => "closed",
        FinishReason::Cancelled | FinishReason::Unspecified => "cancelled",
    }
}
