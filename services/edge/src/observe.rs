//! How long requests take, by method, route and status.

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

/// The route of a request that has none, or was refused before it was looked for.
const NO_ROUTE: &str = "none";

/// A layer that measures every request.
pub async fn observe(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = label(request.method());
    let begun = Instant::now();
    let response = next.run(request).await;
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let status = response.status().as_str().to_owned();
    let labels = [("method", method.to_owned()), ("route", route), ("status", status)];
    metrics::histogram!("seckill_http_request_seconds", &labels).record(begun.elapsed());
    response
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
