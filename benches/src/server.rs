//! The HTTP server under test, with the layers that `seckill` serves its routes under. The no-op
//! route stands outside of them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::middleware::from_fn;
use seckill_command::Dispatcher;
use seckill_edge::{Connections, not_found, observe, serve, wrong_method};
use seckill_load::{Ask, Fleet};
use seckill_telemetry::{Health, Metrics};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::noop;

const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
const BACKLOG: u32 = 8_192;
const MAX_CONNECTIONS: usize = 10_000;

pub(crate) struct Server {
    address: SocketAddr,
    noop: noop::Answer,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(dispatcher: Dispatcher) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let listener = socket.listen(BACKLOG)?;
        let (address, noop) = (listener.local_addr()?, noop::Answer::default());
        let routes = routes(dispatcher, Metrics::start()?).merge(noop::routes(noop.clone()));
        let stop = CancellationToken::new();
        let (_, routes) = watch::channel(routes);
        let connections = Connections::at_most(MAX_CONNECTIONS);
        let task = tokio::spawn(serve(listener, routes, connections, stop.clone()));
        Ok(Self { address, noop, stop, task })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has the no-op answer with a body of this size.
    pub(crate) fn noop_answers(&self, body: Vec<u8>) {
        let _ = self.noop.set(Bytes::from(body)); // the first one stays
    }

    /// Does what a monitoring system does now and then, so that samples do not pile up.
    pub(crate) async fn scrape(&self) -> anyhow::Result<()> {
        let fleet = Fleet::new(&[self.url()], SCRAPE_TIMEOUT)?;
        let scraped = fleet.send(&Ask::get("/metrics")?).await;
        scraped.map(drop).map_err(|error| anyhow::anyhow!("/metrics: {error:?}"))
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await.context("the server ended badly")
    }
}

pub(crate) fn grab_path(promotion_id: &str) -> String {
    format!("/v1/promotions/{promotion_id}/grabs")
}

fn routes(dispatcher: Dispatcher, metrics: Metrics) -> Router {
    let described = seckill_command::routes(dispatcher, CancellationToken::new())
        .merge(seckill_telemetry::routes(Health::default(), metrics));
    Router::from(described)
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(observe))
}
