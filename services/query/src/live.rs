//! `GET /v1/promotions/{id}/live` and `GET /v1/live`: promotions as they change, as server-sent events.
//!
//! An event is the newest state, not a step: whoever is slow gets fewer of them, and whoever comes back
//! gets what is newer than the last one seen. However many listen, each partition is looked at once every
//! [`EVERY`], and only rows that somebody listens to are read, only when the partition has moved.

mod hub;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use seckill_edge::{IdParameter, PathId, Problem, check_no_query, problems};
use seckill_proto::{Position, ProblemKind};
use seckill_views::{PromotionRow, PromotionState, Views};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::problem::absent;
use hub::{Hub, Seen};

/// At most one event to a listener, and one look at a partition, in this time.
const EVERY: Duration = Duration::from_millis(100);
/// A listener that is told nothing is told so, which also notices that it is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Who may listen at the same time.
pub const MAX_LISTENERS: usize = 4_096;

#[derive(Clone)]
pub(crate) struct Live {
    hub: Arc<Hub>,
    listeners: Arc<Semaphore>,
    stop: CancellationToken,
}

/// What every event says of a promotion.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    row: &'a PromotionRow,
    /// Coupons given.
    granted: u32,
}

impl<'a> Told<'a> {
    fn of(row: &'a PromotionRow) -> Self {
        Self { row, granted: row.coupons.saturating_sub(row.remaining) }
    }
}

pub(crate) fn routes(views: Views, partitions: u32, stop: CancellationToken) -> OpenApiRouter {
    let listeners = Arc::new(Semaphore::new(MAX_LISTENERS));
    let live = Live { hub: Hub::new(views, partitions), listeners, stop };
    OpenApiRouter::new().routes(routes!(one)).routes(routes!(all)).with_state(live)
}

/// A server-sent event.
#[derive(ToSchema)]
#[expect(dead_code, reason = "its schema is what is wanted")]
struct LiveEvent {
    /// `all` for the first one of `/v1/live`.
    #[schema(nullable = false)]
    event: Option<String>,
    /// Goes on from here where it is sent as `Last-Event-ID`.
    #[schema(nullable = false)]
    id: Option<String>,
    /// JSON: a promotion as `GET /v1/promotions/{id}` has it, with `granted` too; of `/v1/live` a list of them.
    #[schema(content_media_type = "application/json")]
    data: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "its description is what is wanted")]
struct LastEventId {
    /// The id of the last event that was seen: only what is newer is told.
    #[param(rename = "Last-Event-ID", format = "position", nullable = false)]
    last: Option<String>,
}

problems!(
    LiveProblems: ;
    InvalidParameter, InvalidIdentifier, InvalidPosition, NotFound, ViewsUnavailable, ViewNotBuilt,
    TooManyReaders
);
problems!(
    AllProblems: ;
    InvalidParameter, InvalidPosition, ViewsUnavailable, ViewNotBuilt, TooManyReaders
);

/// A promotion as it changes
///
/// Server-sent events, at most ten a second. Ends after the event that says that the promotion is over; who
/// has seen that one is told to come no more.
#[utoipa::path(
    get,
    path = "/v1/promotions/{id}/live",
    operation_id = "followPromotion",
    tag = "Readers",
    params(IdParameter, LastEventId),
    responses(
        (status = 200, description = "Events whose data is the promotion", body = LiveEvent,
         content_type = "text/event-stream"),
        (status = 204, description = "It is over, and its end was seen"),
        LiveProblems,
    ),
)]
async fn one(
    State(live): State<Live>,
    PathId(id): PathId,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_no_query(&uri)?;
    let place = live.place()?;
    let seen = last_seen(&headers)?;
    let mut rows = live.hub.listen_to(&id).await?;
    let row = rows.borrow_and_update().clone();
    let row = row.ok_or_else(|| absent("No promotion has this id."))?;
    let is_new = |row: &PromotionRow| seen.is_new(row.position);
    if is_over(&row) && !is_new(&row) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let first = Some(row).filter(|row| is_new(row));
    let listener = Listener { rows, first, over: false, _place: place };
    Ok(live.respond(stream::unfold(listener, Listener::next)))
}

fn is_over(row: &PromotionRow) -> bool {
    row.state == PromotionState::Finished
}

