//! The original's load script: an operator opens a promotion every few seconds while customers
//! loop list, grab, own coupons. Coupons taken must equal coupons offered.
//!
//! Every loop is a new customer. Were a client one customer for ever, that one could take one coupon of
//! each promotion at most, and with fewer clients than coupons the rest would never be demanded.
//! For the same reason customers go on after the last promotion was opened, until all are gone
//! from the list.

mod operator;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::grab::{Counter, Visit};
use crate::ledger::Look;
use crate::plan::OriginalPlan;
use crate::promotion::{Offer, said};
use crate::target::{Ask, Fleet, Unanswered};

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "promotionId")]
    promotion_id: String,
}

#[derive(Deserialize)]
struct OwnCoupon {
    #[serde(rename = "promotionId")]
    promotion_id: String,
    #[serde(rename = "customerId")]
    customer_id: String,
}

/// A promotion that was opened, and what the list said of it last.
#[derive(Debug)]
struct Stall {
    sale: Arc<Offer>,
    /// When it was first seen in the list.
    listed_since: Option<Instant>,
    gone: bool,
}

/// Where operator and customers meet.
pub(crate) struct Market {
    counter: Arc<Counter>,
    query: Fleet,
    admin: Fleet,
    coupons: u32,
    plan: OriginalPlan,
    stalls: Mutex<Vec<Stall>>,
    /// Set when no promotion will be opened any more.
    last_opened: Mutex<Option<Instant>>,
    next_customer: AtomicU32,
}

impl Market {
    pub(crate) fn new(
        counter: Arc<Counter>,
        query: Fleet,
        admin: Fleet,
        coupons: u32,
        plan: OriginalPlan,
    ) -> Self {
        Self {
            counter,
            query,
            admin,
            coupons,
            plan,
            stalls: Mutex::default(),
            last_opened: Mutex::default(),
            next_customer: AtomicU32::new(0),
        }
    }

    /// Returns what was on sale, when all of it is gone or the time is over.
    ///
    /// # Errors
    /// No promotion could be opened, or a task panicked.
    pub(crate) async fn hold(
        self: Arc<Self>,
        seed: u64,
        stop: &CancellationToken,
    ) -> Result<Vec<Arc<Offer>>> {
        let mut clients = JoinSet::new();
        for client in 0..self.plan.clients as u64 {
            let random = StdRng::seed_from_u64(seed.wrapping_add(client));
            clients.spawn(Arc::clone(&self).shop(random));
        }
        let opened = self.open_promotions(stop).await;
        *self.last_opened.lock() = Some(Instant::now());
        while let Some(left) = clients.join_next().await {
            left?;
        }
        opened?;
        let stalls = self.stalls.lock();
        Ok(stalls.iter().map(|stall| Arc::clone(&stall.sale)).collect())
    }

    async fn shop(self: Arc<Self>, mut random: StdRng) {
        let mut backoff = Backoff::new();
        while !self.is_over() {
            let asked = Instant::now();
            let Some(listed) = self.look::<Vec<Listed>>(Look::List, "/query/promotions").await
            else {
                tokio::time::sleep(backoff.pause(None)).await;
                continue;
            };
            backoff = Backoff::new();
            let on_sale = self.compare(asked, &listed);
            if let Some(sale) = on_sale.choose(&mut random) {
                self.buy(sale).await;
            }
        }
    }

    /// Nothing more to come, and all gone or the time over.
    fn is_over(&self) -> bool {
        let Some(since) = *self.last_opened.lock() else { return false };
        since.elapsed() > self.counter.give_up || self.stalls.lock().iter().all(|stall| stall.gone)
    }

    /// What is on sale according to a list asked for at a time. A promotion is gone when a list
    /// asked for after it was first seen does not have it; an older list may be too early for it.
    fn compare(&self, asked: Instant, listed: &[Listed]) -> Vec<Arc<Offer>> {
        let mut stalls = self.stalls.lock();
        let mut on_sale = Vec::new();
        for stall in stalls.iter_mut() {
            if listed.iter().any(|row| row.promotion_id == stall.sale.id) {
                stall.listed_since.get_or_insert_with(Instant::now);
                stall.gone = false;
                on_sale.push(Arc::clone(&stall.sale));
            } else if stall.listed_since.is_some_and(|since| since < asked) {
                stall.gone = true;
            }
        }
        on_sale
    }

