//! `/healthz`: the process runs. `/readyz`: every part can work, or with `?role=` every part that a role
//! needs. `/metrics`: Prometheus text.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use parking_lot::Mutex;
use seckill_proto::ProblemKind;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Health;

/// In seconds; from well under a group commit to the longest that a client waits.
const LATENCY_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Records handed to the log at once.
const BURST_BUCKETS: [f64; 12] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0];

/// What may be asked for at `/readyz`.
const ROLES: [&str; 4] = ["command", "admin", "projector", "query"];

/// A gauge that nobody sets any more is of something that is not here any more, such as a
/// partition that went to another process.
const GAUGE_KEPT: Duration = Duration::from_secs(60);

const UPKEEP: Duration = Duration::from_secs(5);

static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    process: metrics_process::Collector,
    gauges: Arc<Mutex<Vec<SetGauges>>>,
}

/// Sets gauges to what they are at the moment.
type SetGauges = Box<dyn Fn() + Send + Sync>;

impl Metrics {
    /// Begins to record; a second call gives the same metrics. Within a runtime.
    ///
    /// # Errors
    /// Something else records already.
    pub fn start() -> anyhow::Result<Self> {
        if let Some(handle) = INSTALLED.get() {
            return Ok(Self::of(handle.clone()));
        }
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &LATENCY_BUCKETS)?
            .set_buckets_for_metric(Matcher::Suffix("_records".into()), &BURST_BUCKETS)?
            .idle_timeout(MetricKindMask::GAUGE, Some(GAUGE_KEPT))
            .install_recorder()
            .context("metrics cannot be recorded")?;
        let handle = INSTALLED.get_or_init(|| handle).clone();
        tokio::spawn(keep_up(handle.clone()));
        Ok(Self::of(handle))
    }

    fn of(handle: PrometheusHandle) -> Self {
        let process = metrics_process::Collector::default();
        process.describe();
        metrics::describe_gauge!("seckill_build_info", "1; its labels say what runs");
        Self { handle, process, gauges: Arc::default() }
    }

    /// Has gauges set whenever somebody asks for the metrics.
    pub fn set_when_asked(&self, gauges: impl Fn() + Send + Sync + 'static) {
        self.gauges.lock().push(Box::new(gauges));
    }

    fn render(&self) -> String {
        self.process.collect();
        metrics::gauge!("seckill_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        self.gauges.lock().iter().for_each(|set| set());
        self.handle.run_upkeep();
        self.handle.render()
    }
}

/// Samples are put into their buckets whether or not somebody asks: they would pile up otherwise.
async fn keep_up(handle: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        handle.run_upkeep();
    }
}

/// The routes that an operator's tools ask.
pub fn routes(health: Health, metrics: Metrics) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .with_state(health.clone())
        .merge(OpenApiRouter::new().routes(routes!(render)).with_state((health, metrics)))
}

/// It runs
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "healthz",
    tag = "Health",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")),
)]
async fn healthz() -> &'static str {
    "ok\n"
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Only what this role needs.
    #[param(inline, value_type = Option<Role>, nullable = false)]
    role: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "its schema is what is wanted")]
enum Role {
    Command,
    Admin,
    Projector,
    Query,
}

/// Whether a process can work.
#[derive(Serialize, ToSchema)]
struct Readiness {
    /// It can.
    ready: bool,
    /// What cannot, and why.
    not_ready: BTreeMap<String, String>,
}

/// It can work
///
/// Every part of the process, or what one role needs.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "Health",
    params(Asked),
    responses(
        (status = 200, description = "It can", body = Readiness),
        (status = 503, description = "It cannot, and why", body = Readiness),
        (status = 400, description = "`invalid-parameter`: A parameter of the query is not valid.",
         body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    ),
)]
async fn readyz(
    State(health): State<Health>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let not_ready = match asked.map(|Query(asked)| asked.role) {
        Ok(None) => health.not_ready(),
        Ok(Some(role)) if ROLES.contains(&role.as_str()) => health.not_ready_for(&role),
        Ok(Some(_)) | Err(_) => {
            let known = ROLES.join(", ");
            let kind = ProblemKind::InvalidParameter;
            let problem = json!({
                "type": kind.urn(),
                "title": kind.title(),
                "status": kind.status(),
                "detail": format!("role must be one of {known}."),
            });
            let headers = [(header::CONTENT_TYPE, "application/problem+json")];
            return (StatusCode::BAD_REQUEST, headers, problem.to_string()).into_response();
        }
    };
    let status =
        if not_ready.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: not_ready.is_empty(), not_ready })).into_response()
}

/// Metrics, as Prometheus text
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "Health",
    responses((status = 200, description = "All metrics", body = String, content_type = "text/plain")),
)]
async fn render(State((health, metrics)): State<(Health, Metrics)>) -> Response {
    let text = metrics.render() + &parts_ready(&health);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// Written here, and not recorded, so that parts that are gone are gone at once.
fn parts_ready(health: &Health) -> String {
    let mut text = "# HELP seckill_part_ready 1 where a part of this process can work, 0 where it \
                    cannot; /readyz says why\n# TYPE seckill_part_ready gauge\n"
        .to_owned();
    for (part, ready) in health.parts() {
        text += &format!("seckill_part_ready{{part=\"{part}\"}} {}\n", u8::from(ready));
    }
    text
}
