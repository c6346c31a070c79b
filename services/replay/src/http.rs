//! `GET /v1/events`: the events of the log, a line of JSON each.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use seckill_edge::{Bound, Problem, now_ms, parse_query, problems};
use seckill_log::Log;
use seckill_proto::{ProblemKind, check_identifier};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::line::{Line, to_json};
use crate::merge::Replay;
use crate::selection::{Refused, Selection};

/// Replays under way at once: each reads the log from its beginning.
const MAX_REPLAYS: usize = 8;
/// Bytes of lines that are sent together, at least.
const CHUNK: usize = 16 * 1024;

#[derive(Clone)]
struct Events {
    log: Arc<dyn Log>,
    replays: Arc<Semaphore>,
    stop: CancellationToken,
}

/// The route of those who read the log. What is followed ends with `stop`.
pub fn routes(log: Arc<dyn Log>, stop: CancellationToken) -> OpenApiRouter {
    let replays = Arc::new(Semaphore::new(MAX_REPLAYS));
    OpenApiRouter::new().routes(routes!(events)).with_state(Events { log, replays, stop })
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// The first: PARTITION:OFFSET, which leaves all other partitions out, or a time.
    #[param(format = "bound", nullable = false, example = "2026-11-26T10:00:00Z")]
    from: Option<String>,
    /// The last, in the same way.
    #[param(format = "bound", nullable = false)]
    to: Option<String>,
    /// Only of this promotion.
    #[param(format = "identifier", min_length = 1, max_length = 128, nullable = false)]
    promotion: Option<String>,
    /// Records that do not count too: those of an owner that was replaced.
    #[serde(default)]
    void: bool,
    /// Fences and skips too: by whom a partition was taken over, and what an operator has taken out. A fence has no
    /// time: it counts as of the event before it.
    #[serde(default)]
    fences: bool,
    /// Those that come later too: the answer does not end.
    #[serde(default)]
    follow: bool,
    /// At most so many; left out, all.
    #[param(minimum = 1, maximum = 4_294_967_295_u32, nullable = false)]
    limit: Option<u32>,
}

impl Parameters {
    fn selection(self) -> Result<Selection, Problem> {
        let bound = |name: &str, text: Option<String>| {
            let parsed = text.map(|text| text.parse::<Bound>()).transpose();
            parsed.map_err(|error| wrong(format!("{name} {error}.")))
        };
        let (from, to) = (bound("from", self.from)?, bound("to", self.to)?);
        let (promotion_id, void, fences) = (self.promotion, self.void, self.fences);
        let (follow, limit) = (self.follow, self.limit.map(u64::from));
        if limit == Some(0) {
            return Err(wrong("limit must be at least 1.".to_owned()));
        }
        let promotion = promotion_id.iter().try_for_each(|id| check_identifier(id));
        promotion.map_err(|error| wrong(format!("promotion {error}.")))?;
        Ok(Selection { from, to, promotion_id, void, fences, follow, limit })
    }
}

fn wrong(detail: String) -> Problem {
    Problem::new(ProblemKind::InvalidParameter, detail)
}

problems!(EventsProblems: ; InvalidParameter, Unavailable, TooManyReaders);

/// The events of the log
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "events",
    tag = "Log",
    params(Parameters),
    responses(
        (status = 200, description = "A line of JSON for each event",
         body = Line, content_type = "application/x-ndjson"),
        EventsProblems,
    ),
)]
async fn events(State(events): State<Events>, uri: Uri) -> Result<Response, Problem> {
    let selection = parse_query::<Parameters>(&uri)?.selection()?;
    selection.check(&*events.log, now_ms()).await.map_err(|refused| match refused {
        Refused::Log(error) => unavailable(&error),
        refused => wrong(format!("{refused}.")),
    })?;
    let place = events.replays.try_acquire_owned();
    let too_many = |_| {
        let detail = format!("At most {MAX_REPLAYS} read the log at the same time.");
        Problem::new(ProblemKind::TooManyReaders, detail)
    };
    let place = place.map_err(too_many)?;
    let (replay, first, ended) = begin(&*events.log, selection).await?;
    let sending = Sending { replay, first, _place: place, stop: events.stop, ended };
    let body = Body::from_stream(stream::unfold(sending, Sending::next));
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, ndjson)], body).into_response())
}

/// Begins a replay, unless there is nothing to tell but an error. Its first event, and whether there is none.
async fn begin(
    log: &dyn Log,
    selection: Selection,
) -> Result<(Replay, Option<crate::Item>, bool), Problem> {
    let follows = selection.follow;
    let opening = Replay::open(log, selection).await;
    let mut replay = opening.map_err(|error| unavailable(&error))?;
    if follows {
        return Ok((replay, None, false));
    }
    let first = replay.next().await.map_err(|error| unavailable(&error))?;
    let ended = first.is_none();
    Ok((replay, first, ended))
}

struct Sending {
    replay: Replay,
    first: Option<crate::Item>,
    _place: OwnedSemaphorePermit,
    stop: CancellationToken,
    ended: bool,
}

impl Sending {
    /// Some lines; an error breaks the connection off.
    async fn next(mut self) -> Option<(Result<Bytes, axum::Error>, Self)> {
        let first = self.first.take();
        let mut lines = first.map_or_else(String::new, |item| to_json(&item) + "\n");
        while lines.len() < CHUNK && !self.ended {
            // What is at hand is sent before anything is waited for.
            let item = tokio::select! {
                biased;
                item = self.replay.next() => item,
                () = futures::future::ready(()), if !lines.is_empty() => break,
                () = self.stop.cancelled() => Ok(None),
            };
            match item {
                Ok(Some(item)) => lines = lines + &to_json(&item) + "\n",
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    tracing::warn!(%error, "a replay was broken off");
                    return Some((Err(axum::Error::new(error)), self));
                }
            }
        }
        (!lines.is_empty()).then(|| (Ok(lines.into()), self))
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::Unavailable, format!("The log cannot be read: {error}."))
}
