//! Coupons of one hot promotion, sold by this system and by what people would take instead.

mod postgres;
mod process;
mod redis;
mod seckill;
mod shop;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use tokio::runtime;
use tokio::task::JoinSet;

use crate::args::RivalsArgs;
use crate::lap::{Lap, Tally, Window, turns};
use crate::machine::{Machine, load_average};
use crate::statistics::Spread;
use postgres::Postgres;
use redis::Redis;
use seckill::{Seckill, Way};
use seckill_telemetry::say;
use shop::Shop;

/// Between two turns: what a server does later is its own matter until then.
const BETWEEN: Duration = Duration::from_secs(2);
/// Connections where many grabs are sent at once.
const MOST_WITH_MANY: usize = 16;

/// Those who are asked alike.
struct Class {
    name: String,
    connections: usize,
    /// Grabs that are sent at once on each.
    at_once: usize,
    shops: Vec<Arc<dyn Shop>>,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    rounds: u32,
    seconds: u64,
    load_before: String,
    load_after: String,
    missing: Vec<&'static str>,
    classes: Vec<Standings>,
}

#[derive(Debug, Serialize)]
struct Standings {
    name: String,
    connections: usize,
    at_once: usize,
    shops: Vec<Standing>,
}

#[derive(Debug, Serialize)]
struct Standing {
    name: String,
    per_second: Spread,
    /// From sending until all that was sent at once is answered.
    p50_ms: Spread,
    p99_ms: Spread,
    /// Of the server, for each coupon.
    cpu_micros_each: Option<Spread>,
    laps: Vec<Lap>,
}

/// Measures, prints the table, and ends what it started.
///
/// # Errors
/// This system or a rival that is installed does not work.
pub async fn rivals(args: RivalsArgs) -> Result<()> {
    let measured = tokio::select! {
        measured = measure(&args) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let report = measured?;
    say!("{report}");
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, json).with_context(|| format!("{}", path.display()))?;
    }
    Ok(())
}

async fn measure(args: &RivalsArgs) -> Result<Report> {
    let load_before = load_average();
    std::fs::create_dir_all(&args.data)?;
    let folder = tempfile::Builder::new().prefix("rivals-").tempdir_in(&args.data)?;
    // A database that does not run as root must get there.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode)?;
    let path = folder.path().canonicalize()?;
    let (others, missing) = others(&path).await?;
    let ways = [Way::Requests, Way::Batches, Way::Stream];
    let ours = Seckill::start(&args.program, &path, &ways).await?;
    let mut ours = ours.into_iter().map(|of| Arc::new(of) as Arc<dyn Shop>);
    let alone = ours.next().into_iter().chain(others.clone()).collect();
    let together = ours.chain(others).collect();
    let class = |name: String, connections, at_once, shops| {
        let name = format!("{name}, {connections} connections");
        Class { name, connections, at_once, shops }
    };
    let (connections, at_once) = (args.connections, args.at_once);
    let classes = [
        class("one at a time".to_owned(), connections, 1, alone),
        class(format!("{at_once} at once"), connections.min(MOST_WITH_MANY), at_once, together),
    ];
    let mut standings = Vec::new();
    for class in classes {
        standings.push(class.compete(args).await?);
    }
    Ok(Report {
        machine: Machine::look(),
        rounds: args.rounds,
        seconds: args.seconds,
        load_before,
        load_after: load_average(),
        missing,
        classes: standings,
    })
}

/// The rivals that are installed, and which are not.
async fn others(path: &Path) -> Result<(Vec<Arc<dyn Shop>>, Vec<&'static str>)> {
    let (mut others, mut missing) = (Vec::<Arc<dyn Shop>>::new(), Vec::new());
    for fsync in ["everysec", "always"] {
        if let Some(redis) = Redis::start(fsync, path).await? {
            others.push(Arc::new(redis));
        }
    }
    if others.is_empty() {
        missing.push("redis-server");
    }
    match Postgres::start(path).await? {
        Some(postgres) => others.push(Arc::new(postgres)),
        None => missing.push("postgresql"),
    }
    Ok((others, missing))
}

