//! The native HTTP contract, and that nothing a client sends does harm: it gets an answer that
//! says what is wrong, and the next customer a coupon.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::system::{Engines, System, binary, eventually, free_port, run, signal, text as said};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// 2100-01-01T00:00:00Z.
const FAR_AHEAD: i64 = 4_102_444_800_000;
/// The largest body taken.
const MAX_BODY: usize = 64 * 1024;
const SOON: Duration = Duration::from_secs(20);

/// An answer with everything that the contract promises of it.
#[derive(Debug)]
struct RawReply {
    status: u16,
    headers: HeaderMap,
    text: String,
    json: Value,
}

impl RawReply {
    async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a body");
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status, headers, text, json }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// A success with exactly these fields.
    #[track_caller]
    fn is(&self, status: u16, fields: &[&str]) -> &Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let found: BTreeSet<&str> =
            self.json.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(found, fields.iter().copied().collect(), "{self:?}");
        &self.json
    }

    /// A problem of this type.
    #[track_caller]
    fn is_problem(&self, status: u16, name: &str) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.json["type"], format!("urn:seckill:problem:{name}"), "{self:?}");
        assert_eq!(self.json["status"], status, "{self:?}");
        for words in ["title", "detail"] {
            assert!(self.json[words].as_str().is_some_and(|words| !words.is_empty()), "{self:?}");
        }
        self
    }

    /// Decided by the owner: it says where in the log, in the body and in the header.
    #[track_caller]
    fn is_decided(&self) -> String {
        let position = self.header("seckill-position").expect("a position").to_owned();
        assert_eq!(self.json["position"], position, "{self:?}");
        let (partition, offset) = position.split_once(':').expect("partition:offset");
        assert!(partition.parse::<u32>().is_ok() && offset.parse::<u64>().is_ok(), "{self:?}");
        position
    }

    /// Turned away before the owner heard of it.
    #[track_caller]
    fn is_undecided(&self) {
        assert_eq!(self.header("seckill-position"), None, "{self:?}");
        assert_eq!(self.json.get("position"), None, "{self:?}");
    }

    #[track_caller]
    fn says(&self, word: &str) -> &Self {
        let detail = self.json["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(word), "no {word:?} in {self:?}");
        self
    }

    fn items(&self) -> &[Value] {
        self.json["items"].as_array().map_or(&[], Vec::as_slice)
    }

    fn text_of(&self, field: &str) -> String {
        self.json[field].as_str().expect("a text").to_owned()
    }
}

/// Calls the native routes.
#[derive(Clone)]
struct Api {
    client: Client,
    url: String,
}

impl Api {
    fn of(sale: &System) -> Self {
        Self { client: sale.client().clone(), url: sale.url() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    async fn get(&self, path: &str) -> RawReply {
        RawReply::of(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: Value) -> RawReply {
        RawReply::of(self.request(Method::POST, path).json(&body)).await
    }

    async fn patch(&self, promotion: &str, body: Value) -> RawReply {
        let path = format!("/v1/promotions/{}", encoded(promotion));
        RawReply::of(self.request(Method::PATCH, &path).json(&body)).await
    }

    /// A body as it is.
    async fn raw(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> RawReply {
        let request = self.request(method, path).header("content-type", "application/json");
        RawReply::of(request.body(body)).await
    }

    async fn create(&self, body: Value) -> RawReply {
        self.post("/v1/promotions", body).await
    }

    async fn grab(&self, promotion: &str, customer: &str) -> RawReply {
        let path = format!("/v1/promotions/{}/grabs", encoded(promotion));
        self.post(&path, json!({"customer_id": customer})).await
    }

    async fn grab_with_key(&self, promotion: &str, customer: &str, key: &str) -> RawReply {
        let path = format!("/v1/promotions/{promotion}/grabs");
        let request = self.request(Method::POST, &path).header("idempotency-key", key);
        RawReply::of(request.json(&json!({"customer_id": customer}))).await
    }

    async fn cancel(&self, promotion: &str) -> RawReply {
        self.step(promotion, "cancel").await
    }

    /// A step in the life of a promotion, without a body.
    async fn step(&self, promotion: &str, step: &str) -> RawReply {
        RawReply::of(self.request(Method::POST, &format!("/v1/promotions/{promotion}/{step}")))
            .await
    }

    async fn restock(&self, promotion: &str, coupons: u32) -> RawReply {
        let path = format!("/v1/promotions/{promotion}/restock");
        self.post(&path, json!({"coupons": coupons})).await
    }

    /// The row of a promotion, once it shows what was answered at the position.
    async fn row(&self, promotion: &str, after: &str) -> Value {
        let path = format!("/v1/promotions/{}?after={after}", encoded(promotion));
        self.get(&path).await.is(200, &PROMOTION_FIELDS).clone()
    }

    /// A whole list, by pages of a size; how many pages.
    async fn pages(&self, path: &str, limit: usize) -> (Vec<Value>, usize) {
        let joint = if path.contains('?') { '&' } else { '?' };
        let (mut items, mut pages, mut cursor) = (Vec::new(), 0, String::new());
        loop {
            let page = self.get(&format!("{path}{joint}limit={limit}{cursor}")).await;
            page.is(200, &["items", "next"]);
            assert!(page.items().len() <= limit, "{page:?}");
            items.extend(page.items().iter().cloned());
            pages += 1;
            match &page.json["next"] {
                Value::Null => return (items, pages),
                next => cursor = format!("&cursor={}", next.as_str().expect("a text")),
            }
        }
    }
}

const GRANT_FIELDS: [&str; 6] =
    ["coupon_id", "customer_id", "grabbed_at", "position", "promotion_id", "serial"];
const COUPON_FIELDS: [&str; 7] =
    ["customer_id", "discount", "grabbed_at", "id", "position", "promotion_id", "serial"];
const PROMOTION_FIELDS: [&str; 12] = [
    "coupons",
    "created",
    "discount",
    "finish_reason",
    "finishes_at",
    "id",
    "limit_per_customer",
    "name",
    "position",
    "remaining",
    "starts_at",
    "state",
];

/// Every byte but letters and digits as %XX.
fn encoded(id: &str) -> String {
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    id.bytes().map(encode).collect()
}

fn now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "as a client knows it")]
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_epoch.as_millis()).expect("before the end of time")
}

fn ids(items: &[Value], field: &str) -> Vec<String> {
    items.iter().map(|item| item[field].as_str().expect("an id").to_owned()).collect()
}

/// Whatever happened before: it serves, it stops cleanly, and the views are what the log says.
async fn assert_unharmed(sale: &mut System) {
    sale.offer("afterwards", 5).await;
    let grab = sale.grab("afterwards", "zoe").await;
    assert_eq!(grab.status, 201, "{grab:?}");
    let coupons = sale.coupons("afterwards", grab.json["position"].as_str()).await;
    assert_eq!(coupons.len(), 1);
    sale.stop();
    sale.assert_verified();
}

// --- the contract ---

#[tokio::test]
async fn a_grab_is_granted_once_and_then_repeated() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    sale.offer("p", 10).await;
    let granted = api.grab("p", "zoe").await;
    granted.is(201, &GRANT_FIELDS);
    granted.is_decided();
    assert_eq!(granted.json["coupon_id"], "p-1");
    assert_eq!(granted.json["promotion_id"], "p");
    assert_eq!(granted.json["customer_id"], "zoe");
    assert_eq!(granted.json["serial"], 1);
    let time = granted.text_of("grabbed_at");
    assert!(time.starts_with("20") && time.ends_with('Z') && time.contains('T'), "{time}");

    let repeated = api.grab("p", "zoe").await;
    repeated.is(200, &GRANT_FIELDS);
    repeated.is_decided();
    for same in ["coupon_id", "promotion_id", "customer_id", "serial", "grabbed_at"] {
        assert_eq!(repeated.json[same], granted.json[same], "{same}");
    }
    assert_eq!(api.grab("p", "yan").await.json["serial"], 2, "nothing was given in between");
}

#[tokio::test]
async fn every_refusal_has_its_type_and_says_where_it_was_decided() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    sale.offer("one", 1).await;
    api.grab("one", "zoe").await.is(201, &GRANT_FIELDS);
    sale.offer("over", 1).await;
    api.grab("over", "zoe").await.is(201, &GRANT_FIELDS);
    api.step("over", "finish").await.is(200, &["id", "position"]);
    sale.offer("paused", 10).await;
    api.step("paused", "pause").await.is(200, &["id", "position"]);
    sale.offer("open", 10).await;
    sale.offer("cancelled", 10).await;
    api.cancel("cancelled").await.is(200, &["id", "position"]);
    let later = json!({"id": "later", "coupons": 5, "discount": 0.5, "starts_at": FAR_AHEAD});
    api.create(later).await.is(201, &["id", "position"]);
    let two = json!({"id": "two", "coupons": 9, "discount": 0.5, "limit_per_customer": 2});
    api.create(two).await.is(201, &["id", "position"]);
    for _ in 0..2 {
        api.grab("two", "zoe").await.is(201, &GRANT_FIELDS);
    }

    let change = json!({"coupons": 7});
    let decided = [
        (api.grab("nobody", "zoe").await, 404, "not-found"),
        (api.patch("nobody", change.clone()).await, 404, "not-found"),
        (api.cancel("nobody").await, 404, "not-found"),
        (api.restock("nobody", 9).await, 404, "not-found"),
        (api.grab("later", "zoe").await, 409, "not-started"),
        (api.restock("later", 9).await, 409, "not-started"),
        (api.grab("one", "yan").await, 409, "sold-out"),
        (api.grab("two", "zoe").await, 409, "limit-reached"),
        (api.grab("cancelled", "zoe").await, 409, "finished"),
        (api.cancel("over").await, 409, "finished"),
        (api.restock("over", 9).await, 409, "finished"),
        (api.grab("over", "yan").await, 409, "sold-out"),
        (api.grab("paused", "zoe").await, 409, "paused"),
        (api.step("one", "pause").await, 409, "sold-out"),
        (api.step("later", "pause").await, 409, "not-started"),
        (api.step("later", "finish").await, 409, "not-started"),
        (api.step("cancelled", "resume").await, 409, "finished"),
        (api.step("nobody", "finish").await, 404, "not-found"),
        (api.patch("open", change.clone()).await, 409, "already-started"),
        (api.patch("one", change).await, 409, "already-started"),
        (
            api.create(json!({"id": "open", "coupons": 7, "discount": 0.5})).await,
            409,
            "already-exists",
        ),
        (api.restock("open", 9).await, 400, "invalid-terms"),
        (api.patch("later", json!({"finishes_at": FAR_AHEAD})).await, 400, "invalid-terms"),
    ];
    for (reply, status, name) in decided {
        reply.is_problem(status, name).is_decided();
    }
}

