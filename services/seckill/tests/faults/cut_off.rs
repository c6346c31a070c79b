//! A command node that has lost its broker, or that was replaced, refuses nobody by what it knew.

use std::time::{Duration, Instant};

use crate::alone;
use crate::system::engine::Engine;
use crate::system::role::Role;
use crate::system::{Engines, System, eventually, fresh_name};
use reqwest::Client;
use serde_json::json;

const TIMEOUT: Duration = Duration::from_secs(60);
/// What the README says: longer than this nobody is refused without word from the log.
const BOUND: Duration = Duration::from_millis(250);
/// An answer that waits for the log is given up by then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than a member of the group may be away.
const PAUSE: Duration = Duration::from_secs(4);

fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client")
}

async fn grab(client: &Client, url: &str, promotion: &str, customer: &str) -> u16 {
    let grab = client.post(format!("{url}/v1/promotions/{promotion}/grabs"));
    let answer = grab.json(&json!({"customer_id": customer})).send().await.expect("an answer");
    answer.status().as_u16()
}

async fn is_ready(client: &Client, url: &str) -> bool {
    let answer = client.get(format!("{url}/readyz")).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_broker_refuses_nobody() {
    let _alone = alone().await;
    let broker = Engine::kafka(19_992);
    let engines = Engines::Kafka { kafka: broker.address(), name: fresh_name() };
    let sale = System::open(engines).await;
    let (client, url) = (client(), sale.url());
    sale.offer("sale", 10).await;
    assert_eq!(grab(&client, &url, "unknown", "c").await, 404);
    broker.signal("STOP");
    tokio::time::sleep(BOUND).await; // the lease runs out: the outage itself
    let begun = Instant::now();
    let mut unready = None;
    while begun.elapsed() < PAUSE {
        let asked = Instant::now();
        let status = grab(&client, &url, "unknown", "c").await;
        assert_eq!(status, 503, "after {:?} without the broker", begun.elapsed());
        assert!(asked.elapsed() < ANSWER_TIMEOUT, "it waited for {:?}", asked.elapsed());
        if unready.is_none() && !is_ready(&client, &url).await {
            unready = Some(begun.elapsed());
        }
    }
    assert!(unready.is_some_and(|after| after < ANSWER_TIMEOUT), "unready after {unready:?}");
    broker.signal("CONT");
    eventually("it refuses again", TIMEOUT, async || {
        grab(&client, &url, "unknown", "c").await == 404
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_replaced_while_it_stood_still_refuses_nobody() {
    let _alone = alone().await;
    let system = System::closed(Engines::real());
    let (first, admin) = (Role::start("command", &system), Role::start("admin", &system));
    first.ready().await;
    admin.ready().await;
    let client = client();
    assert_eq!(grab(&client, &first.url(), "later-0", "c").await, 404);
    let second = Role::start("command", &system);
    second.ready().await;
    first.signal("STOP");
    tokio::time::sleep(PAUSE).await; // the standstill itself
    // These promotions exist and have started, whatever the first node believes.
    let promotions: Vec<String> = (0..16).map(|number| format!("later-{number}")).collect();
    for id in &promotions {
        eventually("the second node decides", TIMEOUT, async || {
            let body = json!({"id": id, "name": id, "coupons": 100, "discount": 0.5});
            let offer = client.post(format!("{}/v1/promotions", admin.url())).json(&body).send();
            offer.await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }
    let url = first.url();
    let asked = promotions.iter().enumerate().map(|(number, id)| {
        let (client, url, id) = (client.clone(), url.clone(), id.clone());
        tokio::spawn(async move { grab(&client, &url, &id, &format!("c{number}")).await })
    });
    let asked: Vec<_> = asked.collect();
    tokio::time::sleep(Duration::from_millis(500)).await; // the requests are in its sockets
    first.signal("CONT");
    for asked in asked {
        let status = asked.await.expect("an answer");
        assert!([201, 503, 504].contains(&status), "told {status}");
    }
    for role in [first, second, admin] {
        role.stop();
    }
}
