//! What it costs to make views of the log, beside the least that it could cost.

mod fresh;
mod insert;
mod raw;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use seckill_log::Log;
use seckill_projector::Projector;
use seckill_replay::{Replay, Selection};
use seckill_telemetry::Health;
use seckill_views::{CqlConfig, Views};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::args::ViewsArgs;
use crate::contest::LOG_FILTER;
use crate::cql;
use crate::embedded::EmbeddedEngine;
use crate::engine::Engine;
use crate::fill;
use crate::kafka::KafkaEngine;
use crate::lap::{Lap, in_turns};
use crate::machine::{Processes, listener, quiet};
use crate::report::{Contest, Ratio, Report, Standing, Target};

const PARTITIONS: u32 = 4;
/// Tables that have a row of every coupon.
const ROWS_OF_A_COUPON: u64 = 3;
const LOOK: Duration = Duration::from_millis(5);
const TIMEOUT: Duration = Duration::from_secs(900);

/// What is measured, each in a turn, and what is counted.
const TURNS: [(&str, &str); 4] = [
    ("raw consumer", "records"),
    ("replay", "records"),
    ("raw inserts", "rows"),
    ("projector", "rows"),
];

/// Where views are made.
enum Store {
    Embedded(TempDir),
    Cql(String),
}

/// Measures, prints, and deletes what was made.
///
/// # Errors
/// An engine does not work, or rows are missing.
pub async fn views(args: ViewsArgs) -> anyhow::Result<()> {
    seckill_telemetry::start_tracing(LOG_FILTER, seckill_telemetry::LogFormat::Text)?;
    let report = Report::begin();
    report.of(vec![measured(&args).await?]).end(&args.output)
}

