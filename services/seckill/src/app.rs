//! What every serving process shares: its listener, its health, and its end.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::middleware::from_fn;
use seckill_edge::{describe_metrics, not_found, observe, serve, wrong_method};
use seckill_log::Log;
use seckill_telemetry::{Health, Metrics, on_signal, routes, start_tracing};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::settings::Settings;

/// Connections that may wait to be taken; the system may allow fewer (net.core.somaxconn).
const BACKLOG: u32 = 8_192;

/// A process that is about to serve.
pub(crate) struct App {
    listener: TcpListener,
    metrics: Metrics,
    pub(crate) bound: SocketAddr,
    pub(crate) health: Health,
    /// Cancelled by Ctrl-C and SIGTERM.
    pub(crate) stop: CancellationToken,
}

impl App {
    /// Begins logging, metrics and signal handling, and takes the port: what is wrong with those
    /// is said before any engine is touched.
    pub(crate) async fn start(settings: &Settings) -> anyhow::Result<Self> {
        start_tracing(&settings.log, settings.log_format)
            .context("log must be in the form of RUST_LOG, such as info or info,rdkafka=warn")?;
        let listen = settings.listen;
        let listener = bind(listen).with_context(|| {
            format!("cannot listen on {listen}; choose another address with --listen")
        })?;
        let bound = listener.local_addr()?;
        let (health, stop) = (Health::default(), on_signal()?);
        let metrics = Metrics::start()?;
        describe_metrics();
        Ok(Self { listener, metrics, bound, health, stop })
    }

    /// Serves until told to stop and until open requests are answered; or until the log has failed,
    /// which only a new start mends.
    pub(crate) async fn serve_on(
        self,
        log: &dyn Log,
        routes_of_roles: Router,
        what: &str,
    ) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        let mut serving = std::pin::pin!(self.serve(routes_of_roles, what));
        tokio::select! {
            served = &mut serving => served,
            failed = log.failed() => {
                stop.cancel();
                serving.await.and(Err(failed.into()))
            }
        }
    }

    /// Serves until told to stop and until open requests are answered.
    pub(crate) async fn serve(self, routes_of_roles: Router, what: &str) -> anyhow::Result<()> {
        let app = routes_of_roles
            .merge(routes(self.health.clone(), self.metrics))
            .fallback(not_found)
            .method_not_allowed_fallback(wrong_method)
            .layer(from_fn(observe))
            .layer(CatchPanicLayer::new());
        tokio::spawn(announce(self.health, self.bound, what.to_owned(), self.stop.clone()));
        serve(self.listener, app, self.stop).await.context("the listener failed")
    }
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
