//! Each role alone in a process, on Kafka and CQL.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use seckill_command::{Dispatcher, Node, NodeConfig};
use seckill_feed::Shop;
use seckill_log::Log;
use seckill_projector::Projector;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Internal};
use crate::background::Background;
use crate::engines::GetViews;
use crate::history::OfLog;
use crate::settings::Settings;
use crate::{engines, ready, verify};

/// For how long partitions that are to go to another node are served on.
pub(crate) const HAND_OVER: Duration = Duration::from_secs(2);
/// How long one try of a command node or a projector to reach the views takes.
const VIEWS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it waits for them before it decides without.
const VIEWS_FIRST: Duration = Duration::from_secs(6);

pub(crate) async fn command(mut settings: Settings) -> anyhow::Result<()> {
    settings.cql.iter_mut().for_each(|cql| cql.connect_within = VIEWS_TIMEOUT);
    let open = async |app: &App| Opened::open(app, &settings).await;
    let (app, Opened { node, stop, internal, reaching }) = App::start_with(&settings, open).await?;
    let dispatcher = node.dispatcher();
    let answered =
        seckill_command::internal_routes(dispatcher.clone(), node.neighbours(), app.close.clone());
    let internal = internal.serve(answered, app.close.clone());
    let routes = seckill_command::routes(dispatcher.clone(), app.close.clone())
        .merge(seckill_original::shopper_routes(dispatcher));
    let served = app.serve_on(reaching, node.hand_over(), routes, "command node").await;
    let _ = internal.await;
    stop.cancel();
    node.stopped().await;
    served
}

/// A command node that looks after its partitions.
struct Opened {
    node: Node,
    stop: CancellationToken,
    internal: Internal,
    /// Goes on reaching for the views; ends where that cannot be.
    reaching: Pin<Box<dyn Future<Output = anyhow::Error> + Send>>,
}

impl Opened {
    async fn open(app: &App, settings: &Settings) -> anyhow::Result<Self> {
        let internal = Internal::bind(settings)?;
        let log = engines::open(app, "log", engines::log(settings)).await?;
        // They testify to how far the log once went, and know who holds what was archived: a node decides
        // without them, as long as they cannot be reached.
        let (views, reaching) = engines::late(settings, log.partitions());
        let mut reaching: Pin<Box<dyn Future<Output = anyhow::Error> + Send>> = Box::pin(reaching);
        if settings.cql.is_some() {
            views_first(app, &views, reaching.as_mut()).await?;
        }
        let config = NodeConfig {
            views: settings.cql.as_ref().map(|_| engines::witness(&views)),
            archive: settings.cql.as_ref().map(|_| engines::archive(&views, settings.retain)),
            url: settings.url(app.bound),
            hand_over: HAND_OVER,
            standbys: settings.standbys,
            ..NodeConfig::new(
                settings.name.clone(),
                settings.endpoint(internal.bound.unwrap_or(app.bound)),
            )
        };
        let stop = CancellationToken::new();
        let starting = Node::start(log, config, app.health.clone(), stop.clone());
        let node = engines::open(app, "node", async { Ok(starting.await?) }).await?;
        Ok(Self { node, stop, internal, reaching })
    }
}

/// Waits a while until the views are reached.
async fn views_first(
    app: &App,
    views: &GetViews,
    reaching: impl Future<Output = anyhow::Error>,
) -> anyhow::Result<()> {
    let reached = async {
        while views().is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = reached => Ok(()),
        () = app.stop.cancelled() => Ok(()),
        () = tokio::time::sleep(VIEWS_FIRST) => Ok(()),
        error = reaching => Err(error),
    }
}

pub(crate) async fn admin(settings: Settings) -> anyhow::Result<()> {
    let (app, log) =
        App::start_with(&settings, async |app: &App| log(app, &settings).await).await?;
    let dispatcher = Dispatcher::forwarding(log);
    let routes = seckill_admin::routes(dispatcher.clone())
        .merge(seckill_original::operator_routes(dispatcher));
    app.serve(routes, "admin").await
}

pub(crate) async fn projector(mut settings: Settings) -> anyhow::Result<()> {
    settings.cql.iter_mut().for_each(|cql| cql.connect_within = VIEWS_TIMEOUT);
    let stop = CancellationToken::new();
    let open = async |app: &App| {
        let log = log(app, &settings).await?;
        // Another projector may be making the tables at the same time.
        let open = async || engines::views_of(&settings, log.partitions()).await;
        let views = engines::wait_for(app, "views", open).await?;
        let routes =
            seckill_projector::routes(Arc::clone(&log), views.clone(), verify::claims(&log))
                .merge(seckill_replay::routes(Arc::clone(&log), app.stop.clone()));
        let starting = Projector::start(log, views, app.health.clone(), stop.clone());
        Ok((starting.await?, routes))
    };
    let (app, (projector, routes)) = App::start_with(&settings, open).await?;
    let served = app.serve(routes, "projector").await;
    stop.cancel();
    projector.stopped().await;
    served
}

pub(crate) async fn query(settings: Settings) -> anyhow::Result<()> {
    let background = Background::start()?;
    let config = settings.cql.clone().context("cql is not set")?;
    let open = async |app: &App| {
        // The log tells how many partitions there are, and how things were; nothing else of it is read.
        let log = log(app, &settings).await?;
        let partitions = log.partitions();
        let open = async || {
            let config = config.clone();
            let opening = async move { engines::existing_views(&config, partitions).await };
            background.run(opening).await
        };
        Ok((engines::wait_for(app, "views", open).await?, log))
    };
    let (app, (views, log)) = App::start_with(&settings, open).await?;
    let watching = background.run(ready::watch(views.clone(), app.health.part("query/views")));
    let shops = seckill_original::shop_routes(Shop::of(&*log));
    let readers = seckill_query::routes(
        views,
        log.partitions(),
        seckill_original::reader_routes(),
        Arc::new(OfLog(Arc::clone(&log))),
        app.stop.clone(),
    );
    let routes = background.answer(readers.merge(shops));
    tokio::select! {
        served = app.serve(routes, "query gateway") => served,
        () = watching => unreachable!("nobody ends it"),
    }
}

/// The log, once a command node has made it.
async fn log(app: &App, settings: &Settings) -> anyhow::Result<Arc<dyn Log>> {
    engines::wait_for(app, "log", async || engines::log_to_read(settings).await).await
}