/// Measures, and deletes what was made.
pub(crate) async fn measured(args: &ViewsArgs) -> anyhow::Result<Contest> {
    let run: String = Uuid::new_v4().simple().to_string().chars().take(8).collect();
    let engine = match &args.kafka {
        Some(brokers) => Engine::Kafka(KafkaEngine::new(brokers, &run, Some(PARTITIONS))),
        None => Engine::Embedded(EmbeddedEngine::new(&args.data, Some(PARTITIONS))?),
    };
    let measured = tokio::select! {
        measured = measure(args, &engine) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let cleaned = engine.clean_up().await;
    let contest = measured?;
    cleaned.map(|()| contest)
}

async fn measure(args: &ViewsArgs, engine: &Engine) -> anyhow::Result<Contest> {
    let log = engine.log().await?;
    let records = fill(&*log, args.coupons).await?;
    let processes = Processes::default()
        .and("bench", Some(std::process::id()))
        .and("broker", args.kafka.as_deref().and_then(listener))
        .and("database", args.cql.as_deref().and_then(listener));
    let names = TURNS.map(|(name, _)| name.to_owned());
    let laps = in_turns(args.rounds, &names, async |turn| {
        quiet().await;
        let before = processes.times();
        let (count, took) = lap(args, engine, &log, turn, records).await?;
        Ok(Lap::of(count, took, processes.since(&before)))
    });
    let standings = TURNS.into_iter().zip(laps.await?);
    let standings = standings.map(|((name, unit), laps)| Standing::new(name, unit, laps));
    let standings = standings.collect::<anyhow::Result<Vec<_>>>()?;
    let fresh = fresh(args, log, standings[3].per_second.median).await?;
    let target = Some(Target::AtLeast(0.8));
    let ratios = [(1, 0), (3, 2)].into_iter().filter_map(|(upper, lower)| {
        Ratio::of("rate", (&standings[upper], &standings[lower]), Lap::rate, target)
    });
    let ratios = ratios.collect();
    let engines =
        format!("{}; views: {}", engine.describe(), args.cql.as_deref().unwrap_or("embedded"));
    let setting =
        vec![engines, format!("{records} records; {} rounds", args.rounds), fresh.to_string()];
    let views = if args.cql.is_some() { "in CQL" } else { "embedded" };
    let log = if args.kafka.is_some() { "Kafka" } else { "the embedded log" };
    Ok(Contest { name: format!("Views {views}, of {log}"), setting, standings, ratios })
}

/// How soon coupons can be read, at half of the projector's speed.
async fn fresh(
    args: &ViewsArgs,
    log: Arc<dyn Log>,
    rows_per_second: f64,
) -> anyhow::Result<fresh::Fresh> {
    let coupons_per_second = rows_per_second / ROWS_OF_A_COUPON as f64;
    let rate = (coupons_per_second / 2.0).clamp(100.0, f64::from(args.fresh_rate));
    let store = Store::new(args)?;
    let length = Duration::from_secs(args.seconds);
    let fresh = fresh::measure(log, store.create().await?, rate, length).await?;
    store.delete().await?;
    Ok(fresh)
}

/// How many were done, and in what time.
async fn lap(
    args: &ViewsArgs,
    engine: &Engine,
    log: &Arc<dyn Log>,
    turn: usize,
    records: u64,
) -> anyhow::Result<(u64, Duration)> {
    let begun = Instant::now();
    let rows = ROWS_OF_A_COUPON * u64::from(args.coupons);
    match turn {
        0 => {
            match engine {
                Engine::Kafka(kafka) => raw::consume(kafka, records).await?,
                Engine::Embedded(_) => raw::read(&**log).await?,
            }
            Ok((records, begun.elapsed()))
        }
        1 => {
            replay(&**log, records).await?;
            Ok((records, begun.elapsed()))
        }
        2 => {
            let of = insert::Rows::of(args.coupons);
            let took = match &args.cql {
                Some(nodes) => insert::into_cql(nodes, of).await?,
                None => insert::into_embedded(&args.data, of).await?,
            };
            Ok((rows, took))
        }
        _ => {
            let store = Store::new(args)?;
            let views = store.create().await?;
            let took = project(log, &views).await?;
            drop(views);
            store.delete().await?;
            Ok((rows, took))
        }
    }
}

async fn replay(log: &dyn Log, records: u64) -> anyhow::Result<()> {
    let mut replay = Replay::open(log, Selection::default()).await?;
    let mut events = 0;
    while replay.next().await?.is_some() {
        events += 1;
    }
    ensure!(events + u64::from(PARTITIONS) == records, "{events} events of {records}");
    Ok(())
}

impl Store {
    fn new(args: &ViewsArgs) -> anyhow::Result<Self> {
        if let Some(nodes) = &args.cql {
            return Ok(Self::Cql(nodes.clone()));
        }
        Ok(Self::Embedded(directory(&args.data)?))
    }
}

fn directory(data: &Path) -> anyhow::Result<TempDir> {
    let mut name = tempfile::Builder::new();
    name.prefix("seckill-bench-").tempdir_in(data).with_context(|| format!("{}", data.display()))
}

/// From the start of a projector until the views have all that is in the log, without the time that it
/// takes to be given its partitions.
async fn project(log: &Arc<dyn Log>, views: &Views) -> anyhow::Result<Duration> {
    let mut end = 0;
    for partition in 0..log.partitions() {
        end += log.end(partition).await?;
    }
    let stop = CancellationToken::new();
    let projector =
        Projector::start(Arc::clone(log), views.clone(), Health::default(), stop.clone()).await?;
    let (started, mut begun) = (Instant::now(), None);
    loop {
        let mut reached = 0;
        for partition in 0..log.partitions() {
            reached += views.next_offset(partition).await?;
        }
        if reached > 0 {
            begun.get_or_insert_with(Instant::now);
        }
        if reached >= end {
            break;
        }
        ensure!(started.elapsed() < TIMEOUT, "the views have {reached} of {end} records");
        tokio::time::sleep(LOOK).await;
    }
    let took = begun.map_or_else(Duration::default, |begun: Instant| begun.elapsed());
    stop.cancel();
    projector.stopped().await;
    Ok(took)
}

/// Writes a sale of so many coupons, a promotion in each partition. How many records that is.
async fn fill(log: &dyn Log, coupons: u32) -> anyhow::Result<u64> {
    let mut records = 0;
    for partition in 0..PARTITIONS {
        records += fill::fill(log, partition, coupons / PARTITIONS).await?.records;
    }
    Ok(records)
}

impl Store {
    async fn create(&self) -> anyhow::Result<Views> {
        match self {
            Self::Embedded(directory) => {
                Ok(Views::open_directory(directory.path(), PARTITIONS).await?)
            }
            Self::Cql(nodes) => {
                let contact_points = nodes.split(',').map(str::to_owned).collect();
                let keyspace = cql::KEYSPACE.to_owned();
                let config = CqlConfig { contact_points, keyspace, ..CqlConfig::default() };
                cql::drop_keyspace(nodes).await?;
                Ok(Views::create_in_cql(&config, PARTITIONS).await?)
            }
        }
    }

    async fn delete(self) -> anyhow::Result<()> {
        match self {
            Self::Embedded(directory) => directory.close().context("it could not be deleted"),
            Self::Cql(nodes) => cql::drop_keyspace(&nodes).await,
        }
    }
}
