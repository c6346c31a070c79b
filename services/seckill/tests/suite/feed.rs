//! What programs of others are told: `/sync`, and the topic of coupons.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::system::crowd::RunningCrowd;
use crate::system::{Engines, System, eventually, text};

/// One answer has them all.
const COUPONS: u32 = 9_000;
const PATIENCE: Duration = Duration::from_secs(90);

/// A shop of others, which asks again and again and keeps the greatest id that it saw. It is turned away now
/// and then, and never told of a coupon twice.
fn shop(sale: &System, stop: &CancellationToken) -> JoinHandle<Vec<Value>> {
    let (client, url, stop) = (sale.client().clone(), sale.url(), stop.clone());
    tokio::spawn(async move {
        let (mut latest, mut coupons) = (0, Vec::new());
        loop {
            let stopped = stop.is_cancelled();
            let asked = client.get(format!("{url}/sync/{latest}")).send().await;
            let told = match asked {
                Ok(answer) if answer.status() == 200 => answer.json::<Vec<Value>>().await.ok(),
                Ok(_) | Err(_) => None,
            };
            for coupon in told.unwrap_or_default() {
                let id = coupon["id"].as_u64().expect("an id");
                assert!(id > latest, "{id} after {latest}");
                latest = id;
                coupons.push(coupon);
            }
            if stopped {
                return coupons;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
}

fn holders<'a>(coupons: &'a [Value], customer: &str) -> BTreeSet<&'a str> {
    coupons.iter().map(|coupon| coupon[customer].as_str().expect("a customer")).collect()
}

async fn is_told_of_every_coupon_once(engines: Engines) {
    let mut sale = System::open(engines).await;
    let crowd = RunningCrowd::come_at(&sale, COUPONS, 400).await;
    let promotion = crowd.promotion();
    let stop = CancellationToken::new();
    let shop = shop(&sale, &stop);
    for _ in 0..3 {
        crowd.more(300, PATIENCE).await;
        sale.kill();
        sale.start().await;
    }
    crowd.sold_out().await;
    let given = sale.coupons(&promotion, None).await;
    eventually("all of them are fed", PATIENCE, async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        all(&sale).await.len() == given.len()
    })
    .await;
    stop.cancel();
    let told = shop.await.expect("the shop");
    assert_eq!(told.len(), given.len());
    assert_eq!(holders(&told, "customerId"), holders(&given, "customer_id"));
    assert!(told.iter().all(|coupon| coupon["promotionId"] == promotion.as_str()));
    // The same for whoever asks later.
    assert_eq!(all(&sale).await, told);
    sale.stop();
    let verified = sale.verify();
    let said = text(&verified);
    assert!(verified.status.success(), "{said}");
    assert!(said.contains(&format!("{COUPONS}  coupons in the feed\n")), "{said}");
    assert!(said.contains("0  coupons not in the feed yet"), "{said}");
}

async fn all(sale: &System) -> Vec<Value> {
    sale.get("/sync/0").await.json.as_array().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_is_told_of_every_coupon_once() {
    is_told_of_every_coupon_once(Engines::Embedded).await;
}

#[cfg(feature = "real-engines")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_is_told_of_every_coupon_once_on_kafka() {
    is_told_of_every_coupon_once(Engines::real()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_feed_does_not_take() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("spring", 2).await;
    sale.grab("spring", "ann").await;
    eventually("it is fed", PATIENCE, async || all(&sale).await.len() == 1).await;
    for (path, status) in [
        ("/sync/1", 200),
        ("/sync/1/", 200),
        ("/sync/9223372036854775807", 200),
        ("/sync/-1", 200),
        ("/sync/x", 400),
        ("/sync/1.5", 400),
        ("/sync/0?limit=1", 400),
        ("/sync", 404),
    ] {
        let answer = sale.get(path).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        let told = answer.json.as_array().map(Vec::len);
        assert!(status != 200 || told == Some(usize::from(path == "/sync/-1")), "{path}");
    }
}