#[tokio::test]
async fn a_promotion_is_created_once() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    let body = json!({
        "id": "spring",
        "name": "Spring sale",
        "coupons": 100,
        "discount": 0.7,
        "starts_at": "2020-01-01T02:00:00+02:00",
        "finishes_at": FAR_AHEAD,
        "limit_per_customer": 2,
    });
    let created = api.create(body.clone()).await;
    created.is(201, &["id", "position"]);
    let position = created.is_decided();
    assert_eq!(created.json["id"], "spring");
    let row = api.row("spring", &position).await;
    let expected = json!({
        "id": "spring",
        "name": "Spring sale",
        "coupons": 100,
        "remaining": 100,
        "discount": 0.7,
        "limit_per_customer": 2,
        "starts_at": "2020-01-01T00:00:00Z",
        "finishes_at": "2100-01-01T00:00:00Z",
        "state": "active",
        "finish_reason": null,
        "created": row["created"],
        "position": row["position"],
    });
    assert_eq!(row, expected);

    api.create(body.clone()).await.is(200, &["id", "position"]);
    let mut other = body;
    other["coupons"] = json!(101);
    let refused = api.create(other).await;
    refused.is_problem(409, "already-exists").is_decided();
    assert_eq!(refused.json["promotion_id"], "spring");
}

#[tokio::test]
async fn what_a_new_promotion_leaves_out_has_defaults() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    let before = now_ms();
    let created = api.create(json!({"coupons": 1, "discount": 1})).await;
    created.is(201, &["id", "position"]);
    let id = created.text_of("id");
    assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id}");
    let row = api.row(&id, &created.is_decided()).await;
    assert_eq!(row["name"], id.as_str());
    assert_eq!(row["limit_per_customer"], 1);
    assert_eq!((&row["finishes_at"], &row["state"]), (&Value::Null, &json!("active")));
    let old = api.get("/query/promotions").await.json[0]["publishTime"].as_i64().expect("a time");
    assert!((before..=now_ms()).contains(&old), "it starts at once");
}

/// The same key is the same promotion, so that a creator who heard nothing can ask again.
#[tokio::test]
async fn creating_with_an_idempotency_key_makes_one_promotion() {
    let mut sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    let create = async |key: &str, coupons: u32| {
        let request = api.request(Method::POST, "/v1/promotions").header("idempotency-key", key);
        RawReply::of(request.json(&json!({"coupons": coupons, "discount": 0.5}))).await
    };
    let first = create("monday/1 春", 5).await;
    first.is(201, &["id", "position"]);
    for _ in 0..2 {
        let again = create("monday/1 春", 5).await;
        again.is(200, &["id", "position"]);
        assert_eq!(again.json["id"], first.json["id"]);
    }
    let other = create("monday/1 春", 6).await;
    other.is_problem(409, "already-exists");
    assert_eq!(other.json["promotion_id"], first.json["id"]);
    let second = create("monday/2", 5).await;
    second.is(201, &["id", "position"]);
    assert_ne!(second.json["id"], first.json["id"]);
    for bad in ["", &"k".repeat(129)] {
        create(bad, 5).await.is_problem(400, "invalid-identifier").says("Idempotency-Key");
    }
    sale.kill();
    sale.start().await;
    let again = create("monday/1 春", 5).await;
    again.is(200, &["id", "position"]);
    assert_eq!(again.json["id"], first.json["id"]);
}

#[tokio::test]
async fn above_a_limit_of_one_an_idempotency_key_makes_a_request() {
    let mut sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    let terms = json!({"id": "three", "coupons": 100, "discount": 0.5, "limit_per_customer": 3});
    api.create(terms).await.is(201, &["id", "position"]);
    let first = api.grab_with_key("three", "zoe", "k1").await;
    assert_eq!((first.status, &first.json["serial"]), (201, &json!(1)));
    let again = api.grab_with_key("three", "zoe", "k1").await;
    assert_eq!((again.status, &again.json["serial"]), (200, &json!(1)));
    assert_eq!(again.json["grabbed_at"], first.json["grabbed_at"]);
    let other = api.grab_with_key("three", "yan", "k1").await;
    assert_eq!((other.status, &other.json["serial"]), (201, &json!(2)), "a key is a customer's");
    let without = api.grab("three", "zoe").await;
    assert_eq!((without.status, &without.json["serial"]), (201, &json!(3)));
    let second = api.grab_with_key("three", "zoe", "k2").await;
    assert_eq!((second.status, &second.json["serial"]), (201, &json!(4)));
    api.grab("three", "zoe").await.is_problem(409, "limit-reached");
    api.grab_with_key("three", "zoe", "k3").await.is_problem(409, "limit-reached");

    sale.kill();
    sale.start().await;
    for (key, serial) in [("k1", 1), ("k2", 4)] {
        let again = api.grab_with_key("three", "zoe", key).await;
        assert_eq!((again.status, &again.json["serial"]), (200, &json!(serial)), "{key}");
    }
    api.grab("three", "zoe").await.is_problem(409, "limit-reached");
}

#[tokio::test]
async fn a_change_touches_what_it_names() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    let body = json!({
        "id": "p",
        "name": "P",
        "coupons": 5,
        "discount": 0.5,
        "starts_at": FAR_AHEAD,
        "finishes_at": FAR_AHEAD + 1_000,
    });
    let created = api.create(body).await;
    let mut expected = api.row("p", &created.is_decided()).await;
    assert_eq!((&expected["state"], &expected["remaining"]), (&json!("scheduled"), &json!(5)));
    let changes = [
        (json!({"name": "Q 春"}), vec![("name", json!("Q 春"))]),
        (json!({"coupons": 7}), vec![("coupons", json!(7)), ("remaining", json!(7))]),
        (json!({"discount": 1}), vec![("discount", json!(1.0))]),
        (json!({"limit_per_customer": 3}), vec![("limit_per_customer", json!(3))]),
        (json!({"finishes_at": null}), vec![("finishes_at", Value::Null)]),
        (
            json!({"finishes_at": "2101-01-01T00:00:00Z"}),
            vec![("finishes_at", json!("2101-01-01T00:00:00Z"))],
        ),
        (
            json!({"starts_at": FAR_AHEAD - 1, "finishes_at": null}),
            vec![("starts_at", json!("2099-12-31T23:59:59.999Z")), ("finishes_at", Value::Null)],
        ),
    ];
    for (change, fields) in changes {
        let changed = api.patch("p", change.clone()).await;
        assert_eq!(changed.is(200, &["id", "position"])["id"], "p");
        let row = api.row("p", &changed.is_decided()).await;
        for (field, value) in fields {
            expected[field] = value;
        }
        expected["position"] = row["position"].clone();
        assert_eq!(row, expected, "{change}");
    }
    for nothing in [json!({}), json!({"coupons": 7})] {
        let position = api.patch("p", nothing).await.is_decided();
        assert_eq!(api.row("p", &position).await, expected);
    }
    for field in ["name", "coupons", "discount", "starts_at", "limit_per_customer"] {
        let refused = api.patch("p", json!({field: null})).await;
        refused.is_problem(400, "invalid-body").is_undecided();
    }
    let started = api.patch("p", json!({"starts_at": 1})).await;
    assert_eq!(api.row("p", &started.is_decided()).await["state"], "active");
    api.grab("p", "zoe").await.is(201, &GRANT_FIELDS);
}

#[tokio::test]
async fn cancelling_ends_a_promotion_and_takes_no_coupon_back() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    sale.offer("p", 10).await;
    let granted = api.grab("p", "zoe").await;
    let cancelled = api.cancel("p").await;
    assert_eq!(cancelled.is(200, &["id", "position"])["id"], "p");
    let row = api.row("p", &cancelled.is_decided()).await;
    assert_eq!(row["state"], "finished");
    assert_eq!((&row["finish_reason"], &row["remaining"]), (&json!("cancelled"), &json!(9)));
    api.cancel("p").await.is(200, &["id", "position"]);
    api.grab("p", "yan").await.is_problem(409, "finished");
    let kept = api.grab("p", "zoe").await;
    assert_eq!(kept.is(200, &GRANT_FIELDS)["coupon_id"], granted.json["coupon_id"]);
    let coupon = api.get("/v1/coupons/p-1").await;
    assert_eq!(coupon.is(200, &COUPON_FIELDS)["customer_id"], "zoe");
    assert_eq!(api.get("/query/promotions").await.text, "[]");

    // One that had not started never does.
    let starts = now_ms() + 700;
    let later = json!({"id": "later", "coupons": 5, "discount": 0.5, "starts_at": starts});
    api.create(later).await.is(201, &["id", "position"]);
    api.cancel("later").await.is(200, &["id", "position"]);
    eventually("the time has passed", SOON, async || now_ms() > starts + 100).await;
    let refused = api.grab("later", "zoe").await;
    refused.is_problem(409, "finished");
    assert_eq!(api.row("later", &refused.is_decided()).await["state"], "finished");
    assert_eq!(api.get("/query/promotions").await.text, "[]");
}

/// From its start to its end, with all that an operator may do meanwhile; after a restart too.
#[tokio::test]
async fn a_sale_has_a_long_life() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("p", 2).await;
    let step = async |sale: &System, step: &str, state: &str| {
        let api = Api::of(sale);
        for _ in 0..2 {
            let done = api.step("p", step).await;
            assert_eq!(done.is(200, &["id", "position"])["id"], "p", "repeated or not");
            assert_eq!(api.row("p", &done.is_decided()).await["state"], state, "{step}");
        }
    };
    let listed = async |sale: &System, state: &str| {
        let path = format!("/v1/promotions?state={state}");
        Api::of(sale).get(&path).await.items().len()
    };
    Api::of(&sale).grab("p", "zoe").await.is(201, &GRANT_FIELDS);
    step(&sale, "pause", "paused").await;
    Api::of(&sale).grab("p", "yan").await.is_problem(409, "paused");
    Api::of(&sale).grab("p", "zoe").await.is(200, &GRANT_FIELDS);
    assert_eq!((listed(&sale, "active").await, listed(&sale, "paused").await), (0, 1));
    sale.kill();
    sale.start().await;
    Api::of(&sale).grab("p", "yan").await.is_problem(409, "paused");
    step(&sale, "resume", "active").await;
    let last = Api::of(&sale).grab("p", "yan").await.is_decided();
    assert_eq!(Api::of(&sale).row("p", &last).await["state"], "sold_out");
    assert_eq!((listed(&sale, "active").await, listed(&sale, "sold_out").await), (0, 1));
    sale.kill();
    sale.start().await;
    let api = Api::of(&sale);
    api.grab("p", "xin").await.is_problem(409, "sold-out");
    let restocked = api.restock("p", 4).await.is_decided();
    let row = api.row("p", &restocked).await;
    assert_eq!((&row["state"], &row["remaining"]), (&json!("active"), &json!(2)));
    assert_eq!((listed(&sale, "active").await, listed(&sale, "sold_out").await), (1, 0));
    assert_eq!(api.grab("p", "xin").await.json["serial"], 3);
    // After the start its end can be moved, and nothing else changed.
    api.patch("p", json!({"discount": 0.1})).await.is_problem(409, "already-started");
    api.patch("p", json!({"finishes_at": 1})).await.is_problem(400, "invalid-terms");
    let moved = api.patch("p", json!({"finishes_at": FAR_AHEAD})).await.is_decided();
    let row = api.row("p", &moved).await;
    assert_eq!((&row["remaining"], row["finishes_at"].is_null()), (&json!(1), false));
    step(&sale, "finish", "finished").await;
    assert_eq!(api.get("/v1/promotions/p").await.json["finish_reason"], "closed");
    Api::of(&sale).grab("p", "wei").await.is_problem(409, "finished");
    Api::of(&sale).restock("p", 9).await.is_problem(409, "finished");
    sale.stop();
    sale.assert_verified();
}

