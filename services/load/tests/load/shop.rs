//! A shop that keeps the HTTP contract in memory: one partition, views up to date at once.
//! It can be unreliable in every way that the contract allows, and it can lie.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// What happens to a grab request beside being decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Unavailable,
    Overloaded,
    /// Decided, then 504.
    TimedOut,
    /// Not decided, and 504 too.
    TimedOutUndecided,
    /// Decided, then the connection breaks.
    Broken,
    /// Decided, then never answered.
    Silent,
    /// Decided, then 500.
    Failed,
    /// Decided, but slowly.
    Slow,
}

/// How a shop lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// The views miss the second coupon.
    LosesACoupon,
    /// The views miss the second coupon, and their count too.
    LosesACouponAndItsCount,
    /// The views have the first two holders swapped.
    SwapsHolders,
    /// One coupon too many.
    Oversells,
    /// Sold out with one left.
    KeepsOneBack,
    /// The second customer is told the first one's serial.
    TellsTwice,
    /// The second customer gets a coupon and is told that it is sold out.
    RefusesAHolder,
    /// It says no, and not as of when.
    RefusesNowhere,
    /// The second customer is told of a coupon of another promotion.
    AnswersSomethingElse,
    /// Remaining is one more than it is.
    CountsWrong,
    /// Customers' own views are empty.
    HidesOwnCoupons,
    /// One customer's own view is empty, the 77th who was given a coupon.
    HidesOneOwnCoupon,
    /// The views never reach any position.
    NeverCatchesUp,
}

#[derive(Debug, Clone, Default)]
struct ShopPromotion {
    coupons: u32,
    limit: usize,
    /// Customer and log position, by serial.
    given: Vec<(String, u64)>,
    /// Serial by customer and key of the request.
    keyed: HashMap<(String, String), u32>,
    by_customer: HashMap<String, Vec<u32>>,
}

#[derive(Default)]
struct Ledger {
    promotions: BTreeMap<String, ShopPromotion>,
    next_offset: u64,
    behind: u32,
}

pub(crate) struct Shop {
    fault: fn(u64) -> Fault,
    lie: Lie,
    ledger: Mutex<Ledger>,
    requests: AtomicU64,
    pub(crate) inside: Arc<AtomicU64>,
    pub(crate) most_inside: Arc<AtomicU64>,
}

enum Decision {
    Granted(u32),
    AlreadyYours(u32),
    Duplicate,
    SoldOut,
}

type Shared = State<Arc<Shop>>;
type Parameters = Query<HashMap<String, String>>;

impl Shop {
    pub(crate) fn honest() -> Self {
        Self {
            fault: |_| Fault::None,
            lie: Lie::None,
            ledger: Mutex::default(),
            requests: AtomicU64::new(0),
            inside: Arc::default(),
            most_inside: Arc::default(),
        }
    }

    pub(crate) fn unreliable(fault: fn(u64) -> Fault) -> Self {
        Self { fault, ..Self::honest() }
    }

    pub(crate) fn lying(lie: Lie) -> Self {
        Self { lie, ..Self::honest() }
    }

    /// A promotion with its first coupons given to strangers.
    pub(crate) fn with_promotion(
        self,
        id: &str,
        coupons: u32,
        limit: usize,
        strangers: u32,
    ) -> Self {
        {
            let mut ledger = self.ledger.lock();
            ledger.open(id, coupons, limit);
            for number in 0..strangers {
                ledger.grab(id, &format!("stranger-{number}"), "", Lie::None);
            }
        }
        self
    }

    /// The views are behind for so many reads with a position.
    pub(crate) fn behind(self, reads: u32) -> Self {
        self.ledger.lock().behind = reads;
        self
    }

