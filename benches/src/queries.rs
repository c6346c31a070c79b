//! Coupons read one by one: through the query gateway, and by the database's own client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;
use seckill_load::Ask;
use tempfile::TempDir;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::args::QueriesArgs;
use crate::contest::LOG_FILTER;
use crate::cql;
use crate::kafka::KafkaEngine;
use crate::lap::{Lap, Tally, Window, in_turns};
use crate::machine::{Processes, free_port, listener};
use crate::program::Program;
use crate::report::{Contest, Ratio, Report, Standing, Target};
use crate::shopper::{Shoppers, Wish};

const PARTITIONS: u32 = 4;
/// Serials that lie together in `coupons_by_promotion`.
const BUCKET: u32 = 4_096;
const LOOK: Duration = Duration::from_millis(50);
const READABLE_WITHIN: Duration = Duration::from_secs(120);

/// Coupons of one promotion, read in an order that looks like none.
struct Sold {
    promotion_id: String,
    coupons: u32,
    next: AtomicU32,
}

impl Sold {
    fn next_serial(&self) -> u32 {
        /// Golden ratio of 32 bits: neighbours in turn are far apart.
        const STEP: u32 = 0x9e37_79b9;
        self.next.fetch_add(STEP, Ordering::Relaxed) % self.coupons + 1
    }
}

/// What is asked over HTTP.
enum Get {
    Coupon(Arc<Sold>),
    Health,
}

impl Wish for Get {
    fn next(&self) -> Result<Option<Ask>> {
        Ok(Some(match self {
            Self::Coupon(sold) => {
                let Sold { promotion_id, .. } = &**sold;
                Ask::get(&format!("/v1/coupons/{promotion_id}-{}", sold.next_serial()))?
            }
            Self::Health => Ask::get("/healthz")?,
        }))
    }

    fn hoped(&self) -> u16 {
        200
    }
}

enum Contestant {
    Http(Shoppers),
    Selects { session: Arc<Session>, select: Arc<PreparedStatement>, sold: Arc<Sold>, at_once: u32 },
}

impl Contestant {
    async fn lap(&self, length: Duration) -> Result<Tally> {
        match self {
            Self::Http(shoppers) => shoppers.lap(length).await,
            Self::Selects { session, select, sold, at_once } => {
                let (window, mut readers) = (Window::of(length), JoinSet::new());
                for _ in 0..*at_once {
                    let (session, select) = (Arc::clone(session), Arc::clone(select));
                    readers.spawn(read(session, select, Arc::clone(sold), window));
                }
                Tally::gather(window, readers).await
            }
        }
    }
}

async fn read(
    session: Arc<Session>,
    select: Arc<PreparedStatement>,
    sold: Arc<Sold>,
    window: Window,
) -> Result<Tally> {
    let mut tally = Tally::new(window);
    while !window.is_over() {
        let (serial, begun) = (sold.next_serial(), Instant::now());
        let key = (&sold.promotion_id, i64::from(serial / BUCKET), i64::from(serial));
        let rows = session.execute_unpaged(&select, key).await?.into_rows_result()?;
        ensure!(rows.rows_num() == 1, "coupon {serial} is not there");
        tally.answered(begun);
    }
    Ok(tally)
}

/// Measures, prints the table, and deletes what was made.
///
/// # Errors
/// An engine or the program does not work.
pub async fn queries(args: QueriesArgs) -> Result<()> {
    seckill_telemetry::start_tracing(LOG_FILTER, seckill_telemetry::LogFormat::Text)?;
    let report = Report::begin();
    report.of(vec![measured(&args).await?]).end(&args.output)
}

