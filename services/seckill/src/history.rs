//! The log as what tells readers how things were.

use std::sync::Arc;

use async_trait::async_trait;
use seckill_log::Log;
use seckill_projector::as_of;
use seckill_query::{AskedPast, Found, History};

/// Asks a log.
pub(crate) struct OfLog(pub(crate) Arc<dyn Log>);

#[async_trait]
impl History for OfLog {
    async fn past(&self, asked: AskedPast) -> Result<Found, String> {
        let AskedPast { promotion_id, at, after, limit } = asked;
        let past = as_of(&*self.0, &promotion_id, at, (after, limit)).await;
        let past = past.map_err(|error| error.to_string())?;
        Ok(past.promotion.map(|row| (row, past.coupons)))
    }

    async fn end(&self, partition: u32) -> Result<u64, String> {
        self.0.end(partition).await.map_err(|error| error.to_string())
    }
}
