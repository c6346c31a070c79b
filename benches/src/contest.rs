//! The contestants, turn by turn.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use seckill_log::Log;
use uuid::Uuid;

use crate::args::GrabsArgs;
use crate::engine::{Engine, Rival};
use crate::lap::{Lap, Tally, in_turns};
use crate::machine::{Processes, listener, quiet};
use crate::owner;
use crate::record;
use crate::report::{Contest, Ratio, Report, Standing, Target};
use crate::sale::{MOST, OpenSale, Owned, in_partition};
use crate::server::Server;
use crate::shopper::{OfSale, Shoppers};

/// What this process says of itself while it measures: only what must not happen.
pub(crate) const LOG_FILTER: &str = "warn,fjall=error,lsm_tree=error,rdkafka=error,scylla=error";

/// So many promotions share a partition, beside one that has it alone.
const MANY: u32 = 1_000;

enum Contestant {
    Raw(Rival),
    Owner { sale: Arc<OpenSale>, clients: u32 },
    Http { wish: Arc<OfSale>, connections: u32, shoppers: Shoppers },
}

/// Everything that a run needs.
struct Run {
    log: Arc<dyn Log>,
    owned: Owned,
    server: Server,
    sale: Arc<OpenSale>,
    contestants: Vec<Contestant>,
    names: Vec<String>,
    processes: Processes,
    record_bytes: usize,
    /// Grabs that were answered as durable.
    promised: u64,
}

/// Measures, prints the table, and deletes what was made.
///
/// # Errors
/// The engine does not work, or the system did not keep what it promised.
pub async fn grabs(args: GrabsArgs) -> anyhow::Result<()> {
    seckill_telemetry::start_tracing(LOG_FILTER, seckill_telemetry::LogFormat::Text)?;
    let report = Report::begin();
    report.of(vec![measured(&args).await?]).end(&args.output)
}