#[tokio::test]
async fn a_restock_names_the_new_total() {
    let mut sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    sale.offer("p", 2).await;
    api.grab("p", "zoe").await.is(201, &GRANT_FIELDS);
    for _ in 0..2 {
        let restocked = api.restock("p", 3).await;
        assert_eq!(restocked.is(200, &["id", "position"])["id"], "p");
        let row = api.row("p", &restocked.is_decided()).await;
        assert_eq!((&row["coupons"], &row["remaining"]), (&json!(3), &json!(2)), "repeated or not");
    }
    for fewer in [0, 1, 2] {
        api.restock("p", fewer).await.is_problem(400, "invalid-terms").is_decided();
    }
    assert_eq!(api.grab("p", "yan").await.json["serial"], 2);
    assert_eq!(api.grab("p", "xin").await.json["serial"], 3);
    api.grab("p", "wei").await.is_problem(409, "sold-out");
    api.restock("p", 3).await.is(200, &["id", "position"]);
    sale.stop();
    sale.assert_verified();
}

#[tokio::test]
async fn lists_and_rows_have_their_shape() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    sale.offer("p", 10).await;
    let position = api.grab("p", "zoe").await.is_decided();
    let coupon = api.get(&format!("/v1/coupons/p-1?after={position}")).await;
    let coupon = coupon.is(200, &COUPON_FIELDS).clone();
    assert_eq!(coupon["position"], position.as_str());
    for path in ["/v1/promotions/p/coupons", "/v1/customers/zoe/coupons"] {
        let list = api.get(path).await;
        assert_eq!(list.is(200, &["items", "next"]), &json!({"items": [coupon], "next": null}));
    }
    let row = api.row("p", &position).await;
    assert_eq!(row["position"], position.as_str());
    for path in ["/v1/promotions", "/v1/promotions/"] {
        let list = api.get(path).await;
        assert_eq!(list.is(200, &["items", "next"]), &json!({"items": [row], "next": null}));
    }
    let nothing = json!({"items": [], "next": null});
    let list = api.get("/v1/customers/nobody/coupons").await;
    assert_eq!(list.is(200, &["items", "next"]), &nothing);
    let of_nobody = ["", "/coupons", "/timeline"].map(|of| format!("/v1/promotions/nobody{of}"));
    for path in
        of_nobody.iter().map(String::as_str).chain(["/v1/coupons/p-2", "/v1/coupons/nobody-1"])
    {
        api.get(path).await.is_problem(404, "not-found").is_undecided();
    }
    assert_eq!(api.get("/healthz").await.text, "ok\n");
    assert_eq!(api.get("/readyz").await.json, json!({"ready": true, "not_ready": {}}));
    assert!(api.get("/metrics").await.text.contains("seckill_http_request_seconds_bucket"));
}

/// What an operator watches a sale by.
#[tokio::test]
async fn metrics_count_what_clients_were_told() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("sale", 1).await;
    for customer in ["first", "first", "second"] {
        sale.grab("sale", customer).await;
    }
    sale.grab("no sale", "first").await;
    let expected = [
        r#"seckill_commands_total{command="schedule",outcome="accepted"} 1"#,
        r#"seckill_commands_total{command="grab",outcome="accepted"} 1"#,
        r#"seckill_commands_total{command="grab",outcome="repeated"} 1"#,
        r#"seckill_commands_total{command="grab",outcome="sold-out"} 1"#,
        r#"seckill_commands_total{command="grab",outcome="not-found"} 1"#,
        r#"seckill_part_ready{part="command/partition/0"} 1"#,
        r#"seckill_part_ready{part="projector/partition/0"} 1"#,
        r#"seckill_projector_lag_records{partition="0"} 0"#,
        r#"seckill_burst_records_bucket{le="1"}"#,
    ];
    eventually("every metric is there", SOON, async || {
        let metrics = sale.get("/metrics").await.text;
        expected.iter().all(|line| metrics.contains(line))
    })
    .await;
    let metrics = sale.get("/metrics").await.text;
    let samples = metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    for sample in samples {
        let name = sample.split(['{', ' ']).next().expect("a name");
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        assert!(metrics.contains(&format!("# HELP {name} ")), "{name} is not explained");
    }
}

#[tokio::test]
async fn who_writes_reads_it_at_once() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    for number in 0..25_usize {
        let promotion = format!("p{}", number % 3);
        if number < 3 {
            let position = api
                .create(json!({"id": promotion, "coupons": 99, "discount": 0.5}))
                .await
                .is_decided();
            assert_eq!(api.row(&promotion, &position).await["state"], "active");
        }
        let customer = format!("c{number}");
        let granted = api.grab(&promotion, &customer).await;
        let position = granted.is_decided();
        let id = granted.text_of("coupon_id");
        let paths = [
            format!("/v1/coupons/{id}"),
            format!("/v1/customers/{customer}/coupons"),
            format!("/v1/promotions/{promotion}/coupons"),
            format!("/v1/promotions?limit={}", 1_000),
        ];
        let path = &paths[number % 4];
        let reply = if number % 2 == 0 {
            let joint = if path.contains('?') { '&' } else { '?' };
            api.get(&format!("{path}{joint}after={position}")).await
        } else {
            RawReply::of(api.request(Method::GET, path).header("Seckill-After", &position)).await
        };
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.text.contains(&format!("\"{position}\"")), "{path}: {reply:?}");
    }
    let refused = api.grab("nobody", "zoe").await;
    let position = refused.is_decided();
    api.get(&format!("/v1/promotions?after={position}")).await.is(200, &["items", "next"]);
}

#[tokio::test]
async fn ids_may_hold_anything_but_control_characters() {
    let mut sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    let longest = "春".repeat(42) + "ab";
    let ids = [
        "a b",
        " ",
        "a/b",
        "/",
        "a//b",
        "春/сезон ✓",
        "😀",
        "%41",
        "%2F",
        "a+b",
        "a?b#c&d=e",
        "-",
        "p-1",
        "p-1-1",
        "'; DROP TABLE coupons; --",
        "\"\\\"",
        "{id}",
        "null",
        "\u{FEFF}x",
        "e\u{301}",
        "\u{e9}",
        &longest,
    ];
    let mut position = String::new();
    for id in ids {
        let created = api.create(json!({"id": id, "coupons": 2, "discount": 0.5})).await;
        assert_eq!(created.is(201, &["id", "position"])["id"], id);
        for customer in [id, "zoe"] {
            let granted = api.grab(id, customer).await;
            granted.is(201, &GRANT_FIELDS);
            position = granted.is_decided();
            assert_eq!(granted.json["customer_id"], customer);
            assert_eq!(granted.json["promotion_id"], id);
        }
        let row = api.row(id, &position).await;
        assert_eq!((&row["id"], &row["state"]), (&json!(id), &json!("sold_out")));
        for (serial, customer) in [(1, id), (2, "zoe")] {
            let path = format!("/v1/coupons/{}", encoded(&format!("{id}-{serial}")));
            let coupon = api.get(&path).await;
            assert_eq!(coupon.is(200, &COUPON_FIELDS)["customer_id"], customer, "{id:?}");
        }
        let of_promotion = api.get(&format!("/v1/promotions/{}/coupons", encoded(id))).await;
        assert_eq!(of_promotion.items().len(), 2, "{id:?}: {of_promotion:?}");
        let of_customer = api.get(&format!("/v1/customers/{}/coupons", encoded(id))).await;
        assert_eq!(of_customer.items().len(), 1, "{id:?}: {of_customer:?}");
        let old = api.get(&format!("/query/coupons/{}", encoded(id))).await;
        assert_eq!(old.json[0]["promotionId"], id, "{old:?}");
    }
    let (coupons, _) = api.pages("/v1/customers/zoe/coupons", 3).await;
    assert_eq!(self::ids(&coupons, "promotion_id").len(), ids.len());
    let (promotions, _) = api.pages("/v1/promotions", 3).await;
    let found: BTreeSet<String> = self::ids(&promotions, "id").into_iter().collect();
    assert_eq!(found, ids.iter().map(ToString::to_string).collect(), "after {position}");
    assert_unharmed(&mut sale).await;
}

