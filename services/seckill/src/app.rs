//! What every serving process shares: its listener, its health, and its end.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::Router;
use axum::middleware::from_fn;
use seckill_edge::{
    Connections, Problem, describe_metrics, not_found, observe, serve, wrong_method,
};
use seckill_proto::ProblemKind;
use seckill_telemetry::{
    Health, Metrics, Part, Traces, on_signal, requests_are_traced, routes, start_tracing,
    trace_requests,
};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::api;
use crate::settings::Settings;

/// Connections that may wait to be taken; the system may allow fewer (net.core.somaxconn).
const BACKLOG: u32 = 8_192;

/// Descriptors that are not for connections: what the process has open, the engines' sockets, and the
/// files of the embedded views.
const DESCRIPTORS_KEPT: usize = 300;
/// Files of the embedded log for each partition: written, and read by its followers.
const DESCRIPTORS_OF_PARTITION: usize = 4;
/// Connections unless the settings or the descriptors say otherwise.
const CONNECTIONS: usize = 16_384;

/// Connections of other nodes.
const NODES: usize = 1_024;

/// A process that answers `/healthz`, `/readyz` and `/metrics`, and everything else once its routes are
/// known.
pub(crate) struct App {
    routes: watch::Sender<Router>,
    pub(crate) metrics: Metrics,
    serving: JoinHandle<()>,
    connections: Arc<Connections>,
    asked: Option<u32>,
    /// Not ready before the routes are there, whatever the engines say.
    starting: Part,
    traces: Option<Traces>,
    pub(crate) bound: SocketAddr,
    pub(crate) health: Health,
    /// Cancelled by Ctrl-C and SIGTERM.
    pub(crate) stop: CancellationToken,
    /// Lets in nobody more.
    pub(crate) close: CancellationToken,
}

impl App {
    /// Begins logging, metrics and signal handling, and takes the port: what is wrong with those
    /// is said before any engine is touched.
    async fn start(settings: &Settings) -> anyhow::Result<Self> {
        start_tracing(&settings.log, settings.log_format)
            .context("log must be in the form of RUST_LOG, such as info or info,rdkafka=warn")?;
        let otlp = settings.otlp.as_deref();
        let traces = otlp.map(|collector| Traces::start(collector, &settings.name)).transpose()?;
        let listen = settings.listen;
        let listener = bind(listen).with_context(|| {
            format!("cannot listen on {listen}; choose another address with --listen")
        })?;
        let bound = listener.local_addr()?;
        let (health, stop) = (Health::default(), on_signal()?);
        // Before the first request: a process of which nothing is known yet would be a ready one.
        let starting = health.part("start");
        let (asked, partitions) = (settings.connections, settings.partitions.unwrap_or_default());
        let connections = Connections::at_most(most_connections(asked, partitions)?);
        let metrics = Metrics::start()?;
        describe_metrics();
        let measured = Arc::clone(&connections);
        metrics.set_when_asked(move || {
            metrics::gauge!("seckill_http_connections").set(measured.open() as f64);
            metrics::gauge!("seckill_http_connections_max").set(measured.most() as f64);
        });
        let (routes, served) = watch::channel(with_layers(
            starting_routes().merge(routes(health.clone(), metrics.clone())),
        ));
        let close = CancellationToken::new();
        let serving = serve(listener, served, Arc::clone(&connections), close.clone());
        let serving = tokio::spawn(serving);
        Ok(Self {
            routes,
            metrics,
            serving,
            connections,
            asked,
            starting,
            traces,
            bound,
            health,
            stop,
            close,
        })
    }

    /// Starts, and opens what the roles need. Where that fails, or is stopped, whoever is connected gets
    /// an answer before the process ends.
    pub(crate) async fn start_with<T>(
        settings: &Settings,
        open: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<(Self, T)> {
        let app = Self::start(settings).await?;
        match open(&app).await {
            Ok(opened) => Ok((app, opened)),
            Err(error) => Err(app.give_up(error).await),
        }
    }

    /// Ends because of an error.
    pub(crate) async fn give_up(self, error: anyhow::Error) -> anyhow::Error {
        self.stop.cancel();
        self.close.cancel();
        let _ = self.serving.await; // what went wrong first is told
        error
    }

    /// Leaves descriptors to an embedded log of so many partitions.
    pub(crate) fn leave_descriptors(&self, partitions: u32) -> anyhow::Result<()> {
        self.connections.set_most(most_connections(self.asked, partitions)?);
        Ok(())
    }

    /// Serves until told to stop and until open requests are answered; or until an engine has failed,
    /// which only a new start mends. What is given up before the last request is let in is up to `leave`.
    pub(crate) async fn serve_on(
        self,
        failed: impl Future<Output = anyhow::Error>,
        leave: impl Future<Output = ()>,
        routes_of_roles: OpenApiRouter,
        what: &str,
    ) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        let mut serving = std::pin::pin!(self.serve_and_leave(leave, routes_of_roles, what));
        tokio::select! {
            served = &mut serving => served,
            failed = failed => {
                stop.cancel();
                serving.await.and(Err(failed))
            }
        }
    }