    /// Opens on a port of its own, until the runtime ends.
    pub(crate) async fn open(self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, self.routes()).await.unwrap() });
        url
    }

    fn routes(self) -> Router {
        Router::new()
            .route("/v1/promotions", post(create).get(list))
            .route("/v1/promotions/{id}", get(promotion))
            .route("/v1/promotions/{id}/grabs", post(grab))
            .route("/v1/promotions/{id}/grabs:batch", post(grab_batch))
            .route("/v1/promotions/{id}/coupons", get(coupons_of_promotion))
            .route("/v1/customers/{id}/coupons", get(coupons_of_customer))
            .route("/admin/promotions/", post(original_create))
            .route("/command/coupons/", post(original_grab))
            .route("/query/promotions", get(original_list))
            .route("/query/coupons/{id}", get(original_coupons))
            .with_state(Arc::new(self))
    }

    /// Decides, or not, and answers, or not.
    async fn visit(&self, decide: impl FnOnce(&mut Ledger) -> Response) -> Response {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_inside.fetch_max(inside, Ordering::SeqCst);
        let response = self.answer(decide).await;
        self.inside.fetch_sub(1, Ordering::SeqCst);
        response
    }

    async fn answer(&self, decide: impl FnOnce(&mut Ledger) -> Response) -> Response {
        let fault = (self.fault)(self.requests.fetch_add(1, Ordering::SeqCst));
        match fault {
            Fault::Unavailable => return again(StatusCode::SERVICE_UNAVAILABLE),
            Fault::Overloaded => return again(StatusCode::TOO_MANY_REQUESTS),
            Fault::TimedOutUndecided => return again(StatusCode::GATEWAY_TIMEOUT),
            Fault::Slow => tokio::time::sleep(Duration::from_millis(300)).await,
            Fault::None | Fault::TimedOut | Fault::Broken | Fault::Silent | Fault::Failed => {}
        }
        let response = decide(&mut self.ledger.lock());
        match fault {
            Fault::TimedOut => again(StatusCode::GATEWAY_TIMEOUT),
            Fault::Failed => again(StatusCode::INTERNAL_SERVER_ERROR),
            Fault::Broken => broken(),
            Fault::Silent => std::future::pending().await,
            Fault::None
            | Fault::Slow
            | Fault::Unavailable
            | Fault::Overloaded
            | Fault::TimedOutUndecided => response,
        }
    }

    /// Coupons of a promotion as its view shows them.
    fn coupon_rows(&self, id: &str, promotion: &ShopPromotion) -> Vec<Value> {
        let mut holders: Vec<_> = (1..).zip(promotion.given.clone()).collect();
        let hides = matches!(self.lie, Lie::LosesACoupon | Lie::LosesACouponAndItsCount);
        if hides && holders.len() > 1 {
            holders.remove(1);
        }
        if self.lie == Lie::SwapsHolders && holders.len() > 1 {
            let first = holders[0].1.clone();
            holders[0].1 = std::mem::replace(&mut holders[1].1, first);
        }
        let row = |(serial, (customer, offset)): (u32, (String, u64))| {
            json!({
                "id": format!("{id}-{serial}"), "promotion_id": id, "serial": serial,
                "customer_id": customer, "discount": 0.5, "grabbed_at": 1,
                "position": format!("0:{offset}"),
            })
        };
        holders.into_iter().map(row).collect()
    }

    fn promotion_row(&self, id: &str, promotion: &ShopPromotion) -> Value {
        let given = promotion.given();
        let miscounts = matches!(self.lie, Lie::CountsWrong | Lie::LosesACouponAndItsCount);
        let counted = given.saturating_sub(u32::from(miscounts));
        let state = if given < promotion.coupons { "active" } else { "finished" };
        json!({
            "id": id, "name": "n", "coupons": promotion.coupons,
            "remaining": promotion.coupons.saturating_sub(counted), "discount": 0.5,
            "limit_per_customer": promotion.limit, "starts_at": 1, "finishes_at": null,
            "state": state, "finish_reason": null, "created": 1, "position": "0:1",
        })
    }
}

impl ShopPromotion {
    fn given(&self) -> u32 {
        self.given.len().try_into().unwrap()
    }
}

impl Ledger {
    fn open(&mut self, id: &str, coupons: u32, limit: usize) -> u64 {
        let promotion = ShopPromotion { coupons, limit, ..ShopPromotion::default() };
        self.promotions.insert(id.to_owned(), promotion);
        self.append()
    }

    fn append(&mut self) -> u64 {
        self.next_offset += 1;
        self.next_offset
    }

    fn grab(&mut self, id: &str, customer: &str, key: &str, lie: Lie) -> Option<Decision> {
        let offset = self.next_offset + 1;
        let promotion = self.promotions.get_mut(id)?;
        let extra = u32::from(lie == Lie::Oversells);
        let kept_back = u32::from(lie == Lie::KeepsOneBack);
        let stock = promotion.coupons + extra - kept_back;
        let key = (customer.to_owned(), key.to_owned());
        if let Some(serial) = promotion.keyed.get(&key)
            && (promotion.limit == 1 || !key.1.is_empty())
        {
            return Some(Decision::AlreadyYours(*serial));
        }
        let serial = promotion.given() + 1;
        let held = promotion.by_customer.entry(customer.to_owned()).or_default();
        if held.len() >= promotion.limit {
            return Some(Decision::Duplicate);
        }
        if serial > stock {
            return Some(Decision::SoldOut);
        }
        held.push(serial);
        promotion.keyed.insert(key, serial);
        promotion.given.push((customer.to_owned(), offset));
        self.next_offset = offset;
        Some(Decision::Granted(serial))
    }
}

