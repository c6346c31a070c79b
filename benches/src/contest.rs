//! The contestants, turn by turn.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use seckill_log::Log;
use uuid::Uuid;

use crate::args::GrabsArgs;
use crate::engine::{Engine, Rival};
use crate::lap::{Lap, Tally, turns};
use crate::machine::{Processes, listener, quiet};
use crate::owner;
use crate::record;
use crate::report::{Contest, Ratio, Report, Standing, Target};
use crate::sale::{MOST, OpenSale, Owned};
use crate::server::Server;
use crate::shopper::{Shoppers, Wish};

/// What this process says of itself while it measures: only what must not happen.
pub(crate) const LOG_FILTER: &str = "warn,fjall=error,lsm_tree=error,rdkafka=error,scylla=error";

enum Contestant {
    Raw(Rival),
    Owner { sale: Arc<OpenSale>, clients: u32 },
    Http(Shoppers),
    Noop(Shoppers),
}

/// Everything that a run needs.
struct Run {
    log: Arc<dyn Log>,
    owned: Owned,
    server: Server,
    sale: Arc<OpenSale>,
    contestants: Vec<Contestant>,
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
    report.of(measured(&args).await?).end(&args.output)
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
    let laps = run.run(args).await?;
    let setting = vec![
        engine.describe(),
        format!(
            "partitions: {}; promotions: {}; records of {} bytes; under way at once: {} (raw, owner)",
            run.log.partitions(),
            args.promotions,
            run.record_bytes,
            args.clients
        ),
        rounds(args.rounds, args.seconds),
    ];
    let standings = run.standings(laps)?;
    let ratios = run.ratios(&standings);
    run.end().await?;
    let name = if args.kafka.is_some() { "Grabs on Kafka" } else { "Grabs on the embedded log" };
    Ok(Contest { name: name.to_owned(), setting, standings, ratios })
}

/// What the figures of a contest are.
pub(crate) fn rounds(rounds: u32, seconds: u64) -> String {
    format!("rounds: {rounds} of {seconds} s for each; figures are median (least..most) of them")
}

impl Run {
    async fn prepare(args: &GrabsArgs, engine: &Engine) -> anyhow::Result<Self> {
        let log = engine.log().await?;
        let owned = Owned::start(Arc::clone(&log)).await?;
        let dispatcher = owned.dispatcher();
        let sale = OpenSale::open(dispatcher, args.promotions, log.partitions()).await?;
        let sale = Arc::new(sale);
        let server = Server::start(owned.dispatcher())?;
        let records = Arc::new(record::of_sale(&sale));
        let record_bytes = record::mean_bytes(&records);
        let rivals = engine.rivals(args, records).await?;
        let shoppers = |wish, connections| Shoppers::new(wish, &sale, server.address, connections);
        server.noop_answers(shoppers(Wish::Grab, 1)?.ask_once().await?);
        let mut contestants: Vec<Contestant> = rivals.into_iter().map(Contestant::Raw).collect();
        contestants.push(Contestant::Owner { sale: Arc::clone(&sale), clients: args.clients });
        for connections in &args.connections {
            contestants.push(Contestant::Http(shoppers(Wish::Grab, *connections)?));
            contestants.push(Contestant::Noop(shoppers(Wish::Noop, *connections)?));
        }
        let processes = Processes::default()
            .and("bench", Some(std::process::id()))
            .and("broker", args.kafka.as_deref().and_then(listener));
        Ok(Self { log, owned, server, sale, contestants, processes, record_bytes, promised: 0 })
    }

    /// The laps of each contestant.
    async fn run(&mut self, args: &GrabsArgs) -> anyhow::Result<Vec<Vec<Lap>>> {
        let length = Duration::from_secs(args.seconds);
        let mut laps = vec![Vec::new(); self.contestants.len()];
        for round in 0..args.rounds {
            for turn in turns(round, self.contestants.len()) {
                let lap = self.lap(turn, length).await?;
                let name = self.contestants[turn].name();
                eprintln!("round {}: {name}: {:.0} per second", round + 1, lap.per_second);
                laps[turn].push(lap);
            }
        }
        Ok(laps)
    }

    async fn lap(&mut self, turn: usize, length: Duration) -> anyhow::Result<Lap> {
        self.server.scrape().await?;
        quiet().await;
        let contestant = &self.contestants[turn];
        let before = self.processes.times();
        let tally = contestant.lap(length).await.with_context(|| contestant.name())?;
        let spent = self.processes.since(&before);
        ensure!(
            self.sale.next_customer().is_some(),
            "all {MOST} customers have come: fewer --rounds or --seconds"
        );
        match contestant {
            Contestant::Owner { .. } | Contestant::Http(_) => self.promised += tally.answered,
            Contestant::Raw(_) | Contestant::Noop(_) => {}
        }
        Lap::new(tally, spent).with_context(|| contestant.name())
    }

    fn standings(&self, laps: Vec<Vec<Lap>>) -> anyhow::Result<Vec<Standing>> {
        let pairs = self.contestants.iter().zip(laps);
        pairs.map(|(contestant, laps)| contestant.standing(laps)).collect()
    }

    /// The owner by the best of the raw ones, and grabs over HTTP by the no-op with as many connections.
    fn ratios(&self, standings: &[Standing]) -> Vec<Ratio> {
        let pairs = || self.contestants.iter().zip(standings);
        let raw = pairs().filter(|(contestant, _)| matches!(contestant, Contestant::Raw(_)));
        let best = raw.max_by(|(_, a), (_, b)| a.per_second.median.total_cmp(&b.per_second.median));
        let owner = pairs().find(|(contestant, _)| matches!(contestant, Contestant::Owner { .. }));
        let with_owner = best.zip(owner).into_iter().flat_map(|((_, raw), (_, owner))| {
            let rate = Ratio::of("rate", (owner, raw), Lap::rate, Some(Target::AtLeast(0.8)));
            [rate, Ratio::of("CPU", (owner, raw), Lap::cpu, Some(Target::AtMost(1.5)))]
        });
        let over_http = pairs().zip(pairs().skip(1)).filter_map(|((http, of), (_, noop))| {
            let target = Some(Target::AtLeast(0.6));
            matches!(http, Contestant::Http(_))
                .then(|| Ratio::of("rate", (of, noop), Lap::rate, target))
        });
        with_owner.chain(over_http).flatten().collect()
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

impl Contestant {
    fn name(&self) -> String {
        match self {
            Self::Raw(rival) => rival.name(),
            Self::Owner { .. } => "owner".to_owned(),
            Self::Http(shoppers) => format!("http, {} connections", shoppers.connections()),
            Self::Noop(shoppers) => format!("noop, {} connections", shoppers.connections()),
        }
    }

    async fn lap(&self, length: Duration) -> anyhow::Result<Tally> {
        match self {
            Self::Raw(rival) => rival.lap(length).await,
            Self::Owner { sale, clients } => owner::lap(sale, *clients, length).await,
            Self::Http(shoppers) | Self::Noop(shoppers) => shoppers.lap(length).await,
        }
    }

    fn standing(&self, laps: Vec<Lap>) -> anyhow::Result<Standing> {
        let unit = match self {
            Self::Raw(_) => "records",
            Self::Owner { .. } | Self::Http(_) => "grabs",
            Self::Noop(_) => "answers",
        };
        Standing::new(self.name(), unit, laps)
    }
}
