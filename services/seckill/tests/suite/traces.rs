//! The way of a request, as an OpenTelemetry collector is told of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use parking_lot::Mutex;
use prost::Message;
use reqwest::Client;
use serde_json::json;

use crate::system::{Engines, System, eventually};

const SOON: Duration = Duration::from_secs(30);
/// A trace and a span of a client.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

/// A span that was sent: of which trace, its own id, its parent's, and its attributes as text.
#[derive(Debug, Clone)]
struct Sent {
    name: String,
    trace: String,
    id: String,
    parent: String,
    attributes: BTreeMap<String, String>,
}

/// A collector that keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Sent>>>);

impl Collector {
    /// Its address.
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let routes = Router::new().route("/v1/traces", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        format!("http://{address}")
    }

    fn of_trace(&self) -> Vec<Sent> {
        self.0.lock().iter().filter(|sent| sent.trace == TRACE).cloned().collect()
    }

    /// Waits for a span of the trace.
    async fn has(&self, name: &str) -> Sent {
        let find = || self.of_trace().into_iter().find(|sent| sent.name == name);
        eventually(&format!("a span {name}"), SOON, async || find().is_some()).await;
        find().expect("it was there")
    }
}

async fn take(State(collector): State<Collector>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("traces");
    let spans = request.resource_spans.into_iter().flat_map(|spans| spans.scope_spans);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let sent = spans.flat_map(|spans| spans.spans).map(|span| Sent {
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        attributes: span
            .attributes
            .into_iter()
            .map(|attribute| (attribute.key, format!("{:?}", attribute.value)))
            .collect(),
    });
    collector.0.lock().extend(sent);
}

async fn grab(sale: &System, customer: &str, traceparent: &str) {
    let grab = Client::new()
        .post(format!("{}/v1/promotions/spring/grabs", sale.url()))
        .header("traceparent", traceparent)
        .json(&json!({"customer_id": customer}));
    assert_eq!(grab.send().await.expect("an answer").status(), 201);
}

/// What came with a client's `traceparent`, from the request on; others are not mixed in.
async fn traced(engines: Engines) -> (System, Collector, Sent) {
    let collector = Collector::default();
    let address = collector.start().await;
    let mut sale = System::closed(engines).through("true", &["--otlp", &address]);
    sale.start().await;
    sale.offer("spring", 5).await;
    grab(&sale, "alice", &format!("00-{TRACE}-{CLIENT}-01")).await;
    assert_eq!(sale.grab("spring", "bob").await.status, 201);
    let request = collector.has("POST /v1/promotions/{id}/grabs").await;
    assert_eq!(request.parent, CLIENT);
    assert!(request.attributes["http.response.status_code"].contains("201"), "{request:?}");
    let decided = collector.has("decide").await;
    assert_eq!(decided.parent, request.id);
    assert!(decided.attributes["seckill.outcome"].contains("accepted"), "{decided:?}");
    (sale, collector, decided)
}

/// On a thread of its own, the collector takes what comes while the test waits for the process to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_grab_is_traced_from_its_client_to_its_owner() {
    let (mut sale, collector, _) = traced(Engines::Embedded).await;
    // A client that does not want to be traced is not.
    let before = collector.0.lock().len();
    grab(&sale, "cy", "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").await;
    grab(&sale, "di", &format!("00-{TRACE}-{CLIENT}-01")).await;
    let more =
        async || collector.of_trace().iter().filter(|sent| sent.name == "decide").count() == 2;
    eventually("the next span of the trace", SOON, more).await;
    let unwanted = collector.0.lock().iter().skip(before).any(|sent| sent.trace.starts_with("1af"));
    assert!(!unwanted);
    // What was done last is sent before the process ends.
    grab(&sale, "ed", &format!("00-{TRACE}-{CLIENT}-01")).await;
    sale.stop();
    assert_eq!(collector.of_trace().iter().filter(|sent| sent.name == "decide").count(), 3);
}

/// Over the header of the record in Kafka.
#[cfg(feature = "real-engines")]
#[tokio::test]
async fn a_grab_is_traced_from_its_client_to_its_row() {
    let (_sale, collector, decided) = traced(Engines::real()).await;
    let projected = collector.has("project").await;
    assert_eq!(projected.parent, decided.id);
    let name = "seckill.position";
    assert!(projected.attributes.contains_key(name), "{projected:?}");
    let spans = collector.of_trace();
    assert_eq!(spans.iter().filter(|sent| sent.name == "project").count(), 1, "{spans:?}");
}

#[tokio::test]
async fn a_collector_that_is_gone_harms_nobody() {
    let gone = format!("http://127.0.0.1:{}", crate::system::free_port());
    let mut sale = System::closed(Engines::Embedded).through("true", &["--otlp", &gone]);
    sale.start().await;
    sale.offer("spring", 5).await;
    for customer in ["a", "b", "c"] {
        assert_eq!(sale.grab("spring", customer).await.status, 201);
    }
    let begun = std::time::Instant::now();
    sale.stop();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
