//! Customers who come, are told, and come no more. What they were told is held against the views.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::{Sale, eventually};

const CLIENTS: usize = 24;

/// What clients were told: customer to serial.
#[derive(Clone, Default)]
pub(crate) struct Told {
    granted: Arc<Mutex<HashMap<String, u64>>>,
    turned_away: Arc<AtomicUsize>,
}

/// A number of clients who grab one after another.
pub(crate) struct Crowd {
    clients: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

struct Client {
    url: String,
    client: reqwest::Client,
    told: Told,
    stop: Arc<AtomicBool>,
    name: String,
}

impl Told {
    pub(crate) async fn granted(&self) -> usize {
        self.granted.lock().await.len()
    }

    /// 503, 504 and 429 so far.
    pub(crate) fn turned_away(&self) -> usize {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Waits until so many more have been granted.
    pub(crate) async fn more(&self, more: usize, within: Duration) {
        let before = self.granted().await;
        eventually("coupons are being granted", within, async || {
            self.granted().await >= before + more
        })
        .await;
    }

    /// Waits until somebody more has been turned away.
    pub(crate) async fn one_more_turned_away(&self, within: Duration) {
        let before = self.turned_away();
        eventually("grabs are turned away", within, async || self.turned_away() > before).await;
    }

    /// Every 201 ever told is there, with its serial and customer; no serial is there twice or
    /// missing.
    pub(crate) async fn check(&self, sale: &Sale, marker: &str) {
        let after = sale.grab("sale", marker).await;
        assert!(matches!(after.status, 201 | 409), "{after:?}");
        let position = after.json["position"].as_str();
        let coupons = sale.coupons("sale", position).await;
        let serials: Vec<u64> =
            coupons.iter().filter_map(|coupon| coupon["serial"].as_u64()).collect();
        let dense: Vec<u64> = (1..=coupons.len() as u64).collect();
        assert_eq!(serials, dense, "serials are dense and each is there once");
        for (customer, serial) in self.granted.lock().await.iter() {
            let coupon = &coupons[usize::try_from(serial - 1).expect("small")];
            assert_eq!(coupon["customer_id"], customer.as_str(), "serial {serial}");
        }
    }
}

impl Crowd {
    /// Customers of the promotion `sale`; their names begin with `name`.
    pub(crate) fn come(sale: &Sale, told: &Told, name: &str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let come = |number: usize| {
            let client = Client {
                url: format!("{}/v1/promotions/sale/grabs", sale.url()),
                client: sale.client().clone(),
                told: told.clone(),
                stop: Arc::clone(&stop),
                name: format!("{name} client {number}"),
            };
            tokio::spawn(client.come())
        };
        Self { clients: (0..CLIENTS).map(come).collect(), stop }
    }

    /// Waits until everybody has left: the sale is over, or the server was killed.
    pub(crate) async fn gone(self) {
        for client in self.clients {
            client.await.expect("no client saw a wrong answer");
        }
    }

    /// Has everybody leave after the answer they wait for.
    pub(crate) async fn leave(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.gone().await;
    }
}

impl Client {
    async fn come(self) {
        for number in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let customer = format!("{} number {number}", self.name);
            match self.grab(&customer).await {
                Some((201, granted)) => self.note(customer, &granted).await,
                Some((409, problem)) => {
                    assert_eq!(problem["type"], "urn:seckill:problem:sold-out", "{problem}");
                    return;
                }
                Some((503 | 504 | 429, _)) => {
                    self.told.turned_away.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await; // as told: not at once
                }
                Some(other) => panic!("an answer that may not be: {other:?}"),
                None => return, // killed
            }
        }
    }

    async fn grab(&self, customer: &str) -> Option<(u16, Value)> {
        let request = self.client.post(&self.url).json(&json!({"customer_id": customer}));
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.json().await.ok()?))
    }

    async fn note(&self, customer: String, granted: &Value) {
        assert_eq!(granted["customer_id"], customer.as_str());
        let serial = granted["serial"].as_u64().expect("a serial");
        let before = self.told.granted.lock().await.insert(customer, serial);
        assert_eq!(before, None, "told twice");
    }
}