#[tokio::test]
async fn lists_come_in_pages_and_by_state() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    let mut states: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut positions = Vec::new();
    for number in 0..30 {
        let id = format!("promotion {number}");
        let starts = if number % 3 == 0 { FAR_AHEAD } else { 1 };
        let terms = json!({"id": id, "coupons": 9, "discount": 0.5, "starts_at": starts});
        positions.push(api.create(terms).await.is_decided());
        if number % 3 != 0 {
            positions.push(api.grab(&id, "zoe").await.is_decided());
        }
        if number % 3 == 1 {
            positions.push(api.cancel(&encoded(&id)).await.is_decided());
        }
        states.entry(["scheduled", "finished", "active"][number % 3]).or_default().insert(id);
    }
    sale.offer("big", 25).await;
    states.entry("sold_out").or_default().insert("big".to_owned());
    sale.offer("paused", 5).await;
    positions.push(api.step("paused", "pause").await.is_decided());
    states.entry("paused").or_default().insert("paused".to_owned());
    for number in 0..25 {
        positions.push(api.grab("big", &format!("customer {number}")).await.is_decided());
    }
    for position in positions {
        api.get(&format!("/v1/promotions?limit=1&after={position}"))
            .await
            .is(200, &["items", "next"]);
    }

    let all: BTreeSet<String> = states.values().flatten().cloned().collect();
    for (limit, expected_pages) in [(1, 32), (10, 4), (32, 1), (1_000, 1)] {
        let (items, pages) = api.pages("/v1/promotions", limit).await;
        assert_eq!((items.len(), pages), (32, expected_pages), "limit {limit}");
        assert_eq!(ids(&items, "id").into_iter().collect::<BTreeSet<_>>(), all);
    }
    for (state, expected) in &states {
        for limit in [1, 4, 100] {
            let (items, _) = api.pages(&format!("/v1/promotions?state={state}"), limit).await;
            assert_eq!(items.len(), expected.len(), "{state}");
            assert_eq!(&ids(&items, "id").into_iter().collect::<BTreeSet<_>>(), expected);
            assert!(items.iter().all(|item| item["state"] == *state));
        }
    }
    for limit in [1, 10, 25, 26] {
        let (items, _) = api.pages("/v1/promotions/big/coupons", limit).await;
        let serials: Vec<u64> = items.iter().filter_map(|item| item["serial"].as_u64()).collect();
        assert_eq!(serials, (1..=25).collect::<Vec<u64>>(), "by serial, each once");
        let (items, _) = api.pages("/v1/customers/zoe/coupons", limit).await;
        let coupons: BTreeSet<String> = ids(&items, "id").into_iter().collect();
        assert_eq!((items.len(), coupons.len()), (20, 20), "zoe holds twenty");
    }
    let default = api.get("/v1/promotions").await;
    assert_eq!(default.items().len(), 32);
}

// --- what is wrong ---

#[tokio::test]
async fn a_body_that_is_not_a_grab_is_told_why() {
    let mut sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    sale.offer("p", 1_000).await;
    let nested = "[".repeat(30_000);
    let deep = format!(r#"{{"customer_id":"zoe","x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let long = format!(r#"{{"customer_id":"{}"}}"#, "x".repeat(129));
    let malformed: &[&[u8]] = &[
        b"",
        b" ",
        b"{",
        b"}",
        b"zoe",
        b"{'customer_id':'zoe'}",
        b"{\"customer_id\":\"zoe\"",
        b"{\"customer_id\":\"zoe\"} x",
        b"{\"customer_id\":\"zoe\"}{}",
        b"{\"customer_id\":\"a\nb\"}",
        b"{\"customer_id\":\"a\0b\"}",
        b"{\"customer_id\":\"\xFF\xFE\"}",
        b"\xFF\xFE{\0}\0",
        b"{\"customer_id\":\"\xC3\"}",
        b"{\"customer_id\":\"\xED\xA0\x80\"}",
        b"{\"customer_id\":\"\\ud800\"}",
        b"\xEF\xBB\xBF{\"customer_id\":\"zoe\"}",
        b"{\"customer_id\":NaN}",
        b"{\"customer_id\":\"\\x41\"}",
        b"customer_id=zoe",
        b"<customer_id>zoe</customer_id>",
        deep.as_bytes(),
    ];
    for body in malformed {
        let reply = api.raw(Method::POST, "/v1/promotions/p/grabs", body.to_vec()).await;
        let known =
            ["malformed-json", "invalid-body"].map(|name| format!("urn:seckill:problem:{name}"));
        let name = reply.json["type"].as_str().unwrap_or_default();
        assert!(known.contains(&name.to_owned()), "{:?}: {reply:?}", String::from_utf8_lossy(body));
        assert_eq!(reply.status, 400, "{reply:?}");
        reply.is_undecided();
    }
    let cases: &[(&str, &str, &str)] = &[
        ("{}", "invalid-body", "customer_id"),
        ("null", "invalid-body", ""),
        ("true", "invalid-body", ""),
        ("1", "invalid-body", ""),
        ("\"zoe\"", "invalid-body", ""),
        ("[]", "invalid-body", ""),
        ("[\"zoe\"]", "invalid-body", "object"),
        ("[{\"customer_id\":\"zoe\"}]", "invalid-body", ""),
        ("{\"customer_id\":1}", "invalid-body", "text"),
        ("{\"customer_id\":null}", "invalid-body", "text"),
        ("{\"customer_id\":true}", "invalid-body", "text"),
        ("{\"customer_id\":[\"zoe\"]}", "invalid-body", "text"),
        ("{\"customer_id\":{\"id\":\"zoe\"}}", "invalid-body", "text"),
        ("{\"customer_id\":\"zoe\",\"cheat\":1}", "invalid-body", "cheat"),
        ("{\"customerId\":\"zoe\"}", "invalid-body", "customerId"),
        ("{\"CUSTOMER_ID\":\"zoe\"}", "invalid-body", "CUSTOMER_ID"),
        ("{\"customer_id\":\"zoe\",\"customer_id\":\"yan\"}", "invalid-body", "customer_id"),
        ("{\"customer_id\":\"\"}", "invalid-identifier", "empty"),
        ("{\"customer_id\":\"a\\u0000b\"}", "invalid-identifier", "control"),
        ("{\"customer_id\":\"a\\tb\"}", "invalid-identifier", "control"),
        ("{\"customer_id\":\"a\\r\\nb\"}", "invalid-identifier", "control"),
        ("{\"customer_id\":\"a\\u007fb\"}", "invalid-identifier", "control"),
        ("{\"customer_id\":\"a\\u0085b\"}", "invalid-identifier", "control"),
        (&long, "invalid-identifier", "128"),
    ];
    for (body, name, word) in cases {
        let reply = api.raw(Method::POST, "/v1/promotions/p/grabs", body.to_string()).await;
        reply.is_problem(400, name).says(word).is_undecided();
    }
    let reply = api.raw(Method::POST, "/v1/promotions/p/grabs", nested).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert_eq!(api.grab("p", "zoe").await.json["serial"], 1, "nobody was given anything");
    assert_unharmed(&mut sale).await;
}

#[tokio::test]
async fn terms_that_cannot_be_offered_are_told_why() {
    let mut sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    let good = json!({"id": "bad", "coupons": 5, "discount": 0.5});
    let with = |field: &str, value: Value| {
        let mut terms = good.clone();
        terms[field] = value;
        terms
    };
    let cases = [
        (with("coupons", json!(0)), "invalid-terms", "coupons"),
        (with("coupons", json!(-1)), "invalid-body", "-1"),
        (with("coupons", json!(4_294_967_296_u64)), "invalid-body", "4294967296"),
        (with("coupons", json!(1.5)), "invalid-body", "1.5"),
        (with("coupons", json!("5")), "invalid-body", "5"),
        (with("coupons", Value::Null), "invalid-body", "null"),
        (with("discount", json!(0)), "invalid-terms", "discount"),
        (with("discount", json!(-0.1)), "invalid-terms", "discount"),
        (with("discount", json!(1.000_001)), "invalid-terms", "discount"),
        (with("discount", json!("0.5")), "invalid-body", "0.5"),
        (with("limit_per_customer", json!(0)), "invalid-terms", "limit_per_customer"),
        (with("limit_per_customer", json!(-1)), "invalid-body", "-1"),
        (with("starts_at", json!("tomorrow")), "invalid-body", "RFC 3339"),
        (with("starts_at", json!(0)), "invalid-body", "RFC 3339"),
        (with("starts_at", json!(i64::MAX)), "invalid-body", "RFC 3339"),
        (with("starts_at", json!(true)), "invalid-body", "RFC 3339"),
        (with("finishes_at", json!(1)), "invalid-terms", "finishes_at"),
        (with("finishes_at", json!(now_ms() - 1)), "invalid-terms", "finishes_at"),
        (with("id", json!("")), "invalid-identifier", "id must not be empty"),
        (with("id", json!("x".repeat(129))), "invalid-identifier", "128"),
        (with("id", json!("a\u{0}b")), "invalid-identifier", "control"),
        (with("id", json!(7)), "invalid-body", "7"),
        (with("name", json!("")), "invalid-identifier", "name"),
        (with("name", json!("x".repeat(129))), "invalid-identifier", "128"),
        (with("name", json!("a\nb")), "invalid-identifier", "control"),
        (with("numberOfCoupons", json!(5)), "invalid-body", "numberOfCoupons"),
        (json!({"id": "bad", "discount": 0.5}), "invalid-body", "coupons"),
        (json!({"id": "bad", "coupons": 5}), "invalid-body", "discount"),
        (json!(["bad", null, 5, 0.5, null, null, 1]), "invalid-body", "object"),
    ];
    for (body, name, word) in cases {
        api.create(body).await.is_problem(400, name).says(word);
    }
    let overflow = r#"{"id":"bad","coupons":5,"discount":1e400}"#;
    let reply = api.raw(Method::POST, "/v1/promotions", overflow).await;
    assert_eq!(reply.status, 400, "{reply:?}");

    let later = json!({"id": "later", "coupons": 5, "discount": 0.5, "starts_at": FAR_AHEAD});
    api.create(later).await.is(201, &["id", "position"]);
    let changes = [
        (json!({"coupons": 0}), "invalid-terms", "coupons"),
        (json!({"coupons": -1}), "invalid-body", "-1"),
        (json!({"discount": 0}), "invalid-terms", "discount"),
        (json!({"discount": 2}), "invalid-terms", "discount"),
        (json!({"limit_per_customer": 0}), "invalid-terms", "limit_per_customer"),
        (json!({"name": "a\u{7f}"}), "invalid-identifier", "control"),
        (json!({"finishes_at": "never"}), "invalid-body", "RFC 3339"),
        (json!({"finishes_at": 1}), "invalid-terms", "finishes_at"),
        (json!({"id": "other"}), "invalid-body", "id"),
        (json!({"remaining": 5}), "invalid-body", "remaining"),
        (json!([]), "invalid-body", ""),
    ];
    for (body, name, word) in changes {
        api.patch("later", body).await.is_problem(400, name).says(word);
    }
    for body in [json!({}), json!({"coupons": null}), json!({"coupons": -1}), json!({"by": 1})] {
        api.post("/v1/promotions/later/restock", body).await.is_problem(400, "invalid-body");
    }
    api.get("/v1/promotions/bad").await.is_problem(404, "not-found");
    assert_unharmed(&mut sale).await;
}

#[tokio::test]
async fn an_id_in_the_path_is_checked_on_every_route() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    let long = "x".repeat(129);
    let bad = ["%00", "a%0Ab", "%7F", "%C2%85", "%FF", "%C3", "%ED%A0%80", &long];
    for id in bad {
        let grab = json!({"customer_id": "zoe"});
        let mut replies = vec![
            api.post(&format!("/v1/promotions/{id}/grabs"), grab).await,
            api.cancel(id).await,
            api.restock(id, 5).await,
            RawReply::of(
                api.request(Method::PATCH, &format!("/v1/promotions/{id}")).json(&json!({})),
            )
            .await,
            RawReply::of(
                api.request(Method::PUT, &format!("/admin/promotions/{id}")).json(&json!({})),
            )
            .await,
        ];
        for path in [
            format!("/v1/promotions/{id}"),
            format!("/v1/promotions/{id}/coupons"),
            format!("/v1/customers/{id}/coupons"),
            format!("/v1/coupons/{id}-1"),
            format!("/query/coupons/{id}"),
        ] {
            replies.push(api.get(&path).await);
        }
        for reply in replies {
            reply.is_problem(400, "invalid-identifier").is_undecided();
        }
    }
    for id in ["p", "-1", "p-", "p-0", "p-01", "p-+1", "p-4294967296", "p-one", "%FF"] {
        api.get(&format!("/v1/coupons/{id}")).await.is_problem(400, "invalid-identifier");
    }
}