/// Measures, and deletes what was made.
pub(crate) async fn measured(args: &QueriesArgs) -> Result<Contest> {
    let run: String = Uuid::new_v4().simple().to_string().chars().take(8).collect();
    let kafka = args.kafka.as_ref().map(|at| KafkaEngine::new(at, &run, Some(PARTITIONS)));
    if let Some(nodes) = &args.cql {
        cql::drop_keyspace(nodes).await?;
    }
    let measured = tokio::select! {
        measured = measure(args, kafka.as_ref()) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    if let Some(kafka) = kafka {
        kafka.clean_up().await?;
    }
    if let Some(nodes) = &args.cql {
        cql::drop_keyspace(nodes).await?;
    }
    measured
}

async fn measure(args: &QueriesArgs, kafka: Option<&KafkaEngine>) -> Result<Contest> {
    let folder = args.tried.folder("queries-")?;
    let mut up = program(args, kafka, &folder)?;
    up.start().await?;
    let sold = Arc::new(sell(&up, args.coupons).await?);
    let (coupon, health) = (Get::Coupon(Arc::clone(&sold)), Get::Health);
    let http = |get| Contestant::Http(Shoppers::new(Arc::new(get), up.url(), args.connections));
    let (raw, name) = match &args.cql {
        Some(nodes) => (selects(nodes, sold, args.connections).await?, "raw selects"),
        None => (http(health), "/healthz"),
    };
    let (contestants, names) = ([http(coupon), raw], ["gateway".to_owned(), name.to_owned()]);
    let processes = Processes::default()
        .and("gateway", up.id())
        .and("bench", Some(std::process::id()))
        .and("database", args.cql.as_deref().and_then(listener));
    let length = Duration::from_secs(args.turns.seconds);
    let laps = in_turns(args.turns.rounds, &names, async |turn| {
        let before = processes.times();
        let tally = contestants[turn].lap(length).await?;
        Lap::new(tally, processes.since(&before))
    });
    let standings = Standing::all(&names, "answers", laps.await?)?;
    let ratios = ratios(&standings);
    let views = args.cql.as_deref().unwrap_or("embedded");
    let setting = vec![
        format!("{} coupons; {} connections, or selects at once", args.coupons, args.connections),
        format!("views: {views}; {}", args.turns.describe()),
    ];
    let name = format!("Queries of views {}", args.cql.as_ref().map_or("embedded", |_| "in CQL"));
    Ok(Contest { name, setting, standings, ratios })
}

fn ratios(standings: &[Standing]) -> Vec<Ratio> {
    let [gateway, raw] = standings else { return Vec::new() };
    let name = format!("p99 ms: {} more than {}", gateway.name, raw.name);
    let more = |gateway: &Lap, raw: &Lap| Some(gateway.p99_ms? - raw.p99_ms?);
    let ratios = [
        Ratio::of("rate", (gateway, raw), Lap::rate, Some(Target::AtLeast(0.85))),
        Ratio::round_by_round(name, (gateway, raw), more, Some(Target::AtMost(1.0))),
    ];
    ratios.into_iter().flatten().collect()
}

fn program(args: &QueriesArgs, kafka: Option<&KafkaEngine>, folder: &TempDir) -> Result<Program> {
    let data = folder.path().display().to_string();
    let (internal, partitions) = (format!("127.0.0.1:{}", free_port()?), PARTITIONS.to_string());
    let mut flags = vec!["--data", &data, "--partitions", &partitions];
    if let Some(kafka) = kafka {
        flags.extend(["--kafka", kafka.brokers(), "--kafka-prefix", kafka.prefix()]);
        flags.extend(["--internal-listen", &internal]);
    }
    if let Some(nodes) = &args.cql {
        flags.extend(["--cql", nodes, "--cql-keyspace", cql::KEYSPACE]);
    }
    Program::new(&args.tried.program, "up", &flags)
}

/// Sells all coupons of a promotion, and waits until the last one can be read.
async fn sell(up: &Program, coupons: u32) -> Result<Sold> {
    let flags = [format!("--coupons={coupons}"), format!("--customers={coupons}")];
    let mut told = up.load(&flags).await?;
    let promotion_id = told.promotions.pop().context("nothing was sold")?;
    let last = format!("/v1/coupons/{promotion_id}-{coupons}");
    let deadline = Instant::now() + READABLE_WITHIN;
    while up.get(&last).await.is_err() {
        ensure!(Instant::now() < deadline, "the views do not show the last coupon");
        tokio::time::sleep(LOOK).await;
    }
    Ok(Sold { promotion_id, coupons, next: AtomicU32::default() })
}

async fn selects(nodes: &str, sold: Arc<Sold>, at_once: u32) -> Result<Contestant> {
    let session = cql::session(nodes).await?;
    let (keyspace, table) = (cql::KEYSPACE, table(&session).await?);
    let select = format!(
        "SELECT serial, customer_id, discount, grabbed_at, position_offset FROM {keyspace}.{table} \
         WHERE promotion_id = ? AND bucket = ? AND serial = ?"
    );
    let select = Arc::new(session.prepare(select).await?);
    Ok(Contestant::Selects { session: Arc::new(session), select, sold, at_once })
}

/// The table of the coupons by promotion: a name with the number of its generation.
async fn table(session: &Session) -> Result<String> {
    let tables = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
    let found = session.query_unpaged(tables, (cql::KEYSPACE,)).await?.into_rows_result()?;
    for row in found.rows::<(String,)>()? {
        let (name,) = row?;
        if name.starts_with("coupons_by_promotion_g") {
            return Ok(name);
        }
    }
    anyhow::bail!("there is no table of coupons by promotion")
}
