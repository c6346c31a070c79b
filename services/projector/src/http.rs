//! `GET /v1/progress`: how far the views are. `POST /v1/verify`: whether they are what the log says.
//! `/v1/rebuild`: new tables for them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use seckill_edge::{Body, Problem, check_no_query, now_ms, parse_query, problems, timestamp};
use seckill_log::{Log, LogError};
use seckill_proto::v1::record;
use seckill_proto::{ProblemKind, decode_record};
use seckill_views::{
    NewRebuild, Phase, Progress, Rebuild, Step, StepError, SwitchMode, Views, ViewsError,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::quarantine::{self, Quarantine};
use crate::verify::{Claim, Report, Stage, VerifyError, verify_watched};

/// How long a record of the log is waited for.
const READ_TIMEOUT: Duration = Duration::from_millis(500);
/// Lines on how far a comparison is that wait to be taken.
const LINES_AHEAD: usize = 4;
/// Between two looks that speed is told by, and two lines on how far a comparison is.
const SPEED_OVER: Duration = Duration::from_millis(500);

#[derive(Clone)]
struct Projections {
    log: Arc<dyn Log>,
    views: Views,
    looked: Arc<Mutex<Option<Looked>>>,
    claims: AskClaims,
    /// One at a time: each folds the whole log.
    verifying: Arc<Semaphore>,
}

/// Asks for what is kept beside the log, to be compared with it.
pub type AskClaims = Arc<
    dyn Fn() -> Pin<Box<dyn Future<Output = Result<Vec<Claim>, LogError>> + Send>> + Send + Sync,
>;

/// What a rebuild had reached.
#[derive(Clone, Copy)]
struct Looked {
    number: u32,
    at: Instant,
    records: u64,
    per_second: Option<f64>,
}

/// The routes of those who look after views.
pub fn routes(log: Arc<dyn Log>, views: Views, claims: AskClaims) -> OpenApiRouter {
    let (looked, verifying) = (Arc::default(), Arc::new(Semaphore::new(1)));
    let quarantine = Quarantine::new(Arc::clone(&log), views.clone());
    OpenApiRouter::new()
        .routes(routes!(progress))
        .routes(routes!(verify))
        .routes(routes!(status, start))
        .routes(routes!(step))
        .with_state(Projections { log, views, looked, claims, verifying })
        .merge(quarantine::routes(quarantine))
}

/// How far a partition of some tables is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Reached {
    /// Partition of the event log.
    pub partition: u32,
    /// First offset that the rows do not reflect.
    pub next_offset: u64,
    /// Where the log ends.
    pub end: u64,
    /// Records between the two.
    pub lag_records: u64,
    /// Age of the first event that the rows do not reflect; none where that is not told.
    pub lag_seconds: Option<f64>,
    /// Why it stands still; none while it does not.
    pub stopped: Option<String>,
}

problems!(LookProblems: ; InvalidParameter, ViewsUnavailable);
problems!(VerifyProblems: ; InvalidParameter, WrongPhase, ViewsUnavailable, TooManyReaders);
problems!(StartProblems: BODY; WrongPhase, ViewsUnavailable);
problems!(StepProblems: ; InvalidParameter, NoSuchRoute, WrongPhase, ViewsUnavailable);

/// How far the views are
///
/// Of every partition of the log: where it ends, and how much of it the views show.
#[utoipa::path(
    get,
    path = "/v1/progress",
    operation_id = "progress",
    tag = "Views",
    responses((status = 200, description = "All partitions", body = Vec<Reached>), LookProblems),
)]
async fn progress(State(all): State<Projections>, uri: Uri) -> Result<Json<Vec<Reached>>, Problem> {
    check_no_query(&uri)?;
    let mut partitions = Vec::new();
    for partition in 0..all.log.partitions() {
        let progress = all.views.progress(partition).await.map_err(|error| unreadable(&error))?;
        let mut reached = all.reached(partition, progress).await?;
        reached.lag_seconds = all.lag_seconds(&reached).await;
        partitions.push(reached);
    }
    Ok(Json(partitions))
}

/// A line of the answer of `/v1/verify`; the last one is no progress.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verifying {
    /// So much of so much is done.
    Progress {
        /// Of what.
        stage: Stage,
        /// So much.
        done: u64,
        /// Of so much, about.
        all: u64,
    },
    /// It is done.
    Report(Report),
    /// It cannot be done.
    Failed(String),
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Verify {
    /// Whether the tables beside those that are read are meant.
    #[serde(default)]
    beside: bool,
}

