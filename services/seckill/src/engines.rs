//! Opens the engines that the settings name.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use seckill_command::{Archive, AskViews, Shown, ViewsWitness};
use seckill_log::embedded::EmbeddedLog;
use seckill_log::kafka::KafkaLog;
use seckill_log::{Log, LogError};
use seckill_views::{CqlConfig, Views, ViewsError};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::app::App;
use crate::settings::Settings;

/// Before views that were not reached are tried again.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);

/// Waits for an engine to open, unless told to stop meanwhile; /readyz tells of the waiting.
pub(crate) async fn open<T>(
    app: &App,
    name: &str,
    engine: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let part = app.health.part(name);
    part.not_ready("being opened");
    tokio::select! {
        () = app.stop.cancelled() => bail!("told to stop before it was ready"),
        opened = engine => opened,
    }
}

/// Waits for an engine of others to be there, unless told to stop meanwhile: nothing is made in their
/// place.
pub(crate) async fn wait_for<T>(
    app: &App,
    name: &str,
    open: impl AsyncFn() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let part = app.health.part(name);
    part.not_ready("being opened");
    loop {
        let opened = tokio::select! {
            () = app.stop.cancelled() => bail!("told to stop before it was ready"),
            opened = open() => opened,
        };
        let Err(error) = opened else { return opened };
        if !may_come(&error) {
            return Err(error);
        }
        if part.not_ready(format!("{error:#}")) {
            tracing::warn!(error = format!("{error:#}"), "waiting for it");
        }
        tokio::time::sleep(CONNECT_AGAIN).await;
    }
}

/// Whether what is not there may be there soon. A database may not answer yet; tables that are being made are
/// listed before they can be used.
fn may_come(error: &anyhow::Error) -> bool {
    let being_made = matches!(
        error.downcast_ref(),
        Some(ViewsError::Setup { .. } | ViewsError::Failed { .. } | ViewsError::Unavailable { .. })
    );
    being_made || is_absent(error)
}

/// Whether there is no such log, or no such views.
pub(crate) fn is_absent(error: &anyhow::Error) -> bool {
    let log = error.downcast_ref::<LogError>().is_some_and(LogError::is_absent);
    log || matches!(error.downcast_ref::<ViewsError>(), Some(ViewsError::Absent { .. }))
}

/// The log that a node writes to, made where it does not exist.
pub(crate) async fn log(settings: &Settings) -> anyhow::Result<Arc<dyn Log>> {
    if let Some(config) = &settings.kafka {
        return Ok(Arc::new(KafkaLog::connect(config.clone()).await?));
    }
    let (directory, views) = (settings.data.join("log"), settings.data.join("views"));
    if !directory.exists() && views.exists() && !settings.data.join("log.upgrading").exists() {
        bail!(
            "{} is gone, and {} shows what was sold from it: nothing is made in its place. Put the log back \
             from a copy; to begin anew without it, move the views away",
            directory.display(),
            views.display()
        );
    }
    create(&settings.data)?;
    let partitions = settings.partitions;
    let open = tokio::task::spawn_blocking(move || EmbeddedLog::open(&directory, partitions));
    Ok(Arc::new(open.await??))
}

/// The log for who does not write it: nothing is made, and nothing is changed.
pub(crate) async fn log_to_read(settings: &Settings) -> anyhow::Result<Arc<dyn Log>> {
    if let Some(config) = &settings.kafka {
        return Ok(Arc::new(KafkaLog::open(config.clone()).await?));
    }
    let directory = settings.data.join("log");
    let open = tokio::task::spawn_blocking(move || EmbeddedLog::open_read_only(&directory));
    Ok(Arc::new(open.await??))
}

/// Opens the views that the settings name. The engine's own threads run where this runs.
pub(crate) fn views_of(
    settings: &Settings,
    partitions: u32,
) -> impl Future<Output = anyhow::Result<Views>> + Send + 'static {
    let (cql, directory) = (settings.cql.clone(), settings.data.join("views"));
    async move {
        if let Some(config) = &cql {
            return Ok(Box::pin(Views::create_in_cql(config, partitions)).await?);
        }
        create(&directory)?;
        open_or_make_again(&directory, partitions).await
    }
}

/// Views in a database that somebody else has made.
pub(crate) async fn existing_views(config: &CqlConfig, partitions: u32) -> anyhow::Result<Views> {
    Ok(Box::pin(Views::open_in_cql(config, partitions)).await?)
}

/// Views that cannot be opened are put aside and made again from the log: they hold nothing else.
async fn open_or_make_again(directory: &Path, partitions: u32) -> anyhow::Result<Views> {
    let error = match Views::open_directory(directory, partitions).await {
        Ok(views) => return Ok(views),
        Err(
            error @ (ViewsError::Locked { .. }
            | ViewsError::Unavailable { .. }
            | ViewsError::OtherPartitions { .. }),
        ) => return Err(error.into()),
        Err(error) => anyhow::Error::from(error),
    };
    let aside = put_aside(directory, "damaged")?;
    let (error, kept) = (format!("{error:#}"), aside.display());
    tracing::error!(error, %kept, "the views cannot be opened: put aside, and made again from the log");
    create(directory)?;
    Ok(Views::open_directory(directory, partitions).await?)
}

