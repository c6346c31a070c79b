//! What goes on around every route: the head is checked, a panic is answered, and the time is taken.
//!
//! One layer for all of it, as each costs a request as much as a small route.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use metrics::Histogram;
use seckill_proto::ProblemKind;
use tokio::time::Instant;

use crate::Problem;

/// The route of a request that has none, or was refused before it was looked for.
const NO_ROUTE: &str = "none";

/// A layer around every route. Refuses what [`check_head`] does, answers where a route panics, and measures.
pub async fn observe(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = label(request.method());
    let begun = Instant::now();
    let response = match check_head(&request) {
        Ok(()) => run(request, next).await,
        Err(problem) => problem.into_response(),
    };
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    record(method, response.status().as_u16(), route, begun.elapsed());
    response
}

async fn run(request: Request, next: Next) -> Response {
    // Nothing of a route is looked at again that has panicked.
    let ran = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        tracing::error!(panic = text, "a request has ended in a bug");
        let what =
            "A bug. Whether anything was done is not known; the log of the process has more.";
        Problem::new(ProblemKind::Internal, what).into_response()
    })
}

/// Refuses what HTTP does not allow, and what different servers understand differently: a request has one `Host`.
fn check_head(request: &Request) -> Result<(), Problem> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let wanted = match request.version() {
        Version::HTTP_10 => 0..=1,
        Version::HTTP_2 if request.uri().authority().is_some() => 0..=1,
        _ => 1..=1,
    };
    if wanted.contains(&hosts) {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::InvalidHost, "The request must have exactly one Host."))
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
