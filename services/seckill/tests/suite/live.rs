//! Server-sent events, and reads that do not wait.

use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::{Value, json};

use crate::system::{Engines, System};

/// A listener's stream, event by event.
struct Events {
    answer: Response,
    said: String,
}

/// An event: its id, and its data.
type Event = (String, Value);

impl Events {
    async fn of(sale: &System, path: &str, last: Option<&str>) -> Self {
        let answer = listen(sale, path, last).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, said: String::new() }
    }

    /// The next event; none where the stream has ended.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.said.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.said = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
                    return Some((id.to_owned(), serde_json::from_str(data).expect("JSON")));
                }
                continue; // it says only that it is there
            }
            let chunk = self.answer.chunk().await.expect("it ends in good order")?;
            self.said += std::str::from_utf8(&chunk).expect("text");
        }
    }

    /// The first event that is as wanted, and how many came until then.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> (Event, usize) {
        for count in 1.. {
            let event = self.next().await.expect("more");
            if wanted(&event.1) {
                return (event, count);
            }
        }
        unreachable!("it counts on");
    }
}

async fn listen(sale: &System, path: &str, last: Option<&str>) -> Response {
    let request = sale.client().get(format!("{}{path}", sale.url()));
    let request = last.into_iter().fold(request, |r, last| r.header("last-event-id", last));
    request.send().await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_is_told_as_it_goes() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("spring", 600).await;
    let after = sale.grab("spring", "ann").await.json["position"].as_str().expect("one").to_owned();
    assert_eq!(sale.get(&format!("/v1/promotions/spring?after={after}")).await.status, 200);
    let path = "/v1/promotions/spring/live";
    let mut events = Events::of(&sale, path, None).await;
    let (id, first) = events.next().await.expect("what it is now");
    assert_eq!((&first["granted"], &first["remaining"]), (&json!(1), &json!(599)));
    assert_eq!((id.as_str(), &first["state"]), (after.as_str(), &json!("active")));

    let mut others = Vec::new();
    for _ in 0..100 {
        others.push(Events::of(&sale, path, Some(&id)).await);
    }
    let begun = Instant::now();
    for customer in 0..599 {
        assert_eq!(sale.grab("spring", &format!("c{customer}")).await.status, 201);
    }
    let (_, count) = events.until(|row| row["state"] == "sold_out").await;
    let most = begun.elapsed().as_millis() / 100 + 2;
    assert!(count as u128 <= most, "{count} events in {:?}", begun.elapsed());
    assert_eq!(sale.post("/v1/promotions/spring/finish", Value::Null).await.status, 400);
    assert_eq!(sale.post_plain("/v1/promotions/spring/finish").await.status, 200);
    let ((last, over), _) = events.until(|row| row["state"] == "finished").await;
    assert_eq!((&over["granted"], &over["finish_reason"]), (&json!(600), &json!("sold_out")));
    assert_eq!(events.next().await, None);
    for other in &mut others {
        other.until(|row| row["granted"] == 600 && row["state"] == "finished").await;
    }
    // Who has seen the end is told to come no more, who has not gets it.
    assert_eq!(listen(&sale, path, Some(&last)).await.status(), 204);
    let mut late = Events::of(&sale, path, Some(&id)).await;
    assert_eq!(late.next().await, Some((last, over)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_on_sale_is_told_until_the_end_of_the_process() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("spring", 2).await;
    sale.offer("summer", 5).await;
    let mut events = Events::of(&sale, "/v1/live", None).await;
    let granted = |rows: &Value, id: &str| {
        let row = rows.as_array().expect("rows").iter().find(|row| row["id"] == id).cloned();
        row.map(|row| (row["granted"].as_u64(), row["state"].clone()))
    };
    events.until(|rows| granted(rows, "summer").is_some()).await;
    sale.grab("spring", "ann").await;
    let told = Some((Some(1), json!("active")));
    let ((seen, _), _) = events.until(|rows| granted(rows, "spring") == told).await;
    sale.grab("spring", "bob").await;
    let told = Some((Some(2), json!("sold_out")));
    events.until(|rows| granted(rows, "spring") == told).await;
    // Who comes back is told first of all that is on sale: what is not there is over.
    let mut again = Events::of(&sale, "/v1/live", Some(&seen)).await;
    let (_, rows) = again.next().await.expect("all that is on sale");
    assert_eq!(granted(&rows, "summer"), Some((Some(0), json!("active"))), "{rows}");
    assert_eq!(rows.as_array().expect("rows").len(), 1, "{rows}");
    sale.grab("summer", "cy").await;
    let told = Some((Some(1), json!("active")));
    let (_, count) = again.until(|rows| granted(rows, "summer") == told).await;
    assert_eq!(count, 1);
    assert_eq!(listen(&sale, "/v1/live?after=1", None).await.status(), 400);

    let begun = Instant::now();
    sale.stop();
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "listeners kept it for {:?}",
        begun.elapsed()
    );
    while events.next().await.is_some() {} // what it was told, then an end in good order
}

#[tokio::test]
async fn what_cannot_be_listened_to_is_told() {
    let sale = System::open(Engines::Embedded).await;
    assert_eq!(listen(&sale, "/v1/promotions/nope/live", None).await.status(), 404);
    sale.offer("spring", 2).await;
    for last in ["", "x", "1", "0:1,"] {
        assert_eq!(listen(&sale, "/v1/live", Some(last)).await.status(), 400, "{last:?}");
    }
}

/// Who may be told something older is told how much older it may be, and waits for nothing.
#[tokio::test]
async fn reads_that_may_be_stale_do_not_wait() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("spring", 2).await;
    let position = sale.grab("spring", "ann").await.json["position"].clone();
    let (partition, offset) =
        position.as_str().and_then(|text| text.split_once(':')).expect("a position");
    let offset: u64 = offset.parse().expect("a number");
    assert_eq!(
        sale.get(&format!("/v1/promotions/spring?after={partition}:{offset}")).await.status,
        200
    );
    for (ahead, behind) in [(0, "0"), (7, "7")] {
        let path = "/v1/promotions/spring/coupons?allow_stale=true&after=";
        let url = format!("{}{path}{partition}:{}", sale.url(), offset + ahead);
        let begun = Instant::now();
        let answer = sale.client().get(url).send().await.expect("an answer");
        assert_eq!(answer.headers()["seckill-behind"], behind);
        assert!(answer.status() == 200 && begun.elapsed() < Duration::from_secs(1));
    }
}