/// Renames a directory to one beside it that says why.
pub(crate) fn put_aside(directory: &Path, why: &str) -> anyhow::Result<PathBuf> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut aside = (1..).map(|number| directory.with_file_name(format!("{name}.{why}-{number}")));
    let aside = aside.find(|path| !path.exists()).context("no name is left")?;
    std::fs::rename(directory, &aside)
        .with_context(|| format!("{} cannot be put aside", directory.display()))?;
    Ok(aside)
}

/// The views for a tool that only reads them. The embedded store changes its files when it is opened,
/// so a copy is opened; it is deleted with the returned guard.
pub(crate) async fn views_to_read(
    settings: &Settings,
    partitions: u32,
) -> anyhow::Result<(Views, Option<TempDir>)> {
    if let Some(config) = &settings.cql {
        return Ok((existing_views(config, partitions).await?, None));
    }
    let (directory, data) = (settings.data.join("views"), settings.data.clone());
    if !directory.exists() {
        return Err(ViewsError::Absent { place: directory.display().to_string() }.into());
    }
    let from = directory.clone();
    let copying = tokio::task::spawn_blocking(move || {
        let copy = tempfile::Builder::new().prefix("verify-").tempdir_in(&data)?;
        copy_files(&from, copy.path())
            .with_context(|| format!("{} cannot be copied", from.display()))?;
        Ok::<_, anyhow::Error>(copy)
    });
    let copy = copying.await??;
    let views = Views::open_directory(copy.path(), partitions).await;
    let views = views.with_context(|| {
        format!("the views in {} cannot be opened; `up` makes them again", directory.display())
    });
    Ok((views?, Some(copy)))
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy_files(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The views, once they are there; until then why not.
pub(crate) type GetViews = Arc<dyn Fn() -> Result<Views, String> + Send + Sync>;

/// Views that are there.
pub(crate) fn present(views: &Views) -> GetViews {
    let views = views.clone();
    Arc::new(move || Ok(views.clone()))
}

/// Views that may come later than the process that asks them: how to get at them, and what tries to
/// reach them until it does. That ends with an error only where they are of another log.
pub(crate) fn late(
    settings: &Settings,
    partitions: u32,
) -> (GetViews, impl Future<Output = anyhow::Error> + Send + 'static) {
    let (found, views) = watch::channel(None::<Views>);
    let get = move || views.borrow().clone().ok_or_else(|| "no views were reached yet".to_owned());
    let (config, mut said) = (settings.cql.clone(), String::new());
    let reach = async move {
        let Some(config) = config else { return std::future::pending().await };
        loop {
            match Box::pin(Views::create_in_cql(&config, partitions)).await {
                Ok(views) => {
                    found.send_replace(Some(views));
                    return std::future::pending().await;
                }
                Err(error @ ViewsError::OtherPartitions { .. }) => return error.into(),
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    if error != said {
                        tracing::warn!(error, "deciding without the views");
                        said = error;
                    }
                    tokio::time::sleep(CONNECT_AGAIN).await;
                }
            }
        }
    };
    (Arc::new(get), reach)
}

/// The views as a witness of how far the log once went.
pub(crate) fn witness(views: &GetViews) -> ViewsWitness {
    let views = Arc::clone(views);
    Arc::new(move |partition| {
        let views = views();
        Box::pin(async move {
            let views = views?;
            let progress = views.progress(partition).await.map_err(|error| error.to_string())?;
            Ok(progress.map(|progress| progress.checkpoint()))
        })
    })
}

/// Where the coupons of promotions are found that were over for `retain`.
pub(crate) fn archive(views: &GetViews, retain: Duration) -> Archive {
    let views = views.clone();
    let ask: AskViews = Arc::new(move |partition, promotion_id, customer_id| {
        let views = views();
        Box::pin(async move {
            let views = views?;
            let shown = views.coupon_as_far_as(partition, &promotion_id, &customer_id).await;
            let (row, next_offset) = shown.map_err(|error| error.to_string())?;
            let coupon = row.map(|row| (row.serial, row.grabbed_at.as_millisecond()));
            Ok(Shown { coupon, next_offset })
        })
    });
    Archive { retain, ask }
}

/// Words for where the engines are.
pub(crate) fn describe(settings: &Settings) -> String {
    let embedded = |part: &str| format!("embedded in {}", settings.data.join(part).display());
    let log = match &settings.kafka {
        Some(kafka) => format!("Kafka at {}", kafka.brokers),
        None => embedded("log"),
    };
    let views = match &settings.cql {
        Some(cql) => format!("CQL at {}", cql.contact_points.join(",")),
        None => embedded("views"),
    };
    format!("log: {log}; views: {views}")
}

/// Makes a directory and those it is in, durably: what is written there must not be gone with it.
pub(crate) fn create(directory: &Path) -> anyhow::Result<()> {
    let create = || {
        let new: Vec<&Path> = directory.ancestors().take_while(|path| !path.exists()).collect();
        std::fs::create_dir_all(directory)?;
        for path in new.iter().filter(|path| !path.as_os_str().is_empty()) {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok::<_, std::io::Error>(())
    };
    create().with_context(|| format!("data: {} cannot be created", directory.display()))
}