/// Compare the views with the log
///
/// Folds the whole log and compares every row of every view. Lines of progress, then one with the report.
#[utoipa::path(
    post,
    path = "/v1/verify",
    operation_id = "verify",
    tag = "Views",
    params(Verify),
    responses(
        (status = 200, description = "A line of JSON for each step, the report last",
         body = Verifying, content_type = "application/x-ndjson"),
        VerifyProblems,
    ),
)]
async fn verify(State(all): State<Projections>, uri: Uri) -> Result<Response, Problem> {
    let Verify { beside } = parse_query(&uri)?;
    if beside && all.views.beside().built().await.map_err(|error| unreadable(&error))?.is_empty() {
        return Err(Problem::new(ProblemKind::WrongPhase, format!("{}.", VerifyError::NoTables)));
    }
    let place = Arc::clone(&all.verifying).try_acquire_owned().map_err(|_| {
        Problem::new(ProblemKind::TooManyReaders, "The views are being verified already.")
    })?;
    let (lines, mut made) = mpsc::channel(LINES_AHEAD);
    tokio::spawn(async move {
        let _place = place;
        let views = if beside { all.views.beside() } else { all.views.clone() };
        let mut said = Instant::now();
        let watch = &mut |stage, done, of| {
            if said.elapsed() > SPEED_OVER {
                said = Instant::now();
                // Whoever does not take it gets the next one.
                let _ = lines.try_send(Verifying::Progress { stage, done, all: of });
            }
        };
        let verifying = async {
            let claims = (all.claims)().await?;
            verify_watched(&*all.log, &views, claims, watch).await
        };
        let verified: Result<Report, VerifyError> = tokio::select! {
            () = lines.closed() => return, // nobody wants to know any more
            verified = verifying => verified,
        };
        let failed = |error: VerifyError| Verifying::Failed(error.to_string());
        let last = verified.map_or_else(failed, Verifying::Report);
        let _ = lines.send(last).await;
    });
    let body = stream::poll_fn(move |context| made.poll_recv(context)).map(|line| {
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        Ok::<_, serde_json::Error>(Bytes::from(line))
    });
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, ndjson)], axum::body::Body::from_stream(body)).into_response())
}

/// The answer of `/v1/rebuild`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RebuildStatus {
    /// None where there is none.
    pub rebuild: Option<Rebuild>,
    /// How far the tables beside those that are read are.
    pub partitions: Vec<Reached>,
    /// While it is building: over all partitions, between the last two looks; none before the second.
    pub records_per_second: Option<f64>,
    /// At that speed.
    pub seconds_left: Option<f64>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Start {
    /// Names of views; left out: all there are.
    #[schema(min_items = 1)]
    views: Option<Vec<String>>,
    /// Records a second that it reads at most, over all partitions; none: as fast as it can.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32)]
    rate: Option<u32>,
    /// What happens once the new tables are complete; `auto` where nothing is said.
    switch: Option<SwitchMode>,
}

/// How far a rebuild is
#[utoipa::path(
    get,
    path = "/v1/rebuild",
    operation_id = "rebuildStatus",
    tag = "Views",
    responses((status = 200, description = "The rebuild, where there is one", body = RebuildStatus), LookProblems),
)]
async fn status(State(all): State<Projections>, uri: Uri) -> Result<Json<RebuildStatus>, Problem> {
    check_no_query(&uri)?;
    all.status().await.map(Json)
}

/// Rebuild views
///
/// Writes new tables from the start of the log, beside those that are read.
#[utoipa::path(
    post,
    path = "/v1/rebuild",
    operation_id = "startRebuild",
    tag = "Views",
    request_body = Start,
    responses((status = 202, description = "It is begun", body = RebuildStatus), StartProblems),
)]
async fn start(
    State(all): State<Projections>,
    Body(start): Body<Start>,
) -> Result<(StatusCode, Json<RebuildStatus>), Problem> {
    if start.rate == Some(0) {
        return Err(Problem::new(ProblemKind::InvalidBody, "rate must be at least 1."));
    }
    if start.views.as_ref().is_some_and(Vec::is_empty) {
        let detail = "views must name at least one; leave it out for all.";
        return Err(Problem::new(ProblemKind::InvalidBody, detail));
    }
    let (switch, at) = (start.switch.unwrap_or(SwitchMode::Auto), timestamp(now_ms()));
    let new = NewRebuild { views: start.views.unwrap_or_default(), rate: start.rate, switch, at };
    all.step(Step::Start(new)).await
}

/// A step of a rebuild.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
#[expect(dead_code, reason = "its schema is what is wanted")]
enum RebuildStep {
    Pause,
    Resume,
    Switch,
    Abort,
    Undo,
    Drop,
}

