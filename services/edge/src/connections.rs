//! Connections: how many there may be, and how long each may keep the server waiting.

use seckill_proto::ProblemKind;
use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Version, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::Problem;
use crate::activity::Activity;

/// How long a new connection may take to come up with its first request.
pub(crate) const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// How long a connection may then stay without the whole head of a next one. Clients that keep
/// connections for longer find some of them closed.
pub(crate) const IDLE: Duration = Duration::from_secs(75);
/// How long a client may take none of what it is sent.
pub(crate) const WRITE: Duration = Duration::from_secs(10);
/// Answers that wait to be sent on one connection: above this no further request of it is begun.
const MAX_UNSENT_BYTES: usize = 64 * 1024;
/// Requests that one connection may have under way at the same time, where it speaks HTTP/2.
const MAX_STREAMS: u32 = 256;
/// Their heads.
const MAX_HEAD_BYTES: u32 = 16 * 1024;
/// Of what is sent to this process over HTTP/2 and not taken by it yet: of one request, and of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A client that speaks HTTP/2 and lets nothing be heard is asked whether it is there, and given up without an answer.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// Paths for operators and probes: they are answered when there are too many connections, too.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// Connections above the limit that may be told so at the same time; more are just closed.
const MAX_TURNED_AWAY: usize = 64;
/// How long one of those may take to ask.
const TURN_AWAY: Duration = Duration::from_secs(1);

/// The connections of a listener, counted.
#[derive(Debug)]
pub struct Connections {
    most: AtomicUsize,
    open: AtomicUsize,
    turned_away: AtomicUsize,
}

impl Connections {
    /// None yet, and so many at most.
    #[must_use]
    pub fn at_most(most: usize) -> Arc<Self> {
        let [open, turned_away] = [AtomicUsize::new(0), AtomicUsize::new(0)];
        Arc::new(Self { most: AtomicUsize::new(most), open, turned_away })
    }

    /// Changes how many there may be; those that are open stay.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// How many there may be.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// How many there are.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Finds a place for one more; none where even turning it away would cost too much.
    pub(crate) fn place(self: &Arc<Self>) -> Option<Place> {
        let place = |served, count: &AtomicUsize, most: usize| {
            let counted = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < most).then_some(count + 1)
            });
            counted.ok().map(|_| Place { connections: Arc::clone(self), served })
        };
        if let Some(served) = place(true, &self.open, self.most()) {
            return Some(served);
        }
        metrics::counter!("seckill_http_connections_refused_total").increment(1);
        place(false, &self.turned_away, MAX_TURNED_AWAY)
    }
}

/// Where a connection is counted, for as long as it lives.
pub(crate) struct Place {
    connections: Arc<Connections>,
    /// Otherwise it is only told that there are too many.
    served: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self { connections, served } = self;
        let count = if *served { &connections.open } else { &connections.turned_away };
        count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What connections are attended with.
pub(crate) struct Attendant {
    http: auto::Builder<TokioExecutor>,
    routes: watch::Receiver<Router>,
    /// From then on every answer is the last one of its connection.
    last_requests: CancellationToken,
    /// From then on connections without a request are closed.
    no_more: CancellationToken,
}

impl Attendant {
    pub(crate) fn new(
        routes: watch::Receiver<Router>,
        last_requests: CancellationToken,
        no_more: CancellationToken,
    ) -> Arc<Self> {
        let mut http = auto::Builder::new(TokioExecutor::new());
        let mut http1 = http.http1();
        http1.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(MAX_UNSENT_BYTES);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(MAX_UNSENT_BYTES)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN);
        Arc::new(Self { http, routes, last_requests, no_more })
    }

    /// Serves one connection to its end.
    pub(crate) async fn attend(self: Arc<Self>, stream: TcpStream, place: Place) {
        let _ = stream.set_nodelay(true); // a small answer would wait 40 ms for an acknowledgement
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE));
        let (activity, served) = (Activity::default(), place.served);
        let service = service_fn(|request: Request<Incoming>| {
            let under_way = activity.ask(request.version());
            let attendant = Arc::clone(&self);
            async move {
                let response = attendant.answer(request.map(Body::new), served).await?;
                Ok::<_, Infallible>(match under_way {
                    Some(under_way) => under_way.until_sent(response),
                    None => response,
                })
            }
        });
        let io = TokioIo::new(Box::pin(stream));
        let mut connection = pin!(self.http.serve_connection(io, service));
        let timeout = if place.served { FIRST_REQUEST } else { TURN_AWAY };
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = activity.never_asked(timeout) => return,
            () = activity.asks_no_more(IDLE) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = self.no_more.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            count_failure(&*error);
        }
    }

    async fn answer(&self, request: Request<Body>, served: bool) -> Result<Response, Infallible> {
        let version = request.version();
        let mut response = if served || PROBES.contains(&request.uri().path()) {
            let routes = self.routes.borrow().clone();
            routes.oneshot(request).await?
        } else {
            too_many().into_response()
        };
        let is_last = !served || self.last_requests.is_cancelled();
        if is_last && version < Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

fn too_many() -> Problem {
    Problem::new(
        ProblemKind::TooManyConnections,
        "Nothing was decided. Try again after the time given.",
    )
}

/// Counts a connection that ended before its request was understood, or its answer taken.
fn count_failure(error: &(dyn Error + 'static)) {
    let reason = match error.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_timeout() => "timeout",
        Some(error) if error.is_parse_too_large() => "head-too-large",
        Some(error) if error.is_parse() => "malformed",
        Some(_) | None => "broken-off",
    };
    metrics::counter!("seckill_http_connections_failed_total", "reason" => reason).increment(1);
}

/// Says what the metrics of this file are.
pub(crate) fn describe() {
    metrics::describe_gauge!("seckill_http_connections", "Connections that are open");
    metrics::describe_gauge!("seckill_http_connections_max", "Connections that may be open");
    metrics::describe_counter!(
        "seckill_http_connections_refused_total",
        "Connections turned away because there were too many"
    );
    metrics::counter!("seckill_http_connections_refused_total").increment(0);
    metrics::describe_counter!(
        "seckill_http_connections_failed_total",
        "Connections that ended in an error: a head that was too slow, too large or malformed, or a client that \
         went away or did not read"
    );
}