    async fn buy(&self, sale: &Arc<Offer>) {
        let customer = self.next_customer.fetch_add(1, Ordering::Relaxed);
        let visit = Visit { customer, sale: Arc::clone(sale), came: Instant::now() };
        let told = self.counter.grab(&visit).await;
        let customer_id = self.counter.crowd.customer_id(customer);
        let path = format!("/query/coupons/{customer_id}");
        let Some(own) = self.look::<Vec<OwnCoupon>>(Look::OwnCoupons, &path).await else { return };
        let fits = own
            .iter()
            .all(|coupon| coupon.customer_id == customer_id && coupon.promotion_id == sale.id);
        // The view may lag behind, but it must not show what cannot be.
        if !fits || own.len() > 1 {
            let count = own.len();
            let text =
                format!("{customer_id} was told {:?} and shown {count} coupons", told.answer);
            self.counter.ledger.contradiction(text);
        }
    }

    async fn look<T: DeserializeOwned>(&self, look: Look, path: &str) -> Option<T> {
        let ask = Ask::get(path).ok()?;
        let asked = Instant::now();
        let reply = match self.query.send(&ask).await {
            Ok(reply) => reply,
            Err(Unanswered::Unsent(reason) | Unanswered::Lost(reason)) => {
                self.counter.ledger.surprise(&format!("GET {path}: {reason}"));
                return None;
            }
        };
        let read = serde_json::from_slice(&reply.body).ok().filter(|_| reply.status == 200);
        match read {
            Some(_) => self.counter.ledger.looked(look, asked.elapsed()),
            None => self.counter.ledger.surprise(&format!("GET {path}: {}", said(&reply))),
        }
        read
    }

    fn put_up(&self, id: &str) -> Result<()> {
        let mut stalls = self.stalls.lock();
        let Ok(index) = u16::try_from(stalls.len()) else {
            bail!("more than {} promotions in one run", u16::MAX);
        };
        let sale = Arc::new(Offer::original(index, id, self.coupons)?);
        stalls.push(Stall { sale, listed_since: None, gone: false });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::crowd::Crowd;
    use crate::grab::Dialect;
    use crate::ledger::Ledger;
    use crate::way::Way;

    fn market() -> Market {
        let fleet =
            || Fleet::new(&[String::from("http://127.0.0.1:1")], Duration::from_secs(1)).unwrap();
        let counter = Counter {
            way: Way::new(fleet(), false, None),
            crowd: Crowd::fresh(),
            ledger: Ledger::new(),
            dialect: Dialect::Original,
            give_up: Duration::from_secs(60),
            history: None,
        };
        let plan = OriginalPlan {
            clients: 1,
            duration: Duration::from_secs(1),
            open_every: Duration::from_secs(1),
        };
        Market::new(Arc::new(counter), fleet(), fleet(), 50, plan)
    }

    fn list(ids: &[&str]) -> Vec<Listed> {
        ids.iter().map(|id| Listed { promotion_id: (*id).to_owned() }).collect()
    }

    #[test]
    fn a_promotion_is_gone_only_after_it_was_listed() {
        let market = market();
        market.put_up("p").unwrap();
        *market.last_opened.lock() = Some(Instant::now());
        let early = Instant::now();
        assert!(market.compare(early, &list(&[])).is_empty());
        assert!(!market.is_over());
        assert_eq!(market.compare(Instant::now(), &list(&["other", "p"])).len(), 1);
        market.compare(early, &list(&[]));
        assert!(!market.is_over(), "a list from before it was first seen proves nothing");
        market.compare(Instant::now() + Duration::from_millis(1), &list(&["other"]));
        assert!(market.is_over());
    }

    #[test]
    fn the_market_is_open_until_the_operator_has_finished() {
        let market = market();
        assert!(!market.is_over());
        *market.last_opened.lock() = Some(Instant::now());
        assert!(market.is_over());
    }
}