fn count(value: &Value) -> u32 {
    value.as_u64().unwrap().try_into().unwrap()
}

fn again(status: StatusCode) -> Response {
    (status, [(header::RETRY_AFTER, "0")], "{}").into_response()
}

/// A body that ends before it is there.
fn broken() -> Response {
    let chunk = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("broken"))]);
    Response::builder().status(201).body(Body::from_stream(chunk)).unwrap()
}

/// A status, and what is said with it.
type Said = (StatusCode, Json<Value>);

fn problem(status: StatusCode, name: &str) -> Said {
    (status, Json(json!({"type": format!("urn:seckill:problem:{name}"), "title": name})))
}

fn refused(status: StatusCode, name: &str, offset: u64) -> Said {
    let kind = format!("urn:seckill:problem:{name}");
    let position = format!("0:{offset}");
    (status, Json(json!({"type": kind, "title": name, "position": position})))
}

async fn create(State(shop): Shared, Json(body): Json<Value>) -> Response {
    let id = body["id"].as_str().unwrap();
    let coupons = count(&body["coupons"]);
    let offset = shop.ledger.lock().open(id, coupons, 1);
    let body = json!({"id": id, "position": format!("0:{offset}")});
    (StatusCode::CREATED, Json(body)).into_response()
}

async fn grab(
    State(shop): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let customer = body["customer_id"].as_str().unwrap().to_owned();
    let key = headers.get("idempotency-key").map_or("", |key| key.to_str().unwrap()).to_owned();
    let lie = shop.lie;
    let decide = |ledger: &mut Ledger| decide(ledger, lie, &id, &customer, &key).into_response();
    shop.visit(decide).await
}

async fn grab_batch(
    State(shop): Shared,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    let lie = shop.lie;
    let decide = |ledger: &mut Ledger| {
        let grabs = body["grabs"].as_array().unwrap().iter();
        let answers = grabs.map(|grab| {
            let key = grab["idempotency_key"].as_str().unwrap_or_default();
            let customer = grab["customer_id"].as_str().unwrap();
            let (status, Json(mut answer)) = decide(ledger, lie, &id, customer, key);
            answer["status"] = status.as_u16().into();
            answer
        });
        Json(json!({"answers": answers.collect::<Vec<_>>()})).into_response()
    };
    shop.visit(decide).await
}

/// What a customer is told.
fn decide(ledger: &mut Ledger, lie: Lie, id: &str, customer: &str, key: &str) -> Said {
    let decision = ledger.grab(id, customer, key, lie);
    let next_offset = ledger.next_offset;
    let refused = |status, name| refused(status, name, next_offset);
    let coupon = |status, id, serial| coupon(status, id, serial, customer, next_offset);
    match decision {
        None => refused(StatusCode::NOT_FOUND, "not-found"),
        Some(Decision::SoldOut) if lie == Lie::RefusesNowhere => {
            problem(StatusCode::CONFLICT, "sold-out")
        }
        Some(Decision::SoldOut) => refused(StatusCode::CONFLICT, "sold-out"),
        Some(Decision::Duplicate) => refused(StatusCode::CONFLICT, "limit-reached"),
        Some(Decision::AlreadyYours(serial)) => coupon(StatusCode::OK, id, serial),
        Some(Decision::Granted(2)) if lie == Lie::RefusesAHolder => {
            refused(StatusCode::CONFLICT, "sold-out")
        }
        Some(Decision::Granted(2)) if lie == Lie::TellsTwice => coupon(StatusCode::CREATED, id, 1),
        Some(Decision::Granted(2)) if lie == Lie::AnswersSomethingElse => {
            coupon(StatusCode::CREATED, "other", 2)
        }
        Some(Decision::Granted(serial)) => coupon(StatusCode::CREATED, id, serial),
    }
}

fn coupon(status: StatusCode, id: &str, serial: u32, customer: &str, offset: u64) -> Said {
    let body = json!({
        "coupon_id": format!("{id}-{serial}"), "promotion_id": id, "serial": serial,
        "customer_id": customer, "grabbed_at": 1, "position": format!("0:{offset}"),
    });
    (status, Json(body))
}