    /// Serves until told to stop and until open requests are answered.
    pub(crate) async fn serve(
        self,
        routes_of_roles: OpenApiRouter,
        what: &str,
    ) -> anyhow::Result<()> {
        self.serve_and_leave(async {}, routes_of_roles, what).await
    }

    async fn serve_and_leave(
        mut self,
        leave: impl Future<Output = ()>,
        routes_of_roles: OpenApiRouter,
        what: &str,
    ) -> anyhow::Result<()> {
        let all = routes_of_roles.merge(routes(self.health.clone(), self.metrics.clone()));
        let app = with_layers(api::described(all).fallback(not_found));
        drop(self.routes.send_replace(app));
        drop(self.starting);
        let announced =
            announce(self.health.clone(), self.bound, what.to_owned(), self.stop.clone());
        tokio::spawn(announced);
        let stopping = async {
            self.stop.cancelled().await;
            let stopping = self.health.part("stop");
            stopping.not_ready("told to stop");
            leave.await;
            self.close.cancel();
            stopping
        };
        let served = tokio::select! {
            served = &mut self.serving => served,
            _stopping = stopping => self.serving.await,
        };
        let served = served.context("the listener failed");
        if let Some(traces) = self.traces {
            traces.stop().await;
        }
        served
    }
}

/// Where other nodes send commands: never on the listener that shoppers reach.
pub(crate) struct Internal {
    listener: Option<TcpListener>,
    pub(crate) bound: Option<SocketAddr>,
}

impl Internal {
    pub(crate) fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let listener = settings.internal_listen.map(|listen| {
            bind(listen).with_context(|| {
                format!("cannot listen on {listen}; choose another address with --internal-listen")
            })
        });
        let listener = listener.transpose()?;
        let bound = listener.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok(Self { listener, bound })
    }

    /// Serves until `close`, and until open requests are answered.
    pub(crate) fn serve(self, routes: Router, close: CancellationToken) -> JoinHandle<()> {
        let routes = routes.fallback(not_found);
        let routes = traced(routes).layer(CatchPanicLayer::new());
        let (_, routes) = watch::channel(routes);
        tokio::spawn(async move {
            if let Some(listener) = self.listener {
                serve(listener, routes, Connections::at_most(NODES), close).await;
            }
        })
    }
}

/// Every layer costs a request as much as a small route: none is there for nothing.
fn with_layers(routes: Router) -> Router {
    traced(routes.method_not_allowed_fallback(wrong_method)).layer(from_fn(observe))
}

fn traced(routes: Router) -> Router {
    if requests_are_traced() { routes.layer(from_fn(trace_requests)) } else { routes }
}

/// What is answered until the engines are open.
fn starting_routes() -> Router {
    let problem = || async {
        Problem::new(ProblemKind::Starting, "Nothing was decided. /readyz says what it is doing.")
    };
    Router::new().fallback(problem)
}

/// As many as asked for, and at most what leaves the engines their descriptors.
fn most_connections(asked: Option<u32>, partitions: u32) -> anyhow::Result<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let kept = DESCRIPTORS_KEPT + DESCRIPTORS_OF_PARTITION * partitions as usize;
    let possible = limit.saturating_sub(kept);
    let least = asked.map_or(1, |asked| asked as usize);
    if least > possible {
        bail!(
            "connections: {least} of them and the engines need {} open files, and the limit is {limit}: \
             raise it (ulimit -n), or ask for fewer",
            kept + least
        );
    }
    Ok(asked.map_or(CONNECTIONS.min(possible), |asked| asked as usize))
}

/// A crowd connects in the same moment: a short backlog would make some of it wait a second for
/// their next try.
fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

/// Says once on standard output that everything works.
async fn announce(health: Health, bound: SocketAddr, what: String, stop: CancellationToken) {
    let ready = async {
        while !health.not_ready().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = ready => {
            // Nobody may be reading; the system works all the same.
            let _ = writeln!(std::io::stdout(), "seckill is ready at http://{bound} ({what})");
        }
    }
}