/// Move a rebuild on
#[utoipa::path(
    post,
    path = "/v1/rebuild/{step}",
    operation_id = "stepRebuild",
    tag = "Views",
    params(("step" = inline(RebuildStep), Path, description = "What is to be done")),
    responses((status = 202, description = "It is begun", body = RebuildStatus), StepProblems),
)]
async fn step(
    State(all): State<Projections>,
    step: Result<Path<String>, axum::extract::rejection::PathRejection>,
    uri: Uri,
) -> Result<(StatusCode, Json<RebuildStatus>), Problem> {
    check_no_query(&uri)?;
    let steps = [Step::Pause, Step::Resume, Step::Switch, Step::Abort, Step::Undo, Step::Drop];
    let asked = step.map(|Path(step)| step).unwrap_or_default();
    let step = steps.into_iter().find(|step| step.name() == asked);
    let no_such = || {
        Problem::new(
            ProblemKind::NoSuchRoute,
            "The steps of a rebuild are pause, resume, switch, abort, undo and drop.",
        )
    };
    all.step(step.ok_or_else(no_such)?).await
}

impl Projections {
    async fn step(&self, step: Step) -> Result<(StatusCode, Json<RebuildStatus>), Problem> {
        let taken = self.views.step(&step).await.map_err(|error| unreadable(&error))?;
        taken.map_err(|error| refused(&error))?;
        Ok((StatusCode::ACCEPTED, Json(self.status().await?)))
    }

    async fn status(&self) -> Result<RebuildStatus, Problem> {
        let rebuild = self.views.rebuild().await.map_err(|error| unreadable(&error))?;
        let (beside, mut partitions) = (self.views.beside(), Vec::new());
        for partition in 0..self.log.partitions() {
            let written = rebuild.as_ref().filter(|rebuild| rebuild.phase.is_written());
            let Some(_) = written else { break };
            let progress = beside.progress(partition).await.map_err(|error| unreadable(&error))?;
            partitions.push(self.reached(partition, progress).await?);
        }
        let records = partitions.iter().map(|reached| reached.next_offset).sum();
        let left: u64 = partitions.iter().map(|reached| reached.lag_records).sum();
        let building = rebuild.as_ref().filter(|rebuild| rebuild.phase == Phase::Building);
        let speed = building.and_then(|rebuild| self.speed(rebuild.number, records));
        let seconds_left = speed.filter(|speed| *speed > 0.0).map(|speed| left as f64 / speed);
        Ok(RebuildStatus { rebuild, partitions, records_per_second: speed, seconds_left })
    }

    /// Records a second between two looks.
    fn speed(&self, number: u32, records: u64) -> Option<f64> {
        let (mut looked, at) = (self.looked.lock(), Instant::now());
        let before = looked.filter(|looked| looked.number == number);
        let Some(before) = before else {
            *looked = Some(Looked { number, at, records, per_second: None });
            return None;
        };
        let passed = at.duration_since(before.at);
        if passed < SPEED_OVER {
            return before.per_second;
        }
        let per_second = Some(records.saturating_sub(before.records) as f64 / passed.as_secs_f64());
        *looked = Some(Looked { number, at, records, per_second });
        per_second
    }

    async fn reached(
        &self,
        partition: u32,
        progress: Option<Progress>,
    ) -> Result<Reached, Problem> {
        let end = self.log.end(partition).await.map_err(|error| log_unreadable(&error))?;
        let next_offset = progress.as_ref().map_or(0, |progress| progress.next_offset);
        let stopped = progress.and_then(|progress| progress.stopped);
        let lag_records = end.saturating_sub(next_offset);
        Ok(Reached { partition, next_offset, end, lag_records, lag_seconds: None, stopped })
    }

    async fn lag_seconds(&self, reached: &Reached) -> Option<f64> {
        if reached.lag_records == 0 {
            return Some(0.0);
        }
        let mut reader = self.log.read(reached.partition, reached.next_offset).await.ok()?;
        let records = reader.next(READ_TIMEOUT).await.ok()?;
        let events = records.iter().map(|(_, record)| decode_record(record));
        let at_ms = events.filter_map(|record| match record {
            Ok(record::Kind::Event(event)) => Some(event.at_ms),
            Ok(record::Kind::Fence(_) | record::Kind::Skip(_)) | Err(_) => None,
        });
        let first_ms = at_ms.into_iter().next()?;
        Some((now_ms() - first_ms).max(0) as f64 / 1_000.0)
    }
}

fn refused(error: &StepError) -> Problem {
    let kind = match error {
        StepError::UnknownView { .. } => ProblemKind::InvalidBody,
        StepError::UnderWay { .. }
        | StepError::None
        | StepError::Moved
        | StepError::WrongPhase { .. } => ProblemKind::WrongPhase,
    };
    Problem::new(kind, format!("{error}."))
}

fn unreadable(error: &ViewsError) -> Problem {
    tracing::warn!(%error, "the views could not be asked");
    Problem::new(ProblemKind::ViewsUnavailable, format!("{error}."))
}

fn log_unreadable(error: &LogError) -> Problem {
    Problem::new(ProblemKind::ViewsUnavailable, format!("The log cannot be asked: {error}."))
}