/// Measures, and deletes what was made.
pub(crate) async fn measured(args: &GrabsArgs) -> anyhow::Result<Contest> {
    let run: String = Uuid::new_v4().simple().to_string().chars().take(8).collect();
    let engine = Engine::chosen(args, &run)?;
    let measured = tokio::select! {
        measured = measure(args, &engine) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let cleaned = engine.clean_up().await;
    let contest = measured?;
    cleaned.map(|()| contest)
}

async fn measure(args: &GrabsArgs, engine: &Engine) -> anyhow::Result<Contest> {
    let mut run = Run::prepare(args, engine).await?;
    let (names, length) = (run.names.clone(), Duration::from_secs(args.turns.seconds));
    let laps =
        in_turns(args.turns.rounds, &names, async |turn| run.lap(turn, length).await).await?;
    let setting = vec![
        engine.describe(),
        format!(
            "partitions: {}; promotions: {}; records of {} bytes; under way at once: {} (raw, owner)",
            run.log.partitions(),
            args.promotions,
            run.record_bytes,
            args.clients
        ),
        args.turns.describe(),
    ];
    let standings = run.standings(laps)?;
    let ratios = run.ratios(&standings);
    run.end().await?;
    let name = if args.kafka.is_some() { "Grabs on Kafka" } else { "Grabs on the embedded log" };
    Ok(Contest { name: name.to_owned(), setting, standings, ratios })
}

impl Run {
    async fn prepare(args: &GrabsArgs, engine: &Engine) -> anyhow::Result<Self> {
        let log = engine.log().await?;
        let owned = Owned::start(Arc::clone(&log)).await?;
        let sale = OpenSale::open(owned.dispatcher(), args.promotions, log.partitions()).await?;
        let sale = Arc::new(sale);
        let server = Server::start(owned.dispatcher())?;
        let records = Arc::new(record::of_sale(&sale));
        let record_bytes = record::mean_bytes(&records);
        let rivals = engine.rivals(args, records).await?;
        let mut contestants: Vec<Contestant> = rivals.into_iter().map(Contestant::Raw).collect();
        let many = one_partition(&owned, log.partitions(), MANY, u32::MAX).await?;
        let clients = args.clients;
        contestants.push(Contestant::Owner { sale: Arc::clone(&sale), clients });
        contestants.push(Contestant::Owner { sale: many, clients });
        contestants.extend(over_http(args, &owned, &server, (&sale, log.partitions())).await?);
        let processes = Processes::default()
            .and("bench", Some(std::process::id()))
            .and("broker", args.kafka.as_deref().and_then(listener));
        let names = contestants.iter().map(Contestant::name).collect();
        let promised = 0;
        Ok(Self { log, owned, server, sale, contestants, names, processes, record_bytes, promised })
    }

    async fn lap(&mut self, turn: usize, length: Duration) -> anyhow::Result<Lap> {
        self.server.scrape().await?;
        quiet().await;
        let contestant = &self.contestants[turn];
        let before = self.processes.times();
        let tally = contestant.lap(length).await?;
        let spent = self.processes.since(&before);
        ensure!(
            self.sale.next_customer().is_some(),
            "all {MOST} customers have come: fewer --rounds or --seconds"
        );
        if contestant.is_granted() {
            self.promised += tally.answered;
        }
        Lap::new(tally, spent)
    }

    fn standings(&self, laps: Vec<Vec<Lap>>) -> anyhow::Result<Vec<Standing>> {
        let pairs = self.contestants.iter().zip(laps);
        pairs.map(|(contestant, laps)| contestant.standing(laps)).collect()
    }

    /// The owner by the best of the raw ones and by itself with many promotions, and what is asked over HTTP by the no-op with
    /// as many connections.
    fn ratios(&self, standings: &[Standing]) -> Vec<Ratio> {
        let pairs = || self.contestants.iter().zip(standings);
        let raw = pairs().filter(|(contestant, _)| matches!(contestant, Contestant::Raw(_)));
        let best = raw.max_by(|(_, a), (_, b)| a.per_second.median.total_cmp(&b.per_second.median));
        let mut owners = pairs().filter(|(of, _)| matches!(of, Contestant::Owner { .. }));
        let (one, many) = (owners.next(), owners.next());
        let by_raw = best.zip(one).into_iter().flat_map(|((_, raw), (_, owner))| {
            let rate = Ratio::of("rate", (owner, raw), Lap::rate, Some(Target::AtLeast(0.8)));
            [rate, Ratio::of("CPU", (owner, raw), Lap::cpu, Some(Target::AtMost(1.5)))]
        });
        let by_many = one.zip(many).map(|((_, one), (_, many))| {
            Ratio::of("rate", (one, many), Lap::rate, Some(Target::AtLeast(0.9)))
        });
        let over_http = pairs().filter_map(|(contestant, of)| {
            let (connections, least) = contestant.least_of_noop()?;
            let is_it = |(other, _): &(&Contestant, &Standing)| other.is_noop(connections);
            let (_, noop) = pairs().find(is_it)?;
            Some(Ratio::of("rate", (of, noop), Lap::rate, Some(Target::AtLeast(least))))
        });
        by_raw.chain(by_many).chain(over_http).flatten().collect()
    }

    /// Checks that the log holds what was promised, and stops.
    async fn end(self) -> anyhow::Result<()> {
        let mut records = 0;
        for partition in 0..self.log.partitions() {
            records += self.log.end(partition).await?;
        }
        let promised = self.promised;
        ensure!(
            records >= promised,
            "{promised} grabs were durable, the log has {records} records"
        );
        self.server.stop().await?;
        self.owned.stop().await
    }
}

/// Promotions in the first partition, each with so many coupons.
async fn one_partition(
    owned: &Owned,
    partitions: u32,
    promotions: u32,
    coupons: u32,
) -> anyhow::Result<Arc<OpenSale>> {
    let places = (0..promotions).map(|_| in_partition(0, partitions)).collect();
    Ok(Arc::new(OpenSale::of(owned.dispatcher(), places, coupons).await?))
}

async fn over_http(
    args: &GrabsArgs,
    owned: &Owned,
    server: &Server,
    (sale, partitions): (&Arc<OpenSale>, u32),
) -> anyhow::Result<Vec<Contestant>> {
    let sold_out = one_partition(owned, partitions, 1, 1).await?;
    let wishes =
        [OfSale::Grab(Arc::clone(sale)), OfSale::SoldOut(sold_out), OfSale::Noop(Arc::clone(sale))];
    let wishes = wishes.map(Arc::new);
    let once = Shoppers::new(wishes[0].clone(), server.url(), 1);
    server.noop_answers(once.ask_once().await?);
    let contestants = args.connections.iter().flat_map(|connections| {
        wishes.each_ref().map(|wish| Contestant::Http {
            wish: Arc::clone(wish),
            connections: *connections,
            shoppers: Shoppers::new(wish.clone(), server.url(), *connections),
        })
    });
    Ok(contestants.collect())
}

impl Contestant {
    fn name(&self) -> String {
        match self {
            Self::Raw(rival) => rival.name(),
            Self::Owner { sale, .. } => match sale.promotions.len() {
                1 => "owner".to_owned(),
                promotions => format!("owner, {promotions} promotions"),
            },
            Self::Http { wish, connections, .. } => {
                format!("{}, {connections} connections", wish.name())
            }
        }
    }

    /// Whether its answers are coupons.
    fn is_granted(&self) -> bool {
        match self {
            Self::Owner { .. } => true,
            Self::Http { wish, .. } => matches!(**wish, OfSale::Grab(_)),
            Self::Raw(_) => false,
        }
    }

    fn is_noop(&self, with: u32) -> bool {
        matches!(self, Self::Http { wish, connections, .. }
            if *connections == with && matches!(**wish, OfSale::Noop(_)))
    }

    /// With how many connections, and how much of the no-op's rate is the target.
    fn least_of_noop(&self) -> Option<(u32, f64)> {
        let Self::Http { wish, connections, .. } = self else { return None };
        match **wish {
            OfSale::Grab(_) => Some((*connections, 0.6)),
            OfSale::SoldOut(_) => Some((*connections, 0.9)),
            OfSale::Noop(_) => None,
        }
    }

    async fn lap(&self, length: Duration) -> anyhow::Result<Tally> {
        match self {
            Self::Raw(rival) => rival.lap(length).await,
            Self::Owner { sale, clients } => owner::lap(sale, *clients, length).await,
            Self::Http { shoppers, .. } => shoppers.lap(length).await,
        }
    }

    fn standing(&self, laps: Vec<Lap>) -> anyhow::Result<Standing> {
        let unit = match self {
            Self::Raw(_) => "records",
            Self::Owner { .. } => "grabs",
            Self::Http { wish, .. } if matches!(**wish, OfSale::Grab(_)) => "grabs",
            Self::Http { .. } => "answers",
        };
        Standing::new(self.name(), unit, laps)
    }
}
