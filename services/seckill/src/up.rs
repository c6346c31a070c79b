//! `seckill up`: everything in one process.

use std::sync::Arc;

use anyhow::Context;
use seckill_command::{Clock, Node, NodeConfig};
use seckill_projector::Projector;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::engines;
use crate::settings::Settings;

/// Ends in the order of the data: first no more requests, then no more decisions, then the views
/// get what is left.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let app = App::start(&settings).await?;
    let log = engines::or_stop(&app.stop, engines::log(&settings)).await?;
    let partitions = log.partitions();
    let views = engines::or_stop(&app.stop, engines::views(&settings, partitions)).await?;
    let (stop_node, stop_projector) = (CancellationToken::new(), CancellationToken::new());
    let config = NodeConfig {
        name: settings.name.clone(),
        endpoint: settings.endpoint(app.bound),
        clock: Clock::system(),
        views: Some(engines::witness(&views)),
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
    let served = app.serve_on(&*log, routes, &engines::describe(&settings)).await;
    stop_node.cancel();
    node.stopped().await;
    stop_projector.cancel();
    projector.stopped().await;
    tracing::info!("stopped");
    served
}