/// All promotions that are on sale, as they change
///
/// Server-sent events. First an event `all`: all promotions that are on sale, so whichever is not there is
/// not. Then those that change, their end included.
#[utoipa::path(
    get,
    path = "/v1/live",
    operation_id = "followAll",
    tag = "Readers",
    params(LastEventId),
    responses(
        (status = 200, description = "Events whose data is a list of promotions", body = LiveEvent,
         content_type = "text/event-stream"),
        AllProblems,
    ),
)]
async fn all(State(live): State<Live>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    check_no_query(&uri)?;
    let place = live.place()?;
    let seen = last_seen(&headers)?;
    let boards = live.hub.listen_to_all().await?;
    let listener = AllListener { boards, seen: Some(seen), told: BTreeMap::new(), _place: place };
    Ok(live.respond(stream::unfold(listener, AllListener::next)))
}

impl Live {
    fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.listeners).try_acquire_owned().map_err(|_| {
            let detail = format!("At most {MAX_LISTENERS} listen at the same time.");
            Problem::new(ProblemKind::TooManyReaders, detail)
        })
    }

    fn respond(&self, events: impl Stream<Item = Event> + Send + 'static) -> Response {
        let stop = self.stop.clone().cancelled_owned();
        let events = events.map(Ok::<_, Infallible>).take_until(stop);
        Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
    }
}

/// What a listener has seen before, by the header that browsers send.
fn last_seen(headers: &HeaderMap) -> Result<Seen, Problem> {
    let Some(header) = headers.get("last-event-id") else { return Ok(Seen::default()) };
    let text = header.to_str().unwrap_or_default();
    let positions = text.split(',').map(str::parse).collect::<Result<Vec<Position>, _>>();
    positions.map(Seen::of).map_err(|error| {
        Problem::new(ProblemKind::InvalidPosition, format!("Last-Event-ID: {error}."))
    })
}

struct Listener {
    rows: watch::Receiver<Option<Arc<PromotionRow>>>,
    first: Option<Arc<PromotionRow>>,
    over: bool,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    async fn next(mut self) -> Option<(Event, Self)> {
        if self.over {
            return None;
        }
        let row = match self.first.take() {
            Some(first) => first,
            None => {
                tokio::time::sleep(EVERY).await;
                self.rows.changed().await.ok()?;
                self.rows.borrow_and_update().clone()?
            }
        };
        self.over = is_over(&row);
        let data = serde_json::to_string(&Told::of(&row)).expect("a row is plain JSON");
        Some((Event::default().id(row.position.to_string()).data(data), self))
    }
}

struct AllListener {
    boards: watch::Receiver<Arc<hub::Board>>,
    /// What was seen before, until the first event.
    seen: Option<Seen>,
    /// Where each promotion was when it was told last.
    told: BTreeMap<String, Position>,
    _place: OwnedSemaphorePermit,
}

impl AllListener {
    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            let board = self.boards.borrow_and_update().clone();
            // Who has seen just that is told of what changes only.
            let begins = self.seen.take().is_some_and(|seen| seen != board.seen);
            let is_news = |row: &PromotionRow| match self.told.get(&row.id) {
                Some(told) => *told < row.position,
                None => true,
            };
            let told_all = begins && self.told.is_empty();
            let rows = board.rows.values().filter(|row| match told_all {
                true => row.state == PromotionState::Active,
                false => is_news(row),
            });
            let rows: Vec<_> = rows.cloned().collect();
            self.told.retain(|id, _| board.rows.contains_key(id));
            if told_all || !rows.is_empty() {
                return Some((self.tell(&board, &rows, told_all), self));
            }
            tokio::time::sleep(EVERY).await;
            self.boards.changed().await.ok()?;
        }
    }

    fn tell(&mut self, board: &hub::Board, rows: &[Arc<PromotionRow>], all: bool) -> Event {
        // All that is on the board is known now, told or left out.
        let known =
            if all { board.rows.values().collect() } else { rows.iter().collect::<Vec<_>>() };
        self.told.extend(known.into_iter().map(|row| (row.id.clone(), row.position)));
        let told: Vec<_> = rows.iter().map(|row| Told::of(row)).collect();
        let data = serde_json::to_string(&told).expect("rows are plain JSON");
        let event = Event::default().id(board.seen.to_string()).data(data);
        if all { event.event("all") } else { event }
    }
}
