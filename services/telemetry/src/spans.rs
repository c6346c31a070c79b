//! Traces: what a request passes through, sent to an OpenTelemetry collector. A span is nothing, and costs
//! nothing, where nobody has asked for traces.
//!
//! The names and the form of what goes from process to process are those of W3C Trace Context: `traceparent`, as
//! a header of HTTP and of Kafka records. Which requests are traced is up to the client, and to the standard
//! variables of OpenTelemetry, such as `OTEL_TRACES_SAMPLER`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{MatchedPath, Request};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{FutureExt, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue, Value, global};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;

/// The header of W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";

/// How long the last spans may take to be sent.
const LAST: Duration = Duration::from_secs(3);
/// Where a collector takes traces.
const TRACES: &str = "/v1/traces";

static WANTED: AtomicBool = AtomicBool::new(false);

/// Traces are sent for as long as this lives.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends traces to the collector at this address, such as `http://127.0.0.1:4318`, as coming from a process of
    /// this name.
    ///
    /// # Errors
    /// The address is not one.
    pub fn start(collector: &str, name: &str) -> anyhow::Result<Self> {
        let address = collector.trim_end_matches('/');
        let address = match address.strip_suffix(TRACES) {
            Some(_) => address.to_owned(),
            None => format!("{address}{TRACES}"),
        };
        let exporter = SpanExporter::builder().with_http().with_endpoint(address).build();
        let exporter = exporter.context("otlp must be the address of a collector")?;
        let attributes = [
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", name.to_owned()),
        ];
        let resource = Resource::builder().with_service_name("seckill").with_attributes(attributes);
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        global::set_tracer_provider(provider.clone());
        WANTED.store(true, Ordering::Relaxed);
        Ok(Self(provider))
    }

    /// Sends what is left, for a bounded time.
    pub async fn stop(self) {
        let stopping = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(LAST));
        let _ = stopping.await; // whoever is not there to take them has been told of
    }
}

/// Whether requests are traced: not before [`Traces::start`].
#[must_use]
pub fn requests_are_traced() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// A part of the way of a request, from when it is made until it is dropped.
#[derive(Debug, Default)]
pub struct Span(Option<Context>);

impl Span {
    /// A part of what this task is doing.
    #[must_use]
    pub fn child(name: &'static str) -> Self {
        if !WANTED.load(Ordering::Relaxed) {
            return Self(None);
        }
        let parent = Context::current();
        if !parent.has_active_span() {
            return Self(None);
        }
        Self::start(name.into(), SpanKind::Internal, &parent)
    }

    /// Goes on with what another process has begun; `traceparent` is what it has sent.
    #[must_use]
    pub fn of(traceparent: &str, name: &'static str) -> Self {
        if !WANTED.load(Ordering::Relaxed) {
            return Self(None);
        }
        let parent = TraceContextPropagator::new().extract(&Only(traceparent));
        Self::start(name.into(), SpanKind::Consumer, &parent)
    }

    fn start(name: String, kind: SpanKind, parent: &Context) -> Self {
        let tracer = global::tracer_provider().tracer("seckill");
        let span = tracer.span_builder(name).with_kind(kind).start_with_context(&tracer, parent);
        Self(Some(parent.with_span(span)))
    }

    /// Says something of it.
    pub fn set(&self, name: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(name, value.into()));
        }
    }

    /// What another process needs to go on with it; none where it is not sent to a collector.
    #[must_use]
    pub fn traceparent(&self) -> Option<Arc<str>> {
        let context = self.0.as_ref()?;
        let span = context.span().span_context().clone();
        let flags = span.trace_flags().to_u8();
        let text = || format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id());
        span.is_sampled().then(|| text().into())
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

/// A layer that traces every request.
pub async fn trace_requests(request: Request, next: Next) -> Response {
    if !WANTED.load(Ordering::Relaxed) {
        return next.run(request).await;
    }
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().as_str().to_owned();
    let parent = TraceContextPropagator::new().extract(&Headers(request.headers()));
    let name = route.as_ref().map_or_else(|| method.clone(), |route| format!("{method} {route}"));
    let span = Span::start(name, SpanKind::Server, &parent);
    span.set("http.request.method", method);
    span.set("url.path", request.uri().path().to_owned());
    route.into_iter().for_each(|route| span.set("http.route", route));
    let context = span.0.clone().unwrap_or_default();
    let response = next.run(request).with_context(context.clone()).await;
    span.set("http.response.status_code", i64::from(response.status().as_u16()));
    if response.status().is_server_error() {
        context.span().set_status(Status::error(""));
    }
    response
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

/// Only a `traceparent`.
struct Only<'a>(&'a str);

impl Extractor for Only<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}
