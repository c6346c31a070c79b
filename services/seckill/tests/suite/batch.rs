//! Grabs of many customers in one request.

use serde_json::{Value, json};

use crate::system::{Answer, Engines, System};

async fn grab_all(sale: &System, promotion: &str, customers: &[&str]) -> Answer {
    let grabs: Vec<Value> = customers.iter().map(|of| json!({"customer_id": of})).collect();
    ask(sale, promotion, json!({"grabs": grabs})).await
}

async fn ask(sale: &System, promotion: &str, body: Value) -> Answer {
    sale.post(&format!("/v1/promotions/{promotion}/grabs:batch"), body).await
}

/// Of each answer its status, and the serial, or what kind of problem it is.
fn told(answer: &Answer) -> Vec<(u64, String)> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let answers = answer.json["answers"].as_array().expect("answers").iter();
    let of = |answer: &Value| {
        let problem = answer["type"].as_str().map(|urn| urn.rsplit(':').next().unwrap_or(urn));
        let said = problem.map_or_else(|| answer["serial"].to_string(), str::to_owned);
        (answer["status"].as_u64().expect("a status"), said)
    };
    answers.map(of).collect()
}

#[tokio::test]
async fn each_grab_of_a_batch_has_the_answer_that_it_would_have_had_alone() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("p", 3).await;
    let alone = sale.grab("p", "ann").await;
    assert_eq!(alone.status, 201);
    let batch = grab_all(&sale, "p", &["bob", "ann", "bob", "cid", "dot"]).await;
    let expected = [(201, "2"), (200, "1"), (200, "2"), (201, "3"), (409, "sold-out")];
    assert_eq!(told(&batch), expected.map(|(status, said)| (status, said.to_owned())));
    let answers = batch.json["answers"].as_array().expect("answers");
    for (answer, customer) in answers.iter().zip(["bob", "ann", "bob", "cid", "dot"]) {
        assert_eq!(answer["customer_id"], customer);
        assert!(answer["position"].as_str().is_some_and(|at| at.contains(':')), "{answer}");
    }
    let repeated = grab_all(&sale, "p", &["ann"]).await;
    let fields = |of: &Value| of.as_object().expect("fields").keys().cloned().collect::<Vec<_>>();
    let mut as_alone = fields(&repeated.json["answers"][0]);
    as_alone.retain(|field| field != "status");
    assert_eq!(as_alone, fields(&alone.json));
    let nowhere = grab_all(&sale, "nowhere", &["ann"]).await;
    assert_eq!(told(&nowhere), [(404, "not-found".to_owned())]);
}

#[tokio::test]
async fn each_grab_of_a_batch_may_have_a_key() {
    let sale = System::open(Engines::Embedded).await;
    let terms = json!({"id": "p", "coupons": 9, "discount": 0.5, "limit_per_customer": 2});
    assert_eq!(sale.post("/v1/promotions", terms).await.status, 201);
    let grab = |key: &str| json!({"customer_id": "ann", "idempotency_key": key});
    let batch = ask(&sale, "p", json!({"grabs": [grab("1"), grab("1"), grab("2"), grab("3")]}));
    let statuses: Vec<_> = told(&batch.await).into_iter().map(|(status, _)| status).collect();
    assert_eq!(statuses, [201, 200, 201, 409]);
}

#[tokio::test]
async fn a_batch_in_which_something_is_wrong_decides_nothing() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("p", 9).await;
    let many = vec![json!({"customer_id": "ann"}); 1_001];
    let grab = |id: &str| json!({"customer_id": id});
    let long = "x".repeat(129);
    for (body, status, word) in [
        (json!({"grabs": []}), 400, "1 to 1000"),
        (json!({"grabs": many}), 400, "1 to 1000"),
        (json!({}), 400, "grabs is missing"),
        (json!({"grabs": [grab("ann"), grab("")]}), 400, "grabs[1]: customer_id"),
        (json!({"grabs": [grab("ann"), grab(&long)]}), 400, "grabs[1]: customer_id"),
        (json!({"grabs": [grab("ann"), {"customer_id": 1}]}), 400, "grabs[1].customer_id"),
        (json!({"grabs": [{"customer_id": "ann", "idempotency_key": ""}]}), 400, "grabs[0]: idem"),
        (json!({"grabs": [{"customer_id": "ann", "key": "k"}]}), 400, "key is no field"),
        (json!({"grabs": [grab("ann")], "padding": "x".repeat(600_000)}), 413, "524288"),
    ] {
        let answer = ask(&sale, "p", body).await;
        assert_eq!(answer.status, status, "{word}: {answer:?}");
        assert!(answer.text.contains(word), "{word}: {answer:?}");
    }
    let url = format!("{}/v1/promotions/p/grabs:batch", sale.url());
    let keyed = sale.client().post(url).header("idempotency-key", "k");
    let keyed = keyed.json(&json!({"grabs": [grab("ann")]})).send().await.expect("an answer");
    assert_eq!(keyed.status(), 400);
    assert_eq!(sale.grab("p", "zoe").await.json["serial"], 1, "nothing was given");
}

#[tokio::test]
async fn a_thousand_are_decided_in_their_order() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("p", 700).await;
    // Ids as long as they may be.
    let ids: Vec<String> = (0..1_000).map(|number| format!("{number:0>128}")).collect();
    let customers: Vec<&str> = ids.iter().map(String::as_str).collect();
    let batch = grab_all(&sale, "p", &customers).await;
    let answers = told(&batch);
    let expected = (1..=1_000).map(|serial| match serial {
        ..=700 => (201, serial.to_string()),
        _ => (409, "sold-out".to_owned()),
    });
    assert!(answers.into_iter().eq(expected));
    let last = batch.json["answers"][999]["position"].as_str();
    assert_eq!(sale.coupons("p", last).await.len(), 700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_in_batches_is_told_the_truth() {
    System::open(Engines::Embedded).await.assert_a_crowd_is_told_the_truth(["--batch", "100"]);
}