async fn list(State(shop): Shared, Query(parameters): Parameters) -> Response {
    let mut ledger = shop.ledger.lock();
    if parameters.contains_key("after") && (ledger.behind > 0 || shop.lie == Lie::NeverCatchesUp) {
        ledger.behind = ledger.behind.saturating_sub(1);
        return problem(StatusCode::SERVICE_UNAVAILABLE, "not-yet-visible").into_response();
    }
    Json(json!({"items": [], "next": null})).into_response()
}

async fn promotion(State(shop): Shared, Path(id): Path<String>) -> Response {
    match shop.ledger.lock().promotions.get(&id) {
        Some(promotion) => Json(shop.promotion_row(&id, promotion)).into_response(),
        None => problem(StatusCode::NOT_FOUND, "not-found").into_response(),
    }
}

/// Pages of at most 7, so that there are several.
async fn coupons_of_promotion(
    State(shop): Shared,
    Path(id): Path<String>,
    Query(parameters): Parameters,
) -> Response {
    let ledger = shop.ledger.lock();
    let rows = shop.coupon_rows(&id, &ledger.promotions[&id]);
    let from: usize = parameters.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
    let page: Vec<_> = rows.iter().skip(from).take(7).collect();
    let to = from + page.len();
    let next = (to < rows.len()).then(|| to.to_string());
    Json(json!({"items": page, "next": next})).into_response()
}

async fn coupons_of_customer(State(shop): Shared, Path(customer): Path<String>) -> Response {
    let ledger = shop.ledger.lock();
    let mut items = Vec::new();
    for (id, promotion) in &ledger.promotions {
        let rows = shop.coupon_rows(id, promotion);
        items.extend(rows.into_iter().filter(|row| row["customer_id"] == customer.as_str()));
    }
    let hidden = shop.lie == Lie::HidesOneOwnCoupon && items.iter().any(|row| row["serial"] == 77);
    if hidden || shop.lie == Lie::HidesOwnCoupons {
        items.clear();
    }
    Json(json!({"items": items, "next": null})).into_response()
}

async fn original_create(State(shop): Shared, Json(body): Json<Value>) -> Response {
    let mut ledger = shop.ledger.lock();
    let id = format!("original-{}", ledger.promotions.len());
    let coupons = count(&body["numberOfCoupons"]);
    assert!(body["publishTime"].is_u64());
    ledger.open(&id, coupons, 1);
    id.into_response()
}

async fn original_grab(State(shop): Shared, Json(body): Json<Value>) -> Response {
    let id = body["promotionId"].as_str().unwrap().to_owned();
    let customer = body["customerId"].as_str().unwrap().to_owned();
    let duplicate = "Request rejected duplicate order";
    let sold_out = "Request rejected due to coupon out of stock";
    let decide = |ledger: &mut Ledger| match ledger.grab(&id, &customer, "", shop.lie) {
        None => (StatusCode::BAD_REQUEST, "Invalid promotion {promotion=x}").into_response(),
        Some(Decision::SoldOut) => (StatusCode::TOO_MANY_REQUESTS, sold_out).into_response(),
        Some(Decision::Duplicate | Decision::AlreadyYours(_)) => {
            (StatusCode::TOO_MANY_REQUESTS, duplicate).into_response()
        }
        Some(Decision::Granted(_)) => "Request accepted".into_response(),
    };
    shop.visit(decide).await
}

async fn original_list(State(shop): Shared) -> Response {
    let ledger = shop.ledger.lock();
    let active =
        ledger.promotions.iter().filter(|(_, promotion)| promotion.given() < promotion.coupons);
    let row = |(id, promotion): (&String, &ShopPromotion)| {
        json!({
            "id": 1, "promotionId": id, "publishTime": 1, "finishTime": null,
            "numberOfCoupons": promotion.coupons, "discount": 0.5,
        })
    };
    Json(active.map(row).collect::<Vec<_>>()).into_response()
}

async fn original_coupons(State(shop): Shared, Path(customer): Path<String>) -> Response {
    let ledger = shop.ledger.lock();
    let held = ledger.promotions.iter().filter(|(_, p)| p.by_customer.contains_key(&customer));
    let row = |(id, _): (&String, &ShopPromotion)| json!({"id": 1, "promotionId": id, "time": 1, "discount": 0.5, "customerId": customer});
    let rows: Vec<_> = held
        .filter(|(_, promotion)| !promotion.by_customer[&customer].is_empty())
        .map(row)
        .collect();
    Json(rows).into_response()
}
