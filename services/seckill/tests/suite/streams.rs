//! Grabs in a stream of gRPC.

use std::collections::BTreeMap;
use std::time::Duration;

use seckill_load::grab_stream;
use seckill_proto::v1::grab_reply::Reply;
use seckill_proto::v1::{GrabReply, GrabRequest};
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::Endpoint;

use crate::system::{Engines, System};

const SOON: Duration = Duration::from_secs(10);

/// A stream to a system: where grabs go in, and answers come out.
async fn open(sale: &System) -> (mpsc::Sender<GrabRequest>, Streaming<GrabReply>) {
    grab_stream(&Endpoint::from_shared(sale.url()).expect("a URL")).await.expect("a stream")
}

fn grab(number: u64, promotion: &str, customer: &str) -> GrabRequest {
    GrabRequest {
        number,
        promotion_id: promotion.to_owned(),
        customer_id: customer.to_owned(),
        ..GrabRequest::default()
    }
}

/// Of an answer its status, and the serial, or what kind of problem it is.
fn told(reply: GrabReply) -> (u32, String) {
    match reply.reply.expect("something is said") {
        Reply::Granted(granted) => {
            assert!(granted.position.is_some() && granted.granted_at_ms > 0, "{granted:?}");
            (if granted.repeated { 200 } else { 201 }, granted.serial.to_string())
        }
        Reply::Problem(problem) => {
            let kind = problem.r#type.strip_prefix("urn:seckill:problem:").expect("a kind");
            (problem.status, kind.to_owned())
        }
        Reply::Closing(_) => (0, "closing".to_owned()),
    }
}

/// The answers until the stream ends, by number.
async fn all(mut replies: Streaming<GrabReply>) -> BTreeMap<u64, (u32, String)> {
    let reading = async {
        let mut answers = BTreeMap::new();
        while let Some(reply) = replies.message().await.expect("an answer") {
            let before = answers.insert(reply.number, told(reply));
            assert_eq!(before, None, "one answer each");
        }
        answers
    };
    tokio::time::timeout(SOON, reading).await.expect("it ends")
}

#[tokio::test]
async fn each_grab_of_a_stream_has_the_answer_that_it_would_have_had_alone() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("p", 2).await;
    assert_eq!(sale.grab("p", "ann").await.status, 201);
    let (requests, mut replies) = open(&sale).await;
    let long = "x".repeat(129);
    let cases = [
        ("p", "bob", (201, "2")),
        ("p", "ann", (200, "1")),
        ("p", "cid", (409, "sold-out")),
        ("nowhere", "ann", (404, "not-found")),
        ("p", "", (400, "invalid-identifier")),
        ("..", "ann", (400, "invalid-identifier")),
        ("p", long.as_str(), (400, "invalid-identifier")),
    ];
    for (number, (promotion, customer, expected)) in (7..).zip(cases) {
        requests.send(grab(number, promotion, customer)).await.expect("it is sent");
        let reply = replies.message().await.expect("an answer").expect("no end");
        assert_eq!(reply.number, number);
        assert_eq!(told(reply), (expected.0, expected.1.to_owned()), "{promotion} {customer}");
    }
    drop(requests);
    assert!(all(replies).await.is_empty());
}

#[tokio::test]
async fn keys_tell_wishes_apart_in_a_stream_too() {
    let sale = System::open(Engines::Embedded).await;
    let terms =
        serde_json::json!({"id": "p", "coupons": 9, "discount": 0.5, "limit_per_customer": 2});
    assert_eq!(sale.post("/v1/promotions", terms).await.status, 201);
    let (requests, mut replies) = open(&sale).await;
    for (key, status) in [("1", 201), ("1", 200), ("2", 201), ("3", 409), ("\n", 400)] {
        let idempotency_key = key.to_owned();
        let keyed = GrabRequest { idempotency_key, ..grab(1, "p", "ann") };
        requests.send(keyed).await.expect("it is sent");
        let reply = replies.message().await.expect("an answer").expect("no end");
        assert_eq!(told(reply).0, status, "{key:?}");
    }
}

#[tokio::test]
async fn what_came_before_a_message_that_is_none_is_answered() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("p", 9).await;
    let (requests, mut replies) = open(&sale).await;
    requests.send(grab(1, "p", "ann")).await.expect("it is sent");
    requests.send(grab(2, "p", &"x".repeat(5_000))).await.expect("it is sent");
    let first = replies.message().await.expect("an answer").expect("no end");
    assert_eq!(told(first), (201, "1".to_owned()));
    let status = replies.message().await.expect_err("it ends");
    assert!(status.message().contains("1024"), "{status}");
    assert_eq!(sale.grab("p", "bob").await.json["serial"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_the_server_ends_says_so_first_and_answers_what_was_sent() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("p", 1_000).await;
    let (requests, mut replies) = open(&sale).await;
    let stopping = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::task::block_in_place(|| sale.stop());
        sale
    });
    let sending = tokio::spawn(async move {
        for number in 1..=1_000 {
            if requests.send(grab(number, "p", &format!("c{number}"))).await.is_err() {
                return number - 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        1_000
    });
    let (mut answered, mut closed_after) = (0, None);
    while let Some(reply) = replies.message().await.expect("it ends in good order") {
        match told(reply) {
            (0, _) => closed_after = Some(answered),
            (status, said) => {
                assert_eq!(status, 201, "{said}");
                answered += 1;
            }
        }
    }
    drop(stopping.await.expect("it stops"));
    let sent = sending.await.expect("it ends");
    let closed_after = closed_after.expect("it says so first");
    assert!(
        closed_after > 0 && answered > closed_after && answered <= sent,
        "{answered} of {sent}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_in_streams_is_told_the_truth() {
    System::open(Engines::Embedded).await.assert_a_crowd_is_told_the_truth(["--protocol", "grpc"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_over_http_2_is_told_the_truth() {
    let sale = System::open(Engines::Embedded).await;
    sale.assert_a_crowd_is_told_the_truth(["--protocol", "http2"]);
}

#[tokio::test]
async fn http_2_takes_every_route() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("p", 2).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let url = format!("{}/v1/promotions/p/grabs", sale.url());
    let grabbed = client.post(url).json(&serde_json::json!({"customer_id": "ann"})).send().await;
    let grabbed = grabbed.expect("an answer");
    assert_eq!((grabbed.version(), grabbed.status().as_u16()), (reqwest::Version::HTTP_2, 201));
    let nowhere = client.get(format!("{}/v1/nowhere", sale.url())).send().await.expect("an answer");
    assert_eq!(nowhere.status(), 404);
}
