//! Customers who ask for coupons of a partition, one after another and all the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use seckill_load::{Ask, Crowd, Fleet};
use tokio_util::sync::CancellationToken;

/// From an answer to the next customer.
const PAUSE: Duration = Duration::from_millis(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const CUSTOMERS: u32 = 100_000_000;

/// A request for a coupon, and its answer.
pub(super) struct Attempt {
    pub(super) asked: Instant,
    pub(super) answered: Instant,
    /// 0 where nobody answered.
    pub(super) status: u16,
}

/// Asks these nodes in turn, until `stop`.
pub(super) async fn probe(
    urls: Vec<String>,
    promotion_id: String,
    crowd: Arc<Crowd>,
    stop: CancellationToken,
) -> Result<Vec<Attempt>> {
    let (fleet, mut attempts) = (Fleet::new(&urls, ANSWER_TIMEOUT)?, Vec::new());
    let path = format!("/v1/promotions/{promotion_id}/grabs");
    while !stop.is_cancelled() {
        let Some(number) = crowd.next(CUSTOMERS) else { break };
        let body = format!("{{\"customer_id\":\"{}\"}}", crowd.customer_id(number));
        let asked = Instant::now();
        let reply = fleet.send(&Ask::post(path.parse()?, body.into())).await;
        let status = reply.map_or(0, |reply| reply.status);
        attempts.push(Attempt { asked, answered: Instant::now(), status });
        tokio::time::sleep(PAUSE).await;
    }
    Ok(attempts)
}
