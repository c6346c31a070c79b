//! `seckill up`: everything in one process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use seckill_command::{Node, NodeConfig};
use seckill_feed::Shop;
use seckill_log::Log;
use seckill_projector::Projector;
use seckill_views::Views;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Internal};
use crate::background::Background;
use crate::history::OfLog;
use crate::settings::Settings;
use crate::{disk, engines, ready, roles, verify};

/// All of it, running.
struct System {
    log: Arc<dyn Log>,
    views: Views,
    node: Node,
    internal: Internal,
    projector: Projector,
    background: Background,
    stop_node: CancellationToken,
    stop_projector: CancellationToken,
}

/// Ends in the order of the data: first other nodes take over, if there are any, then no more requests, then no more decisions, then the views
/// get what is left.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let open = async |app: &App| System::open(app, &settings).await;
    let (app, system) = App::start_with(&settings, open).await?;
    let System { log, views, node, projector, background, internal, .. } = system;
    let watching = background.run(ready::watch(views.clone(), app.health.part("query/views")));
    let dispatcher = node.dispatcher();
    let answered =
        seckill_command::internal_routes(dispatcher.clone(), node.neighbours(), app.close.clone());
    let internal = internal.serve(answered, app.close.clone());
    let rebuilds = seckill_projector::routes(Arc::clone(&log), views.clone(), verify::claims(&log));
    let replays = seckill_replay::routes(Arc::clone(&log), app.stop.clone());
    let readers = seckill_query::routes(
        views,
        log.partitions(),
        seckill_original::reader_routes(),
        Arc::new(OfLog(Arc::clone(&log))),
        app.stop.clone(),
    );
    let shops = seckill_original::shop_routes(Shop::of(&*log));
    let routes = seckill_command::routes(dispatcher.clone(), app.close.clone())
        .merge(seckill_admin::routes(dispatcher.clone()))
        .merge(seckill_original::shopper_routes(dispatcher.clone()))
        .merge(seckill_original::operator_routes(dispatcher))
        .merge(background.answer(readers.merge(rebuilds).merge(replays).merge(shops)));
    let routes = routes.merge(seckill_pages::routes().into());
    let failed = async { log.failed().await.into() };
    let what = engines::describe(&settings);
    let served = tokio::select! {
        served = app.serve_on(failed, node.hand_over(), routes, &what) => served,
        () = watching => unreachable!("nobody ends it"),
    };
    let _ = internal.await;
    system.stop_node.cancel();
    node.stopped().await;
    system.stop_projector.cancel();
    projector.stopped().await;
    tracing::info!("stopped");
    served
}

impl System {
    async fn open(app: &App, settings: &Settings) -> anyhow::Result<Self> {
        let background = Background::start().context("the threads of readers cannot be started")?;
        let log = engines::open(app, "log", engines::log(settings)).await?;
        let partitions = log.partitions();
        let mut room = None;
        if settings.kafka.is_none() {
            app.leave_descriptors(partitions)?;
            app.metrics.set_when_asked(disk::measure(settings.data.clone(), settings.disk_reserve));
            room = Some(disk::follow(settings)?);
        }
        let opening = background.run(engines::views_of(settings, partitions));
        let views = engines::open(app, "views", opening).await?;
        let (stop_node, stop_projector) = (CancellationToken::new(), CancellationToken::new());
        let get_views = engines::present(&views);
        let internal = Internal::bind(settings)?;
        let config = NodeConfig {
            views: Some(engines::witness(&get_views)),
            room,
            archive: Some(engines::archive(&get_views, settings.retain)),
            url: settings.url(app.bound),
            hand_over: if settings.kafka.is_some() { roles::HAND_OVER } else { Duration::ZERO },
            standbys: settings.standbys,
            ..NodeConfig::new(
                settings.name.clone(),
                settings.endpoint(internal.bound.unwrap_or(app.bound)),
            )
        };
        let starting = Node::start(Arc::clone(&log), config, app.health.clone(), stop_node.clone());
        let node = async { starting.await.context("the command node cannot start") };
        let node = engines::open(app, "node", node).await?;
        let (of_log, of_views) = (Arc::clone(&log), views.clone());
        let (health, stop) = (app.health.clone(), stop_projector.clone());
        let starting = Projector::start(of_log, of_views, health, stop);
        let projector = background.run(starting).await.context("the projector cannot start")?;
        Ok(Self { log, views, node, internal, projector, background, stop_node, stop_projector })
    }
}
