//! How long requests take, by method, route and status.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use metrics::Histogram;
use tokio::time::Instant;

/// The route of a request that has none, or was refused before it was looked for.
const NO_ROUTE: &str = "none";

/// A layer that measures every request.
pub async fn observe(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = label(request.method());
    let begun = Instant::now();
    let response = next.run(request).await;
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    record(method, response.status().as_u16(), route, begun.elapsed());
    response
}

/// By method and status, then by route.
type Found = HashMap<(&'static str, u16), HashMap<String, Histogram>>;

thread_local! {
    /// To find a histogram by its labels costs as much as to answer.
    static FOUND: RefCell<Found> = RefCell::default();
}

fn record(method: &'static str, status: u16, route: &str, took: Duration) {
    FOUND.with_borrow_mut(|found| {
        let by_route = found.entry((method, status)).or_default();
        if let Some(histogram) = by_route.get(route) {
            return histogram.record(took);
        }
        let labels = [
            ("method", method.to_owned()),
            ("route", route.to_owned()),
            ("status", status.to_string()),
        ];
        let histogram = metrics::histogram!("seckill_http_request_seconds", &labels);
        histogram.record(took);
        by_route.insert(route.to_owned(), histogram);
    });
}

/// A client may send any word as a method.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Says what the metrics of this crate are.
pub fn describe_metrics() {
    crate::connections::describe();
    metrics::describe_histogram!(
        "seckill_http_request_seconds",
        "From the head of a request to the head of its answer, by method, route and status"
    );
}
