//! Each role alone in a process, on Kafka and CQL.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use seckill_command::{Clock, Dispatcher, Node, NodeConfig};
use seckill_projector::Projector;
use seckill_views::Views;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::engines;
use crate::settings::Settings;

/// How long a command node waits for views that it can do without.
const VIEWS_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn command(mut settings: Settings) -> anyhow::Result<()> {
    settings.cql.iter_mut().for_each(|cql| cql.connect_within = VIEWS_TIMEOUT);
    let app = App::start(&settings).await?;
    let log = engines::open(&app, "log", engines::log(&settings)).await?;
    // The views only testify to how far the log once went; a node can do without.
    let views = match settings.cql {
        Some(_) => Some(engines::views(&settings, log.partitions()).await),
        None => None,
    };
    let views = views.transpose().unwrap_or_else(|error| {
        tracing::warn!(%error, "deciding without the views' word on the log");
        None
    });
    let config = NodeConfig {
        name: settings.name.clone(),
        endpoint: settings.endpoint(app.bound),
        clock: Clock::system(),
        views: views.as_ref().map(engines::witness),
        room: None,
        archive: views.as_ref().map(|views| engines::archive(views, settings.retain)),
    };
    let stop = CancellationToken::new();
    let node = Node::start(log, config, app.health.clone(), stop.clone()).await?;
    let dispatcher = node.dispatcher();
    let routes = seckill_command::routes(dispatcher.clone())
        .merge(seckill_command::internal_routes(dispatcher));
    let served = app.serve(routes, "command node").await;
    stop.cancel();
    node.stopped().await;
    served
}

pub(crate) async fn admin(settings: Settings) -> anyhow::Result<()> {
    let app = App::start(&settings).await?;
    let log = engines::open(&app, "log", engines::log(&settings)).await?;
    let dispatcher = Dispatcher::forwarding(log);
    app.serve(seckill_admin::routes(dispatcher), "admin").await
}

pub(crate) async fn projector(settings: Settings) -> anyhow::Result<()> {
    let app = App::start(&settings).await?;
    let log = engines::open(&app, "log", engines::log(&settings)).await?;
    let views = engines::open(&app, "views", engines::views(&settings, log.partitions())).await?;
    let stop = CancellationToken::new();
    let projector = Projector::start(log, views, app.health.clone(), stop.clone()).await?;
    let served = app.serve(Router::new(), "projector").await;
    stop.cancel();
    projector.stopped().await;
    served
}

pub(crate) async fn query(settings: Settings) -> anyhow::Result<()> {
    let app = App::start(&settings).await?;
    // The log only tells how many partitions there are; nothing else of it is read.
    let partitions = engines::open(&app, "log", engines::log(&settings)).await?.partitions();
    let views = engines::open(&app, "views", engines::views(&settings, partitions)).await?;
    let watch = tokio::spawn(watch_views(Arc::clone(&views), app.health.part("query/views")));
    let served = app.serve(seckill_query::routes(views, partitions), "query gateway").await;
    watch.abort();
    served
}

/// A gateway is ready while its views answer.
async fn watch_views(views: Arc<dyn Views>, part: seckill_telemetry::Part) {
    loop {
        match views.check().await {
            Ok(()) => part.ready(),
            Err(error) => {
                part.not_ready(error.to_string());
            }
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}
