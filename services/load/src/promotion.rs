//! The promotions a run grabs from: opened by it, or found.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hyper::Uri;
use seckill_proto::Position;
use seckill_proto::v1::GrabRequest;
use serde::Deserialize;

use crate::backoff::Backoff;
use crate::connection::HttpReply;
use crate::ledger::Ledger;
use crate::target::{Ask, Fleet, Unanswered, path_of, segment};
use crate::views::{PromotionRow, Views};

const POLL: Duration = Duration::from_millis(20);

/// What may be concluded from a sale's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Opened by this run, for this run, with an open end: everything.
    Ours,
    /// Opened by this run over the original's routes, and demanded until it was gone.
    DemandedToTheEnd,
    /// Existed before: others may hold coupons and take some at this moment.
    Shared,
}

/// A promotion as the crowd sees it.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    /// Its place in this run.
    pub(crate) index: u16,
    pub(crate) id: String,
    pub(crate) coupons: u32,
    pub(crate) limit_per_customer: u32,
    pub(crate) claim: Claim,
    grabs: Uri,
    batches: Uri,
    /// The body of a grab up to the customer id, which needs no escaping.
    body_head: String,
}

impl Offer {
    fn native(index: u16, row: &PromotionRow, claim: Claim) -> Result<Self> {
        Ok(Self {
            index,
            id: row.id.clone(),
            coupons: row.coupons,
            limit_per_customer: row.limit_per_customer,
            claim,
            grabs: path_of(&format!("/v1/promotions/{}/grabs", segment(&row.id)))?,
            batches: path_of(&format!("/v1/promotions/{}/grabs:batch", segment(&row.id)))?,
            body_head: String::from("{\"customer_id\":\""),
        })
    }

    /// A promotion of the original's routes.
    pub(crate) fn original(index: u16, id: &str, coupons: u32) -> Result<Self> {
        let id_json = serde_json::to_string(id)?;
        Ok(Self {
            index,
            id: id.to_owned(),
            coupons,
            limit_per_customer: 1,
            claim: Claim::DemandedToTheEnd,
            grabs: Uri::from_static("/command/coupons/"),
            batches: Uri::default(), // there are none
            body_head: format!("{{\"promotionId\":{id_json},\"customerId\":\""),
        })
    }

    /// A customer's grab. Where several coupons are allowed, the customer's id is also the key that makes the
    /// same request again safe.
    pub(crate) fn grab(&self, customer_id: &str) -> Ask {
        let body = [&self.body_head, customer_id, "\"}"].concat();
        let mut ask = Ask::post(self.grabs.clone(), Bytes::from(body));
        if self.limit_per_customer > 1 {
            ask.idempotency_key = customer_id.parse().ok();
        }
        ask
    }
}

impl Offer {
    /// A customer's grab as one of a stream.
    pub(crate) fn grab_of_stream(&self, customer_id: &str) -> GrabRequest {
        let key = if self.limit_per_customer > 1 { customer_id } else { "" };
        GrabRequest {
            number: 0,
            promotion_id: self.id.clone(),
            customer_id: customer_id.to_owned(),
            idempotency_key: key.to_owned(),
        }
    }

    /// Where batches of grabs go.
    pub(crate) fn batches(&self) -> Uri {
        self.batches.clone()
    }

    /// A customer's grab as one of a batch.
    pub(crate) fn grab_of_batch(&self, customer_id: &str) -> String {
        if self.limit_per_customer > 1 {
            format!(r#"{{"customer_id":"{customer_id}","idempotency_key":"{customer_id}"}}"#)
        } else {
            format!(r#"{{"customer_id":"{customer_id}"}}"#)
        }
    }
}

/// Creates promotions and waits until each is active in the views.
pub(crate) struct Opening<'a> {
    pub(crate) admin: &'a Fleet,
    pub(crate) views: &'a Views,
    pub(crate) ledger: &'a Ledger,
    /// For one promotion, from the first request.
    pub(crate) timeout: Duration,
}

#[derive(Deserialize)]
struct Created {
    position: String,
}

impl Opening<'_> {
    /// # Errors
    /// It was refused, or is not active in time.
    pub(crate) async fn open(&self, index: u16, id: &str, coupons: u32) -> Result<Offer> {
        let deadline = Instant::now() + self.timeout;
        self.create(id, coupons, deadline).await?;
        let row = self.wait_until_active(id, deadline).await?;
        if row.coupons != coupons || row.limit_per_customer != 1 {
            bail!("promotion {id} was opened with {coupons} coupons, but the view has {row:?}");
        }
        Offer::native(index, &row, Claim::Ours)
    }

