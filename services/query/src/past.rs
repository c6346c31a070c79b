//! `?at=POSITION|TIME`: a promotion and its coupons as they were, which is for the log to say.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Json;
use axum::response::{IntoResponse, Response};
use seckill_edge::{Bound, Problem, now_ms, timestamp};
use seckill_proto::{ProblemKind, partition_of};
use seckill_views::{CouponRow, PromotionRow, coupons_page, last_serial};
use tokio::sync::Semaphore;

use crate::page::Asked;
use crate::problem::{absent, problem};

/// How many are asked for at once: each reads a partition of the log from its beginning.
const MAX_ASKED: usize = 2;

/// What is to be known.
#[derive(Debug, Clone)]
pub struct AskedPast {
    /// Of which promotion.
    pub promotion_id: String,
    /// As of when.
    pub at: Bound,
    /// Coupons after this serial.
    pub after: u32,
    /// And at most so many.
    pub limit: usize,
}

/// What was. None where the promotion was not scheduled yet.
pub type Found = Option<(PromotionRow, Vec<CouponRow>)>;

/// Asks the log what was, and where its partitions end; in words where it cannot be asked.
#[async_trait]
pub trait History: Send + Sync {
    /// What was.
    async fn past(&self, asked: AskedPast) -> Result<Found, String>;

    /// Where a partition ends.
    async fn end(&self, partition: u32) -> Result<u64, String>;
}

/// The log, for a few readers at a time.
pub(crate) struct Past {
    history: Arc<dyn History>,
    partitions: u32,
    places: Semaphore,
}

impl Past {
    pub(crate) fn new(history: Arc<dyn History>, partitions: u32) -> Self {
        Self { history, partitions, places: Semaphore::new(MAX_ASKED) }
    }

    /// The promotion as it was.
    pub(crate) async fn promotion(&self, id: String, at: Bound) -> Result<Response, Problem> {
        let (row, _) = self.ask(AskedPast { promotion_id: id, at, after: 0, limit: 0 }).await?;
        Ok(Json(row).into_response())
    }

    /// Its coupons as they were.
    pub(crate) async fn coupons(
        &self,
        id: String,
        at: Bound,
        asked: &Asked,
    ) -> Result<Response, Problem> {
        let after = last_serial(asked.cursor.as_deref()).map_err(|error| problem(&error))?;
        let limit = asked.limit + 1;
        let (_, rows) = self.ask(AskedPast { promotion_id: id, at, after, limit }).await?;
        Ok(Json(coupons_page(rows, asked.limit)).into_response())
    }

    async fn ask(&self, asked: AskedPast) -> Result<(PromotionRow, Vec<CouponRow>), Problem> {
        self.check(&asked).await?;
        let _place = self.places.try_acquire().map_err(|_| {
            let detail = format!("At most {MAX_ASKED} read the log for `at` at the same time.");
            Problem::new(ProblemKind::TooManyReaders, detail)
        })?;
        let found = self.history.past(asked).await.map_err(unavailable)?;
        found.ok_or_else(|| absent("No promotion had this id then."))
    }

    async fn check(&self, asked: &AskedPast) -> Result<(), Problem> {
        let wrong = |detail: String| Err(Problem::new(ProblemKind::InvalidParameter, detail));
        let partition = partition_of(&asked.promotion_id, self.partitions);
        match asked.at {
            Bound::Time(ms) if ms > now_ms() => {
                wrong(format!("at: {} is in the future.", timestamp(ms)))
            }
            Bound::Time(_) => Ok(()),
            Bound::Position(at) if at.partition != partition => {
                wrong(format!("at: the promotion is in partition {partition}."))
            }
            Bound::Position(at) => match self.history.end(partition).await.map_err(unavailable)? {
                end if at.offset >= end => {
                    wrong(format!("at: {at} is beyond the end of its partition, which is {end}."))
                }
                _ => Ok(()),
            },
        }
    }
}

fn unavailable(reason: String) -> Problem {
    Problem::new(ProblemKind::ViewsUnavailable, format!("The log cannot be read: {reason}."))
}