#[tokio::test]
async fn parameters_are_checked() {
    let mut sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    for number in 0..3 {
        sale.offer(&format!("p{number}"), 10).await;
    }
    for customer in ["zoe", "yan"] {
        api.grab("p0", customer).await;
    }
    let position = api.grab("p1", "zoe").await.is_decided();
    api.get(&format!("/v1/promotions?after={position}")).await.is(200, &["items", "next"]);
    let lists = ["/v1/promotions", "/v1/promotions/p0/coupons", "/v1/customers/zoe/coupons"];
    let wrong = [
        ("limit=0", "invalid-parameter"),
        ("limit=1001", "invalid-parameter"),
        ("limit=-1", "invalid-parameter"),
        ("limit=ten", "invalid-parameter"),
        ("limit=", "invalid-parameter"),
        ("limit=1.5", "invalid-parameter"),
        ("limit=18446744073709551616", "invalid-parameter"),
        ("limit=1&limit=2", "invalid-parameter"),
        ("page=2", "invalid-parameter"),
        ("Limit=2", "invalid-parameter"),
        ("state=open", "invalid-parameter"),
        ("after=", "invalid-position"),
        ("after=now", "invalid-position"),
        ("after=1", "invalid-position"),
        ("after=1:", "invalid-position"),
        ("after=:1", "invalid-position"),
        ("after=-1:1", "invalid-position"),
        ("after=1:-1", "invalid-position"),
        ("after=1:1:1", "invalid-position"),
        ("after=4294967296:1", "invalid-position"),
        ("after=1:18446744073709551616", "invalid-position"),
        ("after=%FF", "invalid-position"),
        // There are four partitions, and there will never be another.
        ("after=4:0", "invalid-position"),
        ("after=4294967295:18446744073709551615", "invalid-position"),
        ("cursor=", "invalid-cursor"),
        ("cursor=x", "invalid-cursor"),
        ("cursor=%00", "invalid-cursor"),
        ("cursor=%FF", "invalid-cursor"),
    ];
    for list in lists {
        for (parameter, name) in wrong {
            api.get(&format!("{list}?{parameter}")).await.is_problem(400, name).is_undecided();
        }
        for letter in ["p", "s", "c"] {
            for key in ["", "0", "zz", "00", "ff", "61", "00000000", "ffffffffff", "6100000000"] {
                let reply = api.get(&format!("{list}?cursor={letter}{key}")).await;
                assert!(matches!(reply.status, 200 | 400), "{letter}{key}: {reply:?}");
            }
        }
        let long = format!("{list}?cursor=p{}", "00".repeat(3_000));
        api.get(&long).await.is_problem(400, "invalid-cursor");
    }
    for (one, other) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
        let next = api.get(&format!("{}?limit=1", lists[one])).await.text_of("next");
        let reply = api.get(&format!("{}?cursor={next}", lists[other])).await;
        reply.is_problem(400, "invalid-cursor");
    }
    for route in ["/v1/promotions/p0", "/v1/coupons/p0-1"] {
        api.get(&format!("{route}?page=2")).await.is_problem(400, "invalid-parameter");
        api.get(&format!("{route}?after=x")).await.is_problem(400, "invalid-position");
    }
    let strange = HeaderValue::from_bytes(b"\xFF").expect("a header");
    let request = api.request(Method::GET, "/v1/promotions").header("seckill-after", strange);
    RawReply::of(request).await.is_problem(400, "invalid-position");
    assert_unharmed(&mut sale).await;
}

/// Who misspells a parameter is told the ones that the route takes, and a command takes none.
#[tokio::test]
async fn unknown_parameters_are_named_in_plain_words() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    sale.offer("p", 10).await;
    let reads = [
        (
            "/v1/promotions?after=0:0&x=1",
            "the parameters are after, allow_stale, state, limit, cursor.",
        ),
        ("/v1/promotions/p?x=1", "the parameters are after, allow_stale, at."),
        ("/v1/coupons/p-1?x=1&limit=1", "the parameters are after, allow_stale."),
        ("/v1/owners?x=1", "there are none."),
        ("/v1/progress?x=1", "there are none."),
        ("/v1/live?x=1", "there are none."),
        ("/v1/promotions/p/traffic?x=1", "there are none."),
    ];
    for (path, known) in reads {
        let said = api.get(path).await.is_problem(400, "invalid-parameter").text_of("detail");
        assert_eq!(said, format!("x is no parameter here; {known}"), "{path}");
    }
    let said = api.get("/v1/events?follow=maybe").await.text_of("detail");
    assert_eq!(said, "follow must be true or false.");
    let grab = json!({"customer_id": "zoe"});
    let commands = [
        api.post("/v1/promotions/p/grabs?x=1", grab).await,
        api.post("/v1/rebuild?x=1", json!({})).await,
        RawReply::of(api.request(Method::POST, "/v1/promotions/p/pause?x=1")).await,
        RawReply::of(api.request(Method::POST, "/v1/rebuild/abort?x=1")).await,
    ];
    for reply in commands {
        reply.is_undecided();
        let said = reply.is_problem(400, "invalid-parameter").text_of("detail");
        assert_eq!(said, "x is no parameter here; there are none.");
    }
    api.post("/v1/rebuild", json!({"views": []})).await.is_problem(400, "invalid-body");
    api.grab("p", "zoe").await.is_decided();
}

