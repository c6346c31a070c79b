//! Reading the views over the native query routes.

use std::time::{Duration, Instant};

use seckill_proto::Position;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::backoff::Backoff;
use crate::connection::HttpReply;
use crate::promotion::said;
use crate::target::{Ask, Fleet, Unanswered, segment};

const PAGE: u32 = 1_000;

/// A read that brought nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ReadError {
    /// The same read may bring it later.
    #[error("{0}")]
    Later(String, Option<Duration>),
    /// It will not.
    #[error("{0}")]
    Never(String),
}

/// A row of the promotions view, as far as the crowd cares.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct PromotionRow {
    pub(crate) id: String,
    pub(crate) coupons: u32,
    pub(crate) remaining: u32,
    pub(crate) limit_per_customer: u32,
    pub(crate) state: String,
}

/// A row of the coupon views.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct CouponRow {
    pub(crate) id: String,
    pub(crate) promotion_id: String,
    pub(crate) serial: u32,
    pub(crate) customer_id: String,
}

/// Some rows, and where the next begin.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    next: Option<String>,
}

pub(crate) struct Views {
    fleet: Fleet,
}

impl Views {
    pub(crate) const fn new(fleet: Fleet) -> Self {
        Self { fleet }
    }

    /// # Errors
    /// [`ReadError`]; an unknown promotion may be known later.
    pub(crate) async fn promotion(&self, id: &str) -> Result<PromotionRow, ReadError> {
        self.read(&format!("/v1/promotions/{}", segment(id))).await
    }

    /// Whether the views show everything up to a position; the server waits a little for it.
    ///
    /// # Errors
    /// [`ReadError::Later`] while they do not.
    pub(crate) async fn reached(&self, position: Position) -> Result<(), ReadError> {
        let path = format!("/v1/promotions?limit=1&after={position}");
        self.read::<Page<PromotionRow>>(&path).await.map(|_| ())
    }

    /// All coupons of a promotion, page by page.
    ///
    /// # Errors
    /// [`ReadError`] of a page that did not come before the deadline.
    pub(crate) async fn coupons_of_promotion(
        &self,
        id: &str,
        timeout: Duration,
        mut each: impl FnMut(CouponRow),
    ) -> Result<(), ReadError> {
        let path = format!("/v1/promotions/{}/coupons?limit={PAGE}", segment(id));
        self.pages(&path, timeout, &mut each).await
    }

    /// All coupons of a customer.
    ///
    /// # Errors
    /// [`ReadError`] of a page that did not come before the deadline.
    pub(crate) async fn coupons_of_customer(
        &self,
        id: &str,
        timeout: Duration,
    ) -> Result<Vec<CouponRow>, ReadError> {
        let mut rows = Vec::new();
        let path = format!("/v1/customers/{}/coupons?limit={PAGE}", segment(id));
        self.pages(&path, timeout, &mut |row| rows.push(row)).await?;
        Ok(rows)
    }

    /// A promotion's row, asked for until it comes or the time is over.
    ///
    /// # Errors
    /// The last [`ReadError`].
    pub(crate) async fn promotion_in_time(
        &self,
        id: &str,
        timeout: Duration,
    ) -> Result<PromotionRow, ReadError> {
        let path = format!("/v1/promotions/{}", segment(id));
        self.read_in_time(&path, timeout).await
    }

    async fn pages(
        &self,
        path: &str,
        timeout: Duration,
        each: &mut impl FnMut(CouponRow),
    ) -> Result<(), ReadError> {
        let mut cursor: Option<String> = None;
        loop {
            let from =
                cursor.as_deref().map_or(String::new(), |c| format!("&cursor={}", segment(c)));
            let page: Page<CouponRow> =
                self.read_in_time(&format!("{path}{from}"), timeout).await?;
            page.items.into_iter().for_each(&mut *each);
            if page.next.is_some() && page.next == cursor {
                return Err(ReadError::Never(format!("{path}: the cursor does not move")));
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn read_in_time<T: DeserializeOwned>(
        &self,
        path: &str,
        timeout: Duration,
    ) -> Result<T, ReadError> {
        let deadline = Instant::now() + timeout;
        let mut backoff = Backoff::new();
        loop {
            let error = match self.read(path).await {
                Ok(read) => return Ok(read),
                Err(error) => error,
            };
            let ReadError::Later(_, retry_after) = &error else { return Err(error) };
            let pause = backoff.pause(*retry_after);
            if Instant::now() + pause > deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, ReadError> {
        let ask = Ask::get(path).map_err(|error| ReadError::Never(error.to_string()))?;
        let reply = match self.fleet.send(&ask).await {
            Ok(reply) => reply,
            Err(Unanswered::Unsent(reason) | Unanswered::Lost(reason)) => {
                return Err(ReadError::Later(format!("GET {path}: {reason}"), None));
            }
        };
        parse(path, &reply)
    }
}

fn parse<T: DeserializeOwned>(path: &str, reply: &HttpReply) -> Result<T, ReadError> {
    let text = || format!("GET {path}: {}", said(reply));
    match reply.status {
        200 => serde_json::from_slice(&reply.body)
            .map_err(|error| ReadError::Never(format!("{}: {error}", text()))),
        404 | 429 | 500..=599 => Err(ReadError::Later(text(), reply.retry_after)),
        _ => Err(ReadError::Never(text())),
    }
}