impl Class {
    async fn compete(self, args: &RivalsArgs) -> Result<Standings> {
        let mut laps = vec![Vec::new(); self.shops.len()];
        for round in 0..args.rounds {
            for turn in turns(round, self.shops.len()) {
                let shop = &self.shops[turn];
                tokio::time::sleep(BETWEEN).await;
                let lap = self.lap(shop, Duration::from_secs(args.seconds)).await;
                let lap = lap.with_context(|| shop.name())?;
                let rate = lap.per_second;
                eprintln!("round {}: {}: {rate:.0} per second", round + 1, shop.name());
                laps[turn].push(lap);
            }
        }
        let pairs = self.shops.iter().zip(laps);
        let shops = pairs.map(|(shop, laps)| Standing::new(shop.name(), laps));
        let shops = shops.collect::<Result<_>>()?;
        let Self { name, connections, at_once, .. } = self;
        Ok(Standings { name, connections, at_once, shops })
    }

    /// From a thread of its own, as if the buyers were another process.
    async fn lap(&self, shop: &Arc<dyn Shop>, length: Duration) -> Result<Lap> {
        let (of_buyers, connections, at_once) = (Arc::clone(shop), self.connections, self.at_once);
        let before = shop.server().cpu_time();
        let buying = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(buy(of_buyers, connections, at_once, length))
        };
        let bought = tokio::task::spawn_blocking(buying).await;
        let tally = bought.context("the generator ended badly")??;
        let cpu = shop.server().cpu_time().saturating_sub(before);
        Lap::new(tally, Some(cpu))
    }
}

async fn buy(
    shop: Arc<dyn Shop>,
    connections: usize,
    at_once: usize,
    length: Duration,
) -> Result<Tally> {
    let mut buyers = Vec::new();
    for _ in 0..connections {
        buyers.push(shop.buyer().await?);
    }
    let window = Window::of(length);
    let mut tasks = JoinSet::new();
    for mut buyer in buyers {
        tasks.spawn(async move {
            let mut tally = Tally::new(window);
            while !window.is_over() {
                let customers = std::iter::repeat_with(next_customer).take(at_once).collect();
                let begun = Instant::now();
                buyer.grab(customers).await?;
                (0..at_once).for_each(|_| tally.answered(begun));
            }
            Ok(tally)
        });
    }
    Tally::gather(window, tasks).await
}

/// Nobody comes twice, to no shop.
fn next_customer() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("customer-{:010}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Standing {
    fn new(name: String, laps: Vec<Lap>) -> Result<Self> {
        let of = |quantity: fn(&Lap) -> f64| {
            let values: Vec<f64> = laps.iter().map(quantity).collect();
            Spread::of(&values).context("there was no round")
        };
        let cpu: Option<Vec<f64>> = laps.iter().map(|lap| lap.cpu_micros_each).collect();
        Ok(Self {
            name,
            per_second: of(|lap| lap.per_second)?,
            p50_ms: of(|lap| lap.p50_ms)?,
            p99_ms: of(|lap| lap.p99_ms)?,
            cpu_micros_each: cpu.and_then(|cpu| Spread::of(&cpu)),
            laps,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for class in &self.classes {
            writeln!(formatter, "\n{}\n{}", class.name, class.table())?;
        }
        let Machine { cpu, cores, kernel, .. } = &self.machine;
        writeln!(
            formatter,
            "{cpu}, {cores} cores, Linux {kernel}; load {} to {}",
            self.load_before, self.load_after
        )?;
        writeln!(
            formatter,
            "medians of {} rounds of {} s, with the least and the most; CPU is that of the server, views of seckill included",
            self.rounds, self.seconds
        )?;
        match self.missing.is_empty() {
            true => Ok(()),
            false => {
                writeln!(formatter, "not installed, and left out: {}", self.missing.join(", "))
            }
        }
    }
}

impl Standings {
    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(["", "coupons/s", "p50 ms", "p99 ms", "CPU µs each", "first / this"]);
        let first = self.shops.first().map_or(0.0, |first| first.per_second.median);
        for shop in &self.shops {
            let cpu = shop.cpu_micros_each.map_or_else(|| "?".to_owned(), |cpu| text(cpu, 1));
            let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
            table.add_row(vec![
                Cell::new(&shop.name),
                number(text(shop.per_second, 0)),
                number(text(shop.p50_ms, 2)),
                number(text(shop.p99_ms, 2)),
                number(cpu),
                number(format!("{:.2}", first / shop.per_second.median)),
            ]);
        }
        table
    }
}

fn text(Spread { median, min, max }: Spread, digits: usize) -> String {
    format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
}
