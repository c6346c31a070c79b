//! What it costs to make views of the log, beside the least that it could cost.

mod fresh;
mod insert;
mod raw;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use comfy_table::Table;
use seckill_log::Log;
use seckill_projector::Projector;
use seckill_replay::{Replay, Selection};
use seckill_telemetry::{Health, say};
use seckill_views::{CqlConfig, Views};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::args::ViewsArgs;
use crate::embedded::EmbeddedEngine;
use crate::engine::Engine;
use crate::fill;
use crate::kafka::KafkaEngine;
use crate::lap::turns;
use crate::machine::{Machine, load_average, quiet};
use crate::statistics::Spread;

const PARTITIONS: u32 = 4;
/// Tables that have a row of every coupon.
const ROWS_OF_A_COUPON: u64 = 3;
const LOOK: Duration = Duration::from_millis(5);
const TIMEOUT: Duration = Duration::from_secs(900);
const LOG_FILTER: &str = "warn,fjall=error,lsm_tree=error,rdkafka=error,scylla=error";

/// What is measured, each in a turn.
const TURNS: [&str; 4] = ["raw consumer", "replay", "raw inserts", "projector"];

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
    let run: String = Uuid::new_v4().simple().to_string().chars().take(8).collect();
    let engine = match &args.kafka {
        Some(brokers) => Engine::Kafka(KafkaEngine::new(brokers, &run, Some(PARTITIONS))),
        None => Engine::Embedded(EmbeddedEngine::new(&args.data, Some(PARTITIONS))?),
    };
    let measured = tokio::select! {
        measured = measure(&args, &engine) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let cleaned = engine.clean_up().await;
    say!("{}", measured?);
    cleaned
}

async fn measure(args: &ViewsArgs, engine: &Engine) -> anyhow::Result<Report> {
    let load_before = load_average();
    let log = engine.log().await?;
    let records = fill(&*log, args.coupons).await?;
    let mut laps: [Vec<f64>; TURNS.len()] = Default::default();
    for round in 0..args.rounds {
        for turn in turns(round, TURNS.len()) {
            quiet().await;
            let per_second = lap(args, engine, &log, turn, records).await;
            let per_second = per_second.with_context(|| TURNS[turn])?;
            eprintln!("round {}: {}: {per_second:.0} per second", round + 1, TURNS[turn]);
            laps[turn].push(per_second);
        }
    }
    let spreads = laps.map(|laps| Spread::of(&laps).expect("there is a round"));
    let coupons_per_second = spreads[3].median / ROWS_OF_A_COUPON as f64;
    let rate = (coupons_per_second / 2.0).clamp(100.0, f64::from(args.fresh_rate));
    let store = Store::new(args)?;
    let length = Duration::from_secs(args.seconds);
    let fresh = fresh::measure(log, store.create().await?, rate, length).await?;
    store.delete().await?;
    let engines =
        format!("{}; views: {}", engine.describe(), args.cql.as_deref().unwrap_or("embedded"));
    let loads = (load_before, load_average());
    Ok(Report { engines, records, rounds: args.rounds, spreads, rate, fresh, loads })
}

async fn lap(
    args: &ViewsArgs,
    engine: &Engine,
    log: &Arc<dyn Log>,
    turn: usize,
    records: u64,
) -> anyhow::Result<f64> {
    let per_second = |count: u64, took: Duration| count as f64 / took.as_secs_f64();
    let begun = Instant::now();
    match turn {
        0 => {
            match engine {
                Engine::Kafka(kafka) => raw::consume(kafka, records).await?,
                Engine::Embedded(_) => raw::read(&**log).await?,
            }
            Ok(per_second(records, begun.elapsed()))
        }
        1 => {
            let mut replay = Replay::open(&**log, Selection::default()).await?;
            let mut events = 0;
            while replay.next().await?.is_some() {
                events += 1;
            }
            ensure!(events + u64::from(PARTITIONS) == records, "{events} events of {records}");
            Ok(per_second(records, begun.elapsed()))
        }
        2 => {
            let rows = insert::Rows::of(args.coupons);
            let took = match &args.cql {
                Some(nodes) => insert::into_cql(nodes, rows).await?,
                None => insert::into_embedded(&args.data, rows).await?,
            };
            Ok(per_second(ROWS_OF_A_COUPON * u64::from(args.coupons), took))
        }
        _ => {
            let store = Store::new(args)?;
            let views = store.create().await?;
            let took = project(log, &views).await?;
            drop(views);
            store.delete().await?;
            Ok(per_second(ROWS_OF_A_COUPON * u64::from(args.coupons), took))
        }
    }
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
        records += fill::fill(log, partition, coupons / PARTITIONS).await?;
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
                let keyspace = insert::KEYSPACE.to_owned();
                let config = CqlConfig { contact_points, keyspace, ..CqlConfig::default() };
                insert::drop_keyspace(nodes).await?;
                Ok(Views::create_in_cql(&config, PARTITIONS).await?)
            }
        }
    }

    async fn delete(self) -> anyhow::Result<()> {
        match self {
            Self::Embedded(directory) => directory.close().context("it could not be deleted"),
            Self::Cql(nodes) => insert::drop_keyspace(&nodes).await,
        }
    }
}

struct Report {
    engines: String,
    records: u64,
    rounds: u32,
    spreads: [Spread; TURNS.len()],
    rate: f64,
    fresh: fresh::Fresh,
    loads: (String, String),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, kernel, release_build, .. } = Machine::look();
        let build =
            if release_build { "release" } else { "debug: figures of a debug build mean little" };
        writeln!(f, "{cpu}, {cores} cores, Linux {kernel}, {build}")?;
        writeln!(f, "{}; {} records; {} rounds", self.engines, self.records, self.rounds)?;
        let mut table = Table::new();
        table.set_header(["", "per second", "least", "most", "of the raw one"]);
        for (turn, spread) in self.spreads.iter().enumerate() {
            let raw = self.spreads[turn / 2 * 2].median;
            let what = if turn < 2 { "records" } else { "rows" };
            let figures =
                [spread.median, spread.min, spread.max].map(|figure| format!("{figure:.0}"));
            let [median, min, max] = figures;
            let of_raw = format!("{:.2}", spread.median / raw);
            table.add_row([format!("{}, {what}", TURNS[turn]), median, min, max, of_raw]);
        }
        writeln!(f, "{table}")?;
        let fresh::Fresh { p50, p99, max, count } = &self.fresh;
        writeln!(
            f,
            "grab answered -> its coupon readable, at {:.0} grabs/s: p50 {p50:.1} ms, p99 {p99:.1} ms, \
             most {max:.1} ms ({count} grabs)",
            self.rate
        )?;
        write!(f, "load average before {}, after {}", self.loads.0, self.loads.1)
    }
}