/// A reader waits two seconds for a view, and hears then that it is not there yet.
#[tokio::test]
async fn a_position_far_ahead_is_not_yet_visible() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    sale.offer("p", 10).await;
    let granted = api.grab("p", "zoe").await;
    let partition = granted.is_decided().split_once(':').map(|(partition, _)| partition.to_owned());
    let near = format!("{}:{}", partition.expect("a partition"), 1_000_000);
    let most = format!("3:{}", u64::MAX);
    let begun = Instant::now();
    let mut waiting = JoinSet::new();
    for position in [near.as_str(), "0:999999999", &most] {
        for route in ["/v1/promotions", "/v1/promotions/p", "/v1/coupons/p-1"] {
            let (api, path) = (api.clone(), format!("{route}?after={position}"));
            waiting.spawn(async move { api.get(&path).await });
        }
    }
    let request = api.request(Method::GET, "/v1/customers/zoe/coupons");
    let request = request.header("Seckill-After", "0:999999999");
    waiting.spawn(async move { RawReply::of(request).await });
    for reply in waiting.join_all().await {
        reply.is_problem(503, "not-yet-visible");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    let took = begun.elapsed();
    assert!((Duration::from_millis(1_900)..Duration::from_secs(5)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn only_json_is_taken() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    sale.offer("p", 10).await;
    let body = r#"{"customer_id":"zoe"}"#;
    let routes = [
        (Method::POST, "/v1/promotions"),
        (Method::POST, "/v1/promotions/p/grabs"),
        (Method::POST, "/v1/promotions/p/restock"),
        (Method::PATCH, "/v1/promotions/p"),
    ];
    for (method, path) in routes {
        let missing = api.request(method.clone(), path).body(body);
        RawReply::of(missing).await.is_problem(415, "unsupported-media-type").is_undecided();
        for other in
            ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "", "/"]
        {
            let request =
                api.request(method.clone(), path).header("content-type", other).body(body);
            RawReply::of(request).await.is_problem(415, "unsupported-media-type");
        }
    }
    for same in ["application/json; charset=utf-8", "Application/JSON", "application/json;q=1"] {
        let request = api.request(Method::POST, "/v1/promotions/p/grabs");
        let reply = RawReply::of(request.header("content-type", same).body(body)).await;
        assert!(matches!(reply.status, 200 | 201), "{same}: {reply:?}");
    }
}

#[tokio::test]
async fn other_routes_and_methods_are_told_so() {
    let mut sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    sale.offer("p", 10).await;
    let unknown = [
        "//",
        "/operator/",
        "/assets/",
        "/v1",
        "/v2/promotions",
        "/v1/promotions/p/grab",
        "/v1/promotions/p/q/grabs",
        "/v1/coupons",
        "/v1/customers/zoe",
        "/admin",
        "/query",
        "/%00",
        "/v1/promotions/p/grabs/",
        "/.git/config",
        "/v1/%70romotions/p/x",
    ];
    for page in ["/", "/operator", "/favicon.ico"] {
        assert_eq!(sale.get(page).await.status, 200, "{page}");
    }
    for path in unknown {
        api.get(path).await.is_problem(404, "no-such-route").is_undecided();
        let post = api.post(path, json!({"customer_id": "zoe"})).await;
        post.is_problem(404, "no-such-route").is_undecided();
    }
    let wrong = [
        (Method::DELETE, "/v1/promotions/p", &["GET", "PATCH"][..]),
        (Method::PUT, "/v1/promotions/p", &["GET", "PATCH"]),
        (Method::PUT, "/v1/promotions", &["GET", "POST"]),
        (Method::GET, "/v1/promotions/p/grabs", &["POST"]),
        (Method::GET, "/v1/promotions/p/cancel", &["POST"]),
        (Method::PATCH, "/v1/promotions/p/coupons", &["GET"]),
        (Method::POST, "/v1/coupons/p-1", &["GET"]),
        (Method::GET, "/command/coupons/", &["POST"]),
        (Method::GET, "/admin/promotions/", &["POST"]),
        (Method::DELETE, "/admin/promotions/p", &["PUT"]),
        (Method::POST, "/query/promotions", &["GET"]),
        (Method::TRACE, "/v1/promotions", &["GET"]),
        (Method::from_bytes(b"BREW").expect("a method"), "/v1/promotions", &["GET"]),
        (Method::OPTIONS, "/v1/promotions", &["GET", "POST"]),
        (Method::OPTIONS, "/v1/promotions/p/grabs", &["POST"]),
    ];
    for (method, path, allowed) in wrong {
        let reply = RawReply::of(api.request(method.clone(), path)).await;
        reply.is_problem(405, "method-not-allowed").is_undecided();
        let allow = reply.header("allow").unwrap_or_default();
        for method in allowed {
            assert!(allow.contains(method), "{path}: {reply:?}");
        }
    }
    let shown = async || sale.get("/v1/promotions/p").await.status == 200;
    eventually("the view shows the promotion", SOON, shown).await;
    for path in ["/v1/promotions", "/v1/promotions/p", "/query/promotions", "/healthz", "/metrics"]
    {
        let head = RawReply::of(api.request(Method::HEAD, path)).await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
    }
    let absent = RawReply::of(api.request(Method::HEAD, "/v1/promotions/nobody")).await;
    assert_eq!((absent.status, absent.text.as_str()), (404, ""));
    let other = RawReply::of(api.request(Method::OPTIONS, "/nowhere")).await;
    other.is_problem(404, "no-such-route");
    assert_unharmed(&mut sale).await;
}

// --- the wire ---

/// Speaks to the system over a connection of its own, byte by byte.
struct Wire {
    stream: TcpStream,
}

impl Wire {
    fn to(url: &str) -> Self {
        let address = url.strip_prefix("http://").expect("an address");
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        stream.set_write_timeout(Some(SOON)).expect("a timeout");
        Self { stream }
    }

    /// Sends what is still taken of it: whoever answers early may have stopped listening.
    fn send(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(16 * 1024) {
            if self.stream.write_all(piece).is_err() {
                return;
            }
        }
    }

    /// The answer: status, head and body.
    #[track_caller]
    fn answer(&mut self) -> (u16, String, String) {
        let mut received = Vec::new();
        let mut byte = [0];
        while !received.ends_with(b"\r\n\r\n") {
            let read = self.stream.read(&mut byte);
            assert_eq!(read.ok(), Some(1), "cut in {:?}", String::from_utf8_lossy(&received));
            received.push(byte[0]);
        }
        let head = String::from_utf8(received).expect("text").to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
        self.stream.read_exact(&mut body).expect("the body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), head, String::from_utf8(body).expect("text"))
    }

    /// Reads until the other side has nothing more to say, or does not end within a moment.
    fn rest(&mut self) -> Vec<u8> {
        self.stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        let mut received = Vec::new();
        let mut buffer = [0; 4_096];
        while let Ok(length @ 1..) = self.stream.read(&mut buffer) {
            received.extend_from_slice(&buffer[..length]);
        }
        received
    }
}

fn head(method: &str, path: &str, headers: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}\r\n"
    )
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut chunks = Vec::new();
    for chunk in body.chunks(4_096) {
        chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    chunks
}

/// A grab of a size.
fn padded(size: usize) -> Vec<u8> {
    let mut body = br#"{"customer_id":"zoe"}"#.to_vec();
    body.resize(size, b' ');
    body
}

#[tokio::test]
async fn a_body_over_64_kb_is_refused_with_and_without_a_length() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("p", 10).await;
    let url = sale.url();
    let grabs = "/v1/promotions/p/grabs";
    for (size, expected) in [(MAX_BODY, 201), (MAX_BODY + 1, 413), (200_000, 413), (3_000_000, 413)]
    {
        let body = padded(size);
        let mut wire = Wire::to(&url);
        wire.send(head("POST", grabs, &format!("content-length: {size}\r\n")).as_bytes());
        wire.send(&body);
        let (status, head_of_answer, text) = wire.answer();
        assert_eq!(status, expected, "{size}: {text}");
        if expected == 413 {
            assert!(text.contains("urn:seckill:problem:body-too-large"), "{text}");
            assert!(head_of_answer.contains("application/problem+json"), "{head_of_answer}");
        }
        let mut wire = Wire::to(&url);
        wire.send(head("POST", grabs, "transfer-encoding: chunked\r\n").as_bytes());
        wire.send(&chunked(&body));
        let (status, _, text) = wire.answer();
        // The same customer again.
        assert_eq!(status, if expected == 201 { 200 } else { 413 }, "{size}: {text}");
    }
    let api = Api::of(&sale);
    let routes = [
        (Method::POST, "/v1/promotions"),
        (Method::PATCH, "/v1/promotions/p"),
        (Method::POST, "/v1/promotions/p/restock"),
        (Method::POST, "/command/coupons/"),
        (Method::POST, "/admin/promotions/"),
        (Method::PUT, "/admin/promotions/p"),
    ];
    for (method, path) in routes {
        for size in [MAX_BODY + 1, 1_000_000] {
            let reply = api.raw(method.clone(), path, padded(size)).await;
            reply.is_problem(413, "body-too-large").is_undecided();
        }
    }
    assert_unharmed(&mut sale).await;
}

/// A length that promises gigabytes is refused before any of them is sent.
#[tokio::test]
async fn an_announced_monster_is_refused_at_once() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("p", 10).await;
    let mut wire = Wire::to(&sale.url());
    wire.send(head("POST", "/v1/promotions/p/grabs", "content-length: 99999999999\r\n").as_bytes());
    let (status, _, text) = wire.answer();
    assert_eq!(status, 413, "{text}");
    assert_unharmed(&mut sale).await;
}

#[tokio::test]
async fn whatever_comes_over_tcp_does_no_harm() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("p", 10).await;
    let url = sale.url();
    let noise: Vec<u8> =
        (0..50_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let long_line = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(200_000));
    let long_header = head("GET", "/v1/promotions", &format!("x: {}\r\n", "a".repeat(600_000)));
    let many_headers = head("GET", "/v1/promotions", &"x: y\r\n".repeat(5_000));
    let grab = |headers: &str, body: &str| head("POST", "/v1/promotions/p/grabs", headers) + body;
    let mut cases: Vec<Vec<u8>> = vec![
        noise,
        vec![0; 100_000],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"\r\n\r\n\r\n\r\n".to_vec(),
        b"GET http://[::1 HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"GET /\x00\xff HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nhost: x\r\n bad folding\r\n\r\n".to_vec(),
        long_line.into_bytes(),
        long_header.into_bytes(),
        many_headers.into_bytes(),
        grab("content-length: 21\r\ncontent-length: 22\r\n", "{\"customer_id\":\"evil\"}")
            .into_bytes(),
        grab("content-length: -1\r\n", "{}").into_bytes(),
        grab("content-length: 1e3\r\n", "{}").into_bytes(),
        grab("transfer-encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n").into_bytes(),
        grab("transfer-encoding: chunked\r\n", "ffffffffffffffffff\r\n{}").into_bytes(),
        grab("transfer-encoding: gzip\r\n", "{\"customer_id\":\"evil\"}").into_bytes(),
    ];
    // Smuggling: what follows a body of two lengths must not be a request.
    cases.push(
        grab(
            "content-length: 4\r\ntransfer-encoding: chunked\r\n",
            "0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        )
        .into_bytes(),
    );
    // Cut off in the head, in the body, and after the whole request.
    for cut in [10, 60, 125, usize::MAX] {
        let whole = grab("content-length: 25\r\n", "{\"customer_id\":\"dropped\"}").into_bytes();
        cases.push(whole[..cut.min(whole.len())].to_vec());
    }
    for bytes in cases {
        let mut wire = Wire::to(&url);
        wire.send(&bytes);
        let _ = wire.stream.shutdown(std::net::Shutdown::Write);
        let answer = String::from_utf8_lossy(&wire.rest()).into_owned();
        let beginning = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert!(!answer.contains("HTTP/1.1 5"), "{beginning:?}: {answer}");
        assert!(!answer.contains("\"evil\""), "{beginning:?}: {answer}");
    }
    assert!(sale.is_ready().await);
    let coupons = sale.grab("p", "zoe").await.json["serial"].as_u64();
    assert!(coupons.is_some_and(|serial| serial <= 2), "only the whole request may have counted");
    assert_unharmed(&mut sale).await;
}

/// Connections that say half a sentence and then nothing keep nobody else from being served.
#[tokio::test]
async fn silent_connections_do_not_keep_others_from_coming() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("p", 1_000).await;
    let url = sale.url();
    let half = head("POST", "/v1/promotions/p/grabs", "content-length: 100\r\n") + "{\"cust";
    let mut silent = Vec::new();
    for number in 0..300 {
        let mut wire = Wire::to(&url);
        wire.send(&half.as_bytes()[..number % half.len()]);
        silent.push(wire);
    }
    for number in 0..50 {
        assert_eq!(sale.grab("p", &format!("customer {number}")).await.status, 201);
    }
    drop(silent);
    assert_unharmed(&mut sale).await;
}

/// Two requests in one packet, and one in many.
#[tokio::test]
async fn requests_may_come_in_any_pieces() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("p", 10).await;
    let url = sale.url();
    let grab = |customer: &str| {
        let body = format!("{{\"customer_id\":\"{customer}\"}}");
        let length = format!("content-length: {}\r\n", body.len());
        head("POST", "/v1/promotions/p/grabs", &length) + body.as_str()
    };
    let mut wire = Wire::to(&url);
    wire.send([grab("a"), grab("b"), grab("a")].concat().as_bytes());
    let statuses = [wire.answer().0, wire.answer().0, wire.answer().0];
    assert_eq!(statuses, [201, 201, 200], "answered in their order");
    for byte in grab("c").as_bytes() {
        wire.send(&[*byte]);
    }
    assert_eq!(wire.answer().0, 201);
    let old = grab("d").replace("HTTP/1.1", "HTTP/1.0");
    wire.send(old.as_bytes());
    assert_eq!(wire.answer().0, 201);
    assert_unharmed(&mut sale).await;
}