    /// The same request again is safe, because the id is ours: after an unknown outcome, a refusal
    /// can only mean that it exists.
    async fn create(&self, id: &str, coupons: u32, deadline: Instant) -> Result<()> {
        let body = format!(
            "{{\"id\":\"{id}\",\"name\":\"Load {id}\",\"coupons\":{coupons},\"discount\":0.5}}"
        );
        let ask = Ask::post(Uri::from_static("/v1/promotions"), Bytes::from(body));
        let mut backoff = Backoff::new();
        let mut doubted = false;
        loop {
            let outcome = self.admin.send(&ask).await;
            let retry_after = match &outcome {
                // 200: an earlier request has opened it, though it was answered otherwise.
                Ok(reply) if matches!(reply.status, 200 | 201) => return self.created(reply),
                Ok(reply) if matches!(reply.status, 429 | 503) => reply.retry_after,
                Err(Unanswered::Unsent(_)) => None,
                Ok(reply) if doubted && reply.status == 409 => return Ok(()),
                Ok(reply) if reply.status < 500 => bail!("promotion {id}: {}", said(reply)),
                Ok(_) | Err(Unanswered::Lost(_)) => {
                    doubted = true;
                    None
                }
            };
            let pause = backoff.pause(retry_after);
            if Instant::now() + pause > deadline {
                bail!("promotion {id} could not be created: {}", explain(&outcome));
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn created(&self, reply: &HttpReply) -> Result<()> {
        let created: Created = serde_json::from_slice(&reply.body)
            .with_context(|| format!("the answer to a new promotion: {}", said(reply)))?;
        let position: Position = created.position.parse()?;
        self.ledger.position(position);
        Ok(())
    }

    async fn wait_until_active(&self, id: &str, deadline: Instant) -> Result<PromotionRow> {
        loop {
            let seen = self.views.promotion(id).await;
            if let Ok(row) = &seen
                && row.state == "active"
            {
                return Ok(row.clone());
            }
            if Instant::now() > deadline {
                let timeout = self.timeout;
                bail!("promotion {id} is not active in the views after {timeout:?}: {seen:?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// A promotion that exists already.
///
/// # Errors
/// It does not, or the views do not answer.
pub(crate) async fn find(views: &Views, index: u16, id: &str) -> Result<Offer> {
    let row = views.promotion(id).await.with_context(|| format!("promotion {id}"))?;
    Offer::native(index, &row, Claim::Shared)
}

fn explain(outcome: &Result<HttpReply, Unanswered>) -> String {
    match outcome {
        Ok(reply) => said(reply),
        Err(Unanswered::Unsent(reason)) => format!("not sent: {reason}"),
        Err(Unanswered::Lost(reason)) => format!("connection lost: {reason}"),
    }
}

/// Status and the beginning of the body, for people.
pub(crate) fn said(reply: &HttpReply) -> String {
    let body = String::from_utf8_lossy(&reply.body);
    format!("{} {}", reply.status, body.chars().take(200).collect::<String>())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A sale for tests of other modules.
    pub(crate) fn sale(id: &str, coupons: u32, claim: Claim) -> Offer {
        let row = PromotionRow { id: id.to_owned(), coupons, ..row(1) };
        Offer::native(0, &row, claim).unwrap()
    }

    fn row(limit_per_customer: u32) -> PromotionRow {
        PromotionRow {
            id: String::from("a/b"),
            coupons: 3,
            remaining: 3,
            limit_per_customer,
            state: String::from("active"),
        }
    }

    #[test]
    fn a_grab_names_promotion_and_customer() {
        let ask = Offer::native(0, &row(1), Claim::Ours).unwrap().grab("c-1");
        assert_eq!(ask.path, "/v1/promotions/a%2Fb/grabs");
        assert_eq!(&ask.body[..], br#"{"customer_id":"c-1"}"#);
        assert_eq!(ask.idempotency_key, None);
    }

    #[test]
    fn a_grab_of_several_is_keyed() {
        let ask = Offer::native(0, &row(2), Claim::Ours).unwrap().grab("c-1");
        assert_eq!(ask.idempotency_key.unwrap(), "c-1");
    }

    #[test]
    fn a_grab_over_the_compatible_route_names_both_in_its_body() {
        let ask = Offer::original(0, "p\"1", 50).unwrap().grab("c-1");
        assert_eq!(ask.path, "/command/coupons/");
        assert_eq!(&ask.body[..], br#"{"promotionId":"p\"1","customerId":"c-1"}"#);
    }
}
