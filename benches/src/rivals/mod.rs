//! Coupons of one hot promotion, sold by this system and by what people would take instead.

mod postgres;
mod process;
mod redis;
mod seckill;
mod shop;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::runtime;
use tokio::task::JoinSet;

use crate::args::RivalsArgs;
use crate::lap::{Lap, Tally, Window, in_turns};
use crate::machine::Processes;
use crate::report::{Contest, Ratio, Report, Standing, Target};
use postgres::Postgres;
use redis::Redis;
use seckill::{Seckill, Way};
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

/// Measures, prints the table, and ends what it started.
///
/// # Errors
/// This system or a rival that is installed does not work.
pub async fn rivals(args: RivalsArgs) -> Result<()> {
    let mut report = Report::begin();
    let (contests, missing) = measured(&args).await?;
    report.left_out = missing;
    report.of(contests).end(&args.output)
}

/// Measures, and ends what it started; which rivals are missing.
pub(crate) async fn measured(args: &RivalsArgs) -> Result<(Vec<Contest>, Vec<String>)> {
    tokio::select! {
        measured = measure(args) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    }
}

async fn measure(args: &RivalsArgs) -> Result<(Vec<Contest>, Vec<String>)> {
    let folder = args.tried.folder("rivals-")?;
    // A database that does not run as root must get there.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode)?;
    let path = folder.path().canonicalize()?;
    let (others, missing) = others(&path).await?;
    let ways = [Way::Requests, Way::Batches, Way::Stream];
    let ours = Seckill::start(&args.tried.program, &path, &ways).await?;
    let mut ours = ours.into_iter().map(|of| Arc::new(of) as Arc<dyn Shop>);
    let alone = ours.next().into_iter().chain(others.clone()).collect();
    let together = ours.chain(others).collect();
    let class = |name: String, connections, at_once, shops| {
        let name = format!("One hot promotion, {name}, {connections} connections");
        Class { name, connections, at_once, shops }
    };
    let (connections, at_once) = (args.connections, args.at_once);
    let classes = [
        class("one at a time".to_owned(), connections, 1, alone),
        class(format!("{at_once} at once"), connections.min(MOST_WITH_MANY), at_once, together),
    ];
    let mut contests = Vec::new();
    for class in classes {
        contests.push(class.compete(args).await?);
    }
    let missing = missing.into_iter().map(|program| format!("{program}: it is not installed"));
    Ok((contests, missing.collect()))
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
    async fn compete(self, args: &RivalsArgs) -> Result<Contest> {
        let names: Vec<String> = self.shops.iter().map(|shop| shop.name()).collect();
        let length = Duration::from_secs(args.turns.seconds);
        let laps = in_turns(args.turns.rounds, &names, async |turn| {
            tokio::time::sleep(BETWEEN).await;
            self.lap(&self.shops[turn], length).await
        });
        let standings = Standing::all(&names, "coupons", laps.await?)?;
        let ratios = ratios(&standings);
        let setting = vec![
            "seckill with its views; processor time is that of the server".to_owned(),
            args.turns.describe(),
        ];
        Ok(Contest { name: self.name, setting, standings, ratios })
    }

    /// From a thread of its own, as if the buyers were another process.
    async fn lap(&self, shop: &Arc<dyn Shop>, length: Duration) -> Result<Lap> {
        let (of_buyers, connections, at_once) = (Arc::clone(shop), self.connections, self.at_once);
        let server = Processes::default().and("server", Some(shop.server().id()));
        let before = server.times();
        let buying = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(buy(of_buyers, connections, at_once, length))
        };
        let bought = tokio::task::spawn_blocking(buying).await;
        let tally = bought.context("the generator ended badly")??;
        Lap::new(tally, server.since(&before))
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

/// Of every way to ask this system by every rival, which come behind them.
fn ratios(standings: &[Standing]) -> Vec<Ratio> {
    let (ours, rivals): (Vec<_>, Vec<_>) =
        standings.iter().partition(|standing| standing.name.starts_with(seckill::NAME));
    let many = ours.len() > 1;
    let pairs = ours.iter().flat_map(|our| rivals.iter().map(move |rival| (*our, *rival)));
    pairs
        .filter_map(|(our, rival)| {
            Ratio::of("rate", (our, rival), Lap::rate, target(&rival.name, many))
        })
        .collect()
}

fn target(rival: &str, many_at_once: bool) -> Option<Target> {
    let least = match (rival, many_at_once) {
        ("redis everysec", true) => 1.0,
        ("redis always", true) => 2.0,
        ("postgresql", _) => 25.0,
        _ => return None,
    };
    Some(Target::AtLeast(least))
}