/// The route between nodes is served beside the others. What a command says is checked there too:
/// an id that cannot be read back would stop its partition for ever.
#[tokio::test]
async fn the_route_between_nodes_takes_no_bad_command() {
    let listen = format!("127.0.0.1:{}", free_port());
    let sale = System::closed(Engines::Embedded);
    let mut sale = sale.through("true", &["--internal-listen", &listen]);
    sale.start().await;
    let (api, nodes) = (Api::of(&sale), format!("http://{listen}"));
    // Shoppers do not reach it, and nodes reach nothing else.
    assert_eq!(internal(&sale.url(), command("p", 14, &field(1, b"zoe"))).await.status, 404);
    let other = Client::new().get(format!("{nodes}/v1/promotions")).send().await;
    assert_eq!(other.expect("an answer").status(), 404);
    let long = "x".repeat(129);
    let mut bad = vec![
        Vec::new(),
        b"garbage".to_vec(),
        vec![0xFF; 100],
        field(1, b"p"),
        command("", 10, &schedule("name", 5)),
        command("a\0b", 10, &schedule("name", 5)),
        command("\u{85}", 10, &schedule("name", 5)),
        command(&long, 10, &schedule("name", 5)),
        command("p", 10, &schedule("a\nb", 5)),
        command("p", 10, &schedule(&"n".repeat(60_000), 5)),
        command("p", 11, &field(1, b"a\x07b")),
    ];
    for customer in ["", "a\0b", &long] {
        bad.push(command("p", 14, &field(1, customer.as_bytes())));
    }
    let keyed = [field(1, b"zoe"), field(2, long.as_bytes())].concat();
    bad.push(command("p", 14, &keyed));
    sale.offer("p", 10).await;
    for body in bad {
        let shown = format!("{:?}", body.get(..60).unwrap_or(&body));
        let good = command("p", 14, &field(1, b"zoe"));
        let batch = [field(1, &good), field(1, &body)].concat();
        for reply in [internal(&nodes, body).await, internal_batch(&nodes, batch).await] {
            assert_eq!(reply.status, 400, "{shown}: {reply:?}");
            assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
        }
    }
    let grab = |promotion| field(1, &command(promotion, 14, &field(1, b"zoe")));
    let reply = internal_batch(&nodes, [grab("p"), grab("q")].concat()).await;
    reply.is_problem(400, "malformed-command").says("several promotions");
    // The same bounds as on the public routes.
    let reply = internal(&nodes, command("q", 10, &schedule("name", 0))).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    api.get("/v1/promotions/q").await.is_problem(404, "not-found");
    assert_eq!(internal(&nodes, command("p", 14, &field(1, b"zoe"))).await.status, 200);
    let repeated = api.grab("p", "zoe").await;
    assert_eq!(repeated.is(200, &GRANT_FIELDS)["serial"], 1, "only the good one counted");
    assert_unharmed(&mut sale).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_without_pages_is_whole_however_long_it_is() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    let count = 2_300;
    let mut position = String::new();
    for number in 0..count {
        let body = json!({"id": format!("p{number}"), "coupons": 5, "discount": 0.5});
        let made = sale.post("/v1/promotions", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        position = made.json["position"].as_str().expect("a position").to_owned();
    }
    let id = format!("p{}", count - 1);
    eventually("the last one is listed", SOON, async || {
        api.get(&format!("/v1/promotions/{id}?after={position}")).await.json["state"] == "active"
    })
    .await;
    eventually("all are listed", SOON, async || {
        let listed = api.get("/query/promotions").await;
        assert_eq!(listed.status, 200, "{listed:?}");
        assert_eq!(listed.header("content-type"), Some("application/json"));
        let listed = listed.json.as_array().expect("a whole list").clone();
        let ids: std::collections::HashSet<_> =
            listed.iter().map(|row| row["promotionId"].to_string()).collect();
        ids.len() == count && listed.len() == count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_is_asked_for_a_role() {
    let sale = System::open(Engines::Embedded).await;
    let api = Api::of(&sale);
    for role in ["command", "admin", "projector", "query"] {
        let ready = api.get(&format!("/readyz?role={role}")).await;
        assert_eq!((ready.status, &ready.json["ready"]), (200, &true.into()), "{role}: {ready:?}");
    }
    for wrong in ["/readyz?role=nobody", "/readyz?roles=query"] {
        assert_eq!(api.get(wrong).await.status, 400, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_http_leaves_open_is_refused() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("p", 5).await;
    let address = sale.url().strip_prefix("http://").expect("an address").to_owned();
    let raw = |head: &str| {
        let mut stream = TcpStream::connect(&address).expect("a connection");
        let request = format!("{head}connection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("sent");
        let mut said = String::new();
        std::io::Read::read_to_string(&mut stream, &mut said).expect("an answer");
        said
    };
    eventually("it is shown", SOON, async || {
        raw("GET /v1/promotions/p HTTP/1.1\r\nhost: x\r\n").starts_with("HTTP/1.1 200")
    })
    .await;
    for head in [
        "GET /v1/promotions/p HTTP/1.1\r\n",
        "GET /v1/promotions/p HTTP/1.1\r\nhost: x\r\nhost: y\r\n",
    ] {
        let said = raw(head);
        assert!(said.starts_with("HTTP/1.1 400") && said.contains("invalid-host"), "{said}");
    }
    let api = Api::of(&sale);
    let encoded = api.request(Method::POST, "/v1/promotions/p/grabs");
    let encoded = encoded.header("content-type", "application/json");
    let encoded = encoded.header("content-encoding", "gzip").body("{}");
    assert_eq!(encoded.send().await.expect("an answer").status(), 415);
    for id in [".", ".."] {
        let body = json!({"id": id, "coupons": 5, "discount": 0.5});
        assert_eq!(sale.post("/v1/promotions", body).await.status, 400, "{id}");
        assert_eq!(sale.grab("p", id).await.status, 400, "{id}");
    }
    let metrics = api.get("/metrics").await.text;
    let refused = metrics.lines().find(|line| {
        line.starts_with("seckill_http_request_seconds_count")
            && line.contains("method=\"GET\"")
            && line.contains("route=\"/v1/promotions/{id}\"")
            && line.contains("status=\"400\"")
    });
    assert!(refused.is_some(), "{metrics}");
    assert_unharmed(&mut sale).await;
}

async fn internal(url: &str, body: Vec<u8>) -> RawReply {
    between_nodes(format!("{url}/internal/v1/commands"), body).await
}

async fn internal_batch(url: &str, body: Vec<u8>) -> RawReply {
    between_nodes(format!("{url}/internal/v1/batches"), body).await
}

async fn between_nodes(url: String, body: Vec<u8>) -> RawReply {
    let request = Client::new().post(url);
    let request = request.header("content-type", "application/x-protobuf").body(body);
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = String::from_utf8_lossy(&response.bytes().await.expect("a body")).into_owned();
    RawReply { status, headers, json: serde_json::from_str(&text).unwrap_or(Value::Null), text }
}

/// A length-delimited field of a protobuf message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        field.push(u8::try_from(length & 0x7F).expect("seven bits") | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).expect("seven bits"));
    field.extend_from_slice(bytes);
    field
}

fn command(promotion: &str, kind: u8, body: &[u8]) -> Vec<u8> {
    [field(1, promotion.as_bytes()), field(kind, body)].concat()
}

fn schedule(name: &str, coupons: u8) -> Vec<u8> {
    let discount = [&[3 << 3 | 1][..], &0.5_f64.to_le_bytes()].concat();
    let terms = [field(1, name.as_bytes()), vec![2 << 3, coupons], discount, vec![6 << 3, 1]];
    field(1, &terms.concat())
}

// --- beginning and end ---

/// Whoever comes while the system starts is told to come again, or served.
#[tokio::test]
async fn nobody_is_lied_to_while_the_system_starts() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("p", 100_000).await;
    for number in 0..200 {
        sale.grab("p", &format!("before {number}")).await;
    }
    sale.kill();
    let api = Api::of(&sale);
    sale.spawn();
    let deadline = Instant::now() + SOON;
    let mut served = 0;
    for number in 0.. {
        assert!(Instant::now() < deadline, "never served");
        let path = "/v1/promotions/p/grabs";
        let body = json!({"customer_id": format!("early {number}")});
        let request = api.request(Method::POST, path).json(&body);
        let Ok(response) = request.send().await else { continue };
        let status = response.status().as_u16();
        if status == 503 {
            assert_eq!(response.headers()["retry-after"], "1");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            continue;
        }
        assert_eq!(status, 201, "{}", response.text().await.expect("a body"));
        served += 1;
        if served == 20 {
            break;
        }
    }
    sale.ready(SOON).await;
    let repeated = api.grab("p", "before 0").await;
    assert_eq!(repeated.is(200, &GRANT_FIELDS)["serial"], 1);
    assert_unharmed(&mut sale).await;
}

/// SIGTERM: nobody else gets in, whoever is in gets an answer that stands, and the code is 0.
#[tokio::test]
async fn a_stop_answers_everybody_who_is_in() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("p", 1_000).await;
    let url = sale.url();
    let body = |number: usize| format!("{{\"customer_id\":\"customer {number:03}\"}}");
    let mut inside = Vec::new();
    for number in 0..20 {
        let mut wire = Wire::to(&url);
        let headers = format!("content-length: {}\r\nexpect: 100-continue\r\n", body(number).len());
        wire.send(head("POST", "/v1/promotions/p/grabs", &headers).as_bytes());
        // From here on the request is being handled, and waits for its body.
        assert_eq!(wire.answer().0, 100);
        inside.push(wire);
    }
    let stopping = tokio::task::spawn_blocking(move || {
        sale.stop(); // asserts the exit code
        sale
    });
    let address = url.strip_prefix("http://").expect("an address").to_owned();
    let closed = async || TcpStream::connect(&address).is_err();
    eventually("nobody else gets in", SOON, closed).await;
    let mut told = BTreeMap::new();
    for (number, wire) in inside.iter_mut().enumerate() {
        wire.send(body(number).as_bytes());
        let (status, _, text) = wire.answer();
        assert_eq!(status, 201, "{text}");
        let granted: Value = serde_json::from_str(&text).expect("a grant");
        told.insert(granted["customer_id"].to_string(), granted["serial"].clone());
    }
    let mut sale = stopping.await.expect("it stopped");
    sale.assert_verified();
    sale.start().await;
    let coupons = sale.coupons("p", None).await;
    let found =
        coupons.iter().map(|coupon| (coupon["customer_id"].to_string(), coupon["serial"].clone()));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), told);
}

/// Whoever has sent half a request and then nothing holds a stop up, but not for long.
#[tokio::test]
async fn silent_connections_do_not_hold_a_stop_up_for_ever() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("p", 10).await;
    let mut in_the_body = Wire::to(&sale.url());
    let headers = "content-length: 100\r\nexpect: 100-continue\r\n";
    in_the_body.send(head("POST", "/v1/promotions/p/grabs", headers).as_bytes());
    assert_eq!(in_the_body.answer().0, 100);
    let mut in_the_head = Wire::to(&sale.url());
    in_the_head.send(b"POST /v1/promotions/p/gra");
    let begun = Instant::now();
    sale.stop(); // asserts the exit code
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    sale.assert_verified();
}

/// In the middle of a crowd: what was told stands, and no answer is anything but an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_of_a_crowd_loses_nothing() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("p", 100_000).await;
    let api = Api::of(&sale);
    let served = Arc::new(AtomicUsize::new(0));
    let mut crowd = JoinSet::new();
    for client in 0..32 {
        let (api, served) = (api.clone(), Arc::clone(&served));
        crowd.spawn(async move { grab_until_closed(&api, client, &served).await });
    }
    let busy = async || served.load(Ordering::Relaxed) > 500;
    eventually("the crowd is served", SOON, busy).await;
    let stopping = tokio::task::spawn_blocking(move || {
        sale.stop();
        sale
    });
    let told: BTreeMap<String, Value> = crowd.join_all().await.into_iter().flatten().collect();
    let mut sale = stopping.await.expect("it stopped");
    sale.assert_verified();
    sale.start().await;
    let coupons = sale.coupons("p", None).await;
    let found: BTreeMap<String, Value> = coupons
        .iter()
        .map(|coupon| {
            (coupon["customer_id"].as_str().expect("an id").to_owned(), coupon["serial"].clone())
        })
        .collect();
    for (customer, serial) in &told {
        assert_eq!(found.get(customer), Some(serial), "{customer}");
    }
    assert!(found.len() - told.len() <= 32, "{} given, {} told", found.len(), told.len());
}

