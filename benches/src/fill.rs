//! A log of a sale that has been, written without an owner.

use anyhow::ensure;
use seckill_log::{Appending, Delivery, Log};
use seckill_proto::v1::{
    CouponGrabbed, Event, Fence, PromotionScheduled, PromotionStarted, Terms, event::Body,
};
use seckill_proto::{encode_event, encode_fence};

use crate::sale::{Target, in_partition};

/// Records appended at once.
const BURST: usize = 2_000;

/// What was written.
pub(crate) struct Filled {
    pub(crate) promotion: Target,
    pub(crate) records: u64,
}

/// Writes a promotion and its coupons into an empty partition.
pub(crate) async fn fill(log: &dyn Log, partition: u32, coupons: u32) -> anyhow::Result<Filled> {
    let promotion = in_partition(partition, log.partitions());
    let id = &promotion.id;
    let mut burst = vec![encode_fence(Fence { fence_id: vec![1; 16], ..Fence::default() })];
    let grabs = (1..=coupons).map(grabbed);
    let first = [scheduled(), Body::Started(PromotionStarted {})];
    for (seq, body) in (0..).zip(first.into_iter().chain(grabs)) {
        let at_ms = 1_794_391_200_000 + i64::try_from(seq / 10)?;
        let (promotion_id, body) = (id.clone(), Some(body));
        burst.push(encode_event(Event { term: 0, seq, at_ms, promotion_id, body }));
        if burst.len() == BURST {
            durable(log.append(partition, std::mem::take(&mut burst))).await?;
        }
    }
    durable(log.append(partition, burst)).await?;
    Ok(Filled { records: 3 + u64::from(coupons), promotion })
}

async fn durable(appending: Appending) -> anyhow::Result<()> {
    let unknown = |delivery: &Delivery| *delivery == Delivery::Unknown;
    ensure!(!appending.deliveries().await.iter().any(unknown), "a record was not written");
    Ok(())
}

fn scheduled() -> Body {
    let coupons = u32::MAX;
    let terms = Terms { coupons, discount: 0.5, limit_per_customer: 1, ..Terms::default() };
    Body::Scheduled(PromotionScheduled { terms: Some(terms) })
}

fn grabbed(serial: u32) -> Body {
    let (customer_id, idempotency_key) = (format!("customer-{serial:08}"), String::new());
    Body::Grabbed(CouponGrabbed {
        serial,
        customer_id,
        remaining: u32::MAX - serial,
        idempotency_key,
    })
}
