//! `seckill up`: everything in one process.

use std::sync::Arc;

use anyhow::Context;
use seckill_command::{Clock, Node, NodeConfig};
use seckill_projector::Projector;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::settings::Settings;
use crate::{disk, engines};

/// Ends in the order of the data: first no more requests, then no more decisions, then the views
/// get what is left.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let app = App::start(&settings).await?;
    let log = engines::open(&app, "log", engines::log(&settings)).await?;
    let partitions = log.partitions();
    let mut room = None;
    if settings.kafka.is_none() {
        app.leave_descriptors(partitions)?;
        app.metrics.set_when_asked(disk::measure(settings.data.clone()));
        room = Some(disk::follow(&settings)?);
    }
    let views = engines::open(&app, "views", engines::views(&settings, partitions)).await?;
    let (stop_node, stop_projector) = (CancellationToken::new(), CancellationToken::new());
    let config = NodeConfig {
        name: settings.name.clone(),
        endpoint: settings.endpoint(app.bound),
        clock: Clock::system(),
        views: Some(engines::witness(&views)),
        room,
        archive: Some(engines::archive(&views, settings.retain)),
    };
    let node = Node::start(Arc::clone(&log), config, app.health.clone(), stop_node.clone())
        .await
        .context("the command node cannot start")?;
    let projector = Projector::start(
        Arc::clone(&log),
        Arc::clone(&views),
        app.health.clone(),
        stop_projector.clone(),
    )
    .await
    .context("the projector cannot start")?;
    let dispatcher = node.dispatcher();
    let routes = seckill_command::routes(dispatcher.clone())
        .merge(seckill_command::internal_routes(dispatcher.clone()))
        .merge(seckill_admin::routes(dispatcher))
        .merge(seckill_query::routes(views, partitions));
    let failed = async { log.failed().await.into() };
    let served = app.serve_on(failed, routes, &engines::describe(&settings)).await;
    stop_node.cancel();
    node.stopped().await;
    stop_projector.cancel();
    projector.stopped().await;
    tracing::info!("stopped");
    served
}