async fn grab_until_closed(api: &Api, client: usize, served: &AtomicUsize) -> Vec<(String, Value)> {
    let mut told = Vec::new();
    for number in 0.. {
        let customer = format!("{client}-{number}");
        let request = api.request(Method::POST, "/v1/promotions/p/grabs");
        let Ok(response) = request.json(&json!({"customer_id": customer})).send().await else {
            break;
        };
        let status = response.status().as_u16();
        let Ok(body) = response.json::<Value>().await else { break };
        match status {
            201 => told.push((customer, body["serial"].clone())),
            503 => {}
            other => panic!("{other}: {body}"),
        }
        served.fetch_add(1, Ordering::Relaxed);
    }
    told
}

// --- settings ---

/// Runs the binary in an empty directory, with no settings but these, until it ends.
async fn try_to_start(arguments: &[&str], variables: &[(&str, &str)]) -> (Output, bool) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut process = Command::new(binary())
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let deadline = Instant::now() + SOON;
    let ended = async || {
        let ended = process.try_wait().expect("a process").is_some();
        if !ended && Instant::now() > deadline {
            process.kill().expect("killed");
        }
        ended
    };
    eventually("it ends by itself", 2 * SOON, ended).await;
    let touched = std::fs::read_dir(directory.path()).expect("a directory").next().is_some();
    (process.wait_with_output().expect("an end"), touched)
}

#[tokio::test]
async fn a_wrong_setting_is_named_with_what_it_may_be() {
    let files = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let unknown = file("unknown.toml", "partition = 3\n");
    let broken = file("broken.toml", "partitions = \n");
    let text = file("text.toml", "partitions = \"three\"\n");
    let missing = files.path().join("missing.toml").display().to_string();
    let by_flag: &[(&[&str], &[&str])] = &[
        (&["--partitions", "0"], &["must be a whole number from 1 to 4096", "0"]),
        (&["--partitions", "4097"], &["must be a whole number from 1 to 4096", "4097"]),
        (&["--partitions", "abc"], &["--partitions", "abc"]),
        (&["--listen", "nonsense"], &["--listen", "must be HOST:PORT", "nonsense"]),
        (&["--listen", "127.0.0.1:99999"], &["--listen", "must be HOST:PORT", "99999"]),
        (&["--config", &unknown], &["unknown setting `partition`", "`partitions`", &unknown]),
        (&["--config", &broken], &["config", &broken]),
        (&["--config", &text], &["partitions", "three", &text]),
        (&["--config", &missing], &["config", &missing, "cannot be read"]),
        (&["--kafka", "broker"], &["--kafka", "must be HOST:PORT", "broker"]),
        (&["--cql", "node:0"], &["--cql", "must be HOST:PORT", "node:0"]),
        (&["--log-format", "xml"], &["--log-format", "must be text or json", "xml"]),
        (&["--advertise", "here"], &["--advertise", "must be a URL", "here"]),
        (&["--log", "==="], &["log must be in the form of RUST_LOG"]),
        (&["--data", "/dev/null/x"], &["data", "/dev/null/x"]),
        (&["--nonsense"], &["--nonsense"]),
    ];
    for (flags, words) in by_flag {
        assert_not_started(flags, &[], words).await;
    }
    let by_variable: &[(&str, &str, &[&str])] = &[
        ("SECKILL_PARTITIONS", "abc", &["--partitions", "abc", "from 1 to 4096"]),
        ("SECKILL_PARTITIONS", "0", &["must be a whole number from 1 to 4096"]),
        ("SECKILL_LISTEN", "8080", &["--listen", "must be HOST:PORT", "8080"]),
        ("SECKILL_CONFIG", &unknown, &["unknown setting `partition`", &unknown]),
    ];
    for (name, value, words) in by_variable {
        assert_not_started(&[], &[(name, value)], words).await;
    }
}

/// `seckill up` ends by itself, says these words, and has made nothing.
async fn assert_not_started(flags: &[&str], variables: &[(&str, &str)], words: &[&str]) {
    let flags = [&["up"][..], flags].concat();
    // Any free port, unless the case has one of its own: nobody else is to be in the way.
    let variables = [&[("SECKILL_LISTEN", "127.0.0.1:0")][..], variables].concat();
    let (output, touched) = try_to_start(&flags, &variables).await;
    let said = said(&output);
    assert!(output.status.code().is_some_and(|code| code > 0), "{flags:?}: {output:?}");
    for word in words {
        assert!(said.contains(word), "{flags:?} {variables:?}: no {word:?} in {said}");
    }
    assert!(!said.contains("panicked"), "{flags:?}: {said}");
    assert!(!touched, "{flags:?}: nothing is made before the settings are right");
}

#[tokio::test]
async fn a_role_alone_says_what_it_needs() {
    let cases: [(&[&str], &str); 6] = [
        (&["query"], "--kafka"),
        (&["query", "--kafka", "127.0.0.1:9"], "--cql"),
        (&["projector"], "--kafka"),
        (&["projector", "--kafka", "127.0.0.1:9"], "--cql"),
        (&["command"], "--kafka"),
        (&["admin"], "--kafka"),
    ];
    for (arguments, needs) in cases {
        let (output, _) = try_to_start(arguments, &[]).await;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("seckill {}", arguments[0])), "{said}");
        assert!(said.contains(&format!("{needs} HOST:PORT")), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn a_misspelt_variable_is_named_with_what_was_meant() {
    let words = &["SECKILL_PARTITION is set", "did you mean SECKILL_PARTITIONS?"];
    assert_not_started(&[], &[("SECKILL_PARTITION", "3")], words).await;
}

#[tokio::test]
async fn a_command_offers_what_it_uses() {
    let cases = [
        ("command", "--retain", "--data"),
        ("admin", "--kafka", "--cql"),
        ("projector", "--cql-replication", "--retain"),
        ("query", "--connections", "--cql-replication"),
        ("verify", "--data", "--listen"),
        ("repair", "--accept-loss", "--partitions"),
        ("upgrade", "--data", "--kafka"),
    ];
    for (verb, used, unused) in cases {
        let (output, _) = try_to_start(&[verb, "--help"], &[]).await;
        let help = said(&output);
        let offers = |flag: &str| {
            help.lines().any(|line| line.trim_start().starts_with(&format!("{flag} ")))
                || help.lines().any(|line| line.trim() == flag)
        };
        assert!(offers(used) && !offers(unused), "{verb}: {help}");
        let (output, _) = try_to_start(&[verb, unused, "x"], &[]).await;
        assert_eq!(output.status.code(), Some(2), "{verb} {unused}: {}", said(&output));
    }
}

#[tokio::test]
async fn help_names_every_subcommand() {
    let verbs = ["up", "command", "admin", "projector", "query", "load", "verify", "health"];
    let (output, _) = try_to_start(&["--help"], &[]).await;
    assert!(output.status.success());
    let help = said(&output);
    for verb in verbs {
        let named = help.lines().any(|line| line.trim_start().starts_with(&format!("{verb} ")));
        assert!(named, "{verb} in {help}");
        let (output, _) = try_to_start(&[verb, "--help"], &[]).await;
        assert!(output.status.success(), "{verb} --help");
    }
    let (nothing, touched) = try_to_start(&[], &[]).await;
    assert_eq!(nothing.status.code(), Some(2));
    assert!(said(&nothing).contains("Usage: seckill"), "{nothing:?}");
    assert!(!touched);
    let (unknown, _) = try_to_start(&["sell"], &[]).await;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(said(&unknown).contains("sell"), "{unknown:?}");
}

#[tokio::test]
async fn what_does_not_fit_a_system_that_exists_is_named() {
    let sale = System::open(Engines::Embedded).await;
    let address = sale.url().strip_prefix("http://").expect("an address").to_owned();
    let data = sale.data().display().to_string();
    let (output, touched) = try_to_start(&["up", "--listen", &address], &[]).await;
    let taken = said(&output);
    assert_eq!(output.status.code(), Some(1), "{taken}");
    assert!(taken.contains(&address) && taken.contains("--listen"), "{taken}");
    assert!(!touched, "the port is taken before any engine is touched");

    let verify = run("verify", &sale.flags());
    assert_eq!(verify.status.code(), Some(2), "a running system has its data to itself");
    assert!(said(&verify).contains(&data), "{}", said(&verify));

    let health = |path: &str| {
        Command::new(binary()).args(["health", &format!("{}{path}", sale.url())]).output()
    };
    assert!(health("/readyz").expect("it runs").status.success());
    assert_eq!(health("/nowhere").expect("it runs").status.code(), Some(1));

    signal("INT", sale.pid()); // Ctrl-C once is enough
    let gone = async || TcpStream::connect(&address).is_err();
    eventually("it stops", SOON, gone).await;
    drop(sale);

    let mut sale = System::closed(Engines::Embedded);
    sale.start().await;
    sale.stop();
    let listen = format!("127.0.0.1:{}", free_port());
    let data = sale.data().display().to_string();
    let flags = ["up", "--partitions", "8", "--listen", &listen, "--data", &data];
    let (output, _) = try_to_start(&flags, &[]).await;
    let other = said(&output);
    assert_eq!(output.status.code(), Some(1), "{other}");
    assert!(other.contains("4 partitions") && other.contains('8'), "{other}");
    let (output, _) = try_to_start(&["verify", "--data", "nowhere"], &[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("nowhere"), "{}", said(&output));
}
