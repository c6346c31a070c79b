//! How long requests take, by route and status.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

/// A layer that measures every request that has a route.
pub async fn observe(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let begun = Instant::now();
    let response = next.run(request).await;
    if let Some(route) = route {
        let route = route.as_str().to_owned();
        let status = response.status().as_str().to_owned();
        metrics::histogram!("seckill_http_request_seconds", "route" => route, "status" => status)
            .record(begun.elapsed());
    }
    response
}

/// Says what the metrics of this crate are.
pub fn describe_metrics() {
    crate::connections::describe();
    metrics::describe_histogram!(
        "seckill_http_request_seconds",
        "From the head of a request to the head of its answer, by route and status"
    );
}
