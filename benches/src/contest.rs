//! The contestants, turn by turn.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use seckill_log::Log;
use seckill_telemetry::say;
use uuid::Uuid;

use crate::args::GrabsArgs;
use crate::engine::{Engine, Rival};
use crate::lap::{Lap, Tally, turns};
use crate::machine::{Machine, cpu_time, load_average, quiet};
use crate::owner;
use crate::record;
use crate::report::{Report, Role, Setting, Standing};
use crate::sale::{MOST, OpenSale, Owned};
use crate::server::Server;
use crate::shopper::{Shoppers, Wish};

/// What this process says of itself while it measures: only what must not happen.
const LOG_FILTER: &str = "warn,fjall=error,lsm_tree=error,rdkafka=error";

enum Contestant {
    Raw(Rival),
    Owner { sale: Arc<OpenSale>, clients: u32 },
    Http(Shoppers),
    Noop(Shoppers),
}

/// Everything that a run needs.
struct Contest {
    log: Arc<dyn Log>,
    owned: Owned,
    server: Server,
    sale: Arc<OpenSale>,
    contestants: Vec<Contestant>,
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
    let run: String = Uuid::new_v4().simple().to_string().chars().take(8).collect();
    let engine = Engine::chosen(&args, &run)?;
    let measured = tokio::select! {
        measured = measure(&args, &engine) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let cleaned = engine.clean_up().await;
    let report = measured?;
    say!("{report}");
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, json).with_context(|| format!("{}", path.display()))?;
    }
    cleaned
}

async fn measure(args: &GrabsArgs, engine: &Engine) -> anyhow::Result<Report> {
    let load_before = load_average();
    let mut contest = Contest::prepare(args, engine).await?;
    let laps = contest.run(args).await?;
    let setting = Setting {
        engine: engine.describe(),
        rounds: args.rounds,
        seconds: args.seconds,
        partitions: contest.log.partitions(),
        promotions: args.promotions,
        clients: args.clients,
        connections: args.connections,
        record_bytes: contest.record_bytes,
        load_before,
        load_after: load_average(),
        machine: Machine::look(),
    };
    let standings = contest.standings(laps)?;
    contest.end().await?;
    Report::new(setting, standings)
}

impl Contest {
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
        let shoppers = |wish| Shoppers::new(wish, &sale, server.address, args.connections);
        let (http, noop) = (shoppers(Wish::Grab)?, shoppers(Wish::Noop)?);
        server.noop_answers(http.ask_once().await?);
        let mut contestants: Vec<Contestant> = rivals.into_iter().map(Contestant::Raw).collect();
        contestants.push(Contestant::Owner { sale: Arc::clone(&sale), clients: args.clients });
        contestants.extend([Contestant::Http(http), Contestant::Noop(noop)]);
        Ok(Self { log, owned, server, sale, contestants, record_bytes, promised: 0 })
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
        let before = cpu_time();
        let tally = contestant.lap(length).await.with_context(|| contestant.name())?;
        let cpu = cpu_time().zip(before).map(|(after, before)| after.saturating_sub(before));
        ensure!(
            self.sale.next_customer().is_some(),
            "all {MOST} customers have come: fewer --rounds or --seconds"
        );
        match contestant.role() {
            Role::Owner | Role::Http => self.promised += tally.answered,
            Role::Raw | Role::Noop => {}
        }
        Lap::new(tally, cpu).with_context(|| contestant.name())
    }

    fn standings(&self, laps: Vec<Vec<Lap>>) -> anyhow::Result<Vec<Standing>> {
        let pairs = self.contestants.iter().zip(laps);
        pairs.map(|(contestant, laps)| contestant.standing(laps)).collect()
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
            Self::Http(_) => "http".to_owned(),
            Self::Noop(_) => "noop".to_owned(),
        }
    }

    fn role(&self) -> Role {
        match self {
            Self::Raw(_) => Role::Raw,
            Self::Owner { .. } => Role::Owner,
            Self::Http(_) => Role::Http,
            Self::Noop(_) => Role::Noop,
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
        Standing::new(self.role(), self.name(), laps)
    }
}
