//! How long nobody gets a coupon when a command node is gone, or goes.

mod probe;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use comfy_table::Table;
use futures::future::try_join_all;
use seckill_command::Dispatcher;
use seckill_load::Crowd;
use seckill_telemetry::say;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::args::TakeoverArgs;
use crate::fill;
use crate::kafka::KafkaEngine;
use crate::machine::{Machine, free_port, load_average};
use crate::program::Program;
use crate::sale::{OpenSale, Target};
use crate::takeover::probe::{Attempt, probe};

const NODES: usize = 3;
const PARTITIONS: u32 = 8;
/// Until a node that was started again has partitions, and others keep their state.
const SETTLE: Duration = Duration::from_secs(6);
/// Customers come for so long before a node is ended, and after.
const BEFORE: Duration = Duration::from_millis(500);
const AFTER: Duration = Duration::from_secs(4);
/// How often a partition is taken over cold.
const COLD: usize = 5;
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(180);
const HEADER: [&str; 8] =
    ["what", "rounds", "median ms", "p99 ms", "most ms", "told 503", "told 504", "told else"];
const LOOK: Duration = Duration::from_millis(200);

/// Measures, prints, and deletes what was made.
///
/// # Errors
/// A node does not start, or nobody takes a partition over.
pub async fn takeover(args: TakeoverArgs) -> Result<()> {
    seckill_telemetry::start_tracing("error", seckill_telemetry::LogFormat::Text)?;
    let run = || Uuid::new_v4().simple().to_string().chars().take(8).collect::<String>();
    let warm = KafkaEngine::new(&args.kafka, &run(), Some(PARTITIONS));
    let cold = KafkaEngine::new(&args.kafka, &run(), Some(1));
    let measured = tokio::select! {
        measured = measure(&args, &warm, &cold) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let cleaned = (warm.clean_up().await, cold.clean_up().await);
    say!("{}", measured?);
    cleaned.0.and(cleaned.1)
}

async fn measure(args: &TakeoverArgs, warm: &KafkaEngine, cold: &KafkaEngine) -> Result<String> {
    let load_before = load_average();
    let mut rows: Vec<Row> = with_customers(args, warm).await?.into();
    if args.coupons > 0 {
        let took_ms = taken_over_cold(args, cold).await?;
        let what = format!("taking over {} coupons cold, from a snapshot", args.coupons);
        rows.push(Row { what, took_ms, told: [0; 3] });
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(HEADER).add_rows(rows.iter().map(Row::cells));
    let (machine, load_after) = (Machine::look(), load_average());
    Ok(format!(
        "{table}\n\n{}, {} standbys. Load average before {load_before}, after {load_after}.\n{machine:?}",
        warm.describe(),
        args.standbys
    ))
}

/// A line of the table.
struct Row {
    what: String,
    /// Of each round.
    took_ms: Vec<f64>,
    /// Customers who were told 503, 504, and anything else but 201.
    told: [usize; 3],
}

impl Row {
    fn of(what: &str) -> Self {
        Self { what: what.to_owned(), took_ms: Vec::new(), told: [0; 3] }
    }

    fn cells(&self) -> Vec<String> {
        let mut sorted = self.took_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |share: usize| sorted.get((sorted.len() * share / 100).min(sorted.len() - 1));
        let ms = |value: Option<&f64>| value.map_or(String::new(), |value| format!("{value:.0}"));
        let mut cells = vec![self.what.clone(), sorted.len().to_string()];
        cells.extend([ms(at(50)), ms(at(99)), ms(sorted.last())]);
        cells.extend(self.told.map(|count| count.to_string()));
        cells
    }

    fn count(&mut self, attempts: &[Attempt]) {
        for attempt in attempts {
            match attempt.status {
                201 => {}
                503 => self.told[0] += 1,
                504 => self.told[1] += 1,
                _ => self.told[2] += 1,
            }
        }
    }
}

/// How one of the nodes ends.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Killed,
    Terminated,
}

async fn with_customers(args: &TakeoverArgs, kafka: &KafkaEngine) -> Result<[Row; 4]> {
    let standbys = args.standbys.to_string();
    let flags = ["--kafka", kafka.brokers(), "--kafka-prefix", kafka.prefix()];
    let flags = [&flags[..], &["--standbys", &standbys]].concat();
    let log = kafka.log().await?;
    let mut nodes = (0..NODES)
        .map(|number| command_node(args, &node_name(number), &flags))
        .collect::<Result<Vec<_>>>()?;
    for node in &mut nodes {
        node.start().await?;
    }
    let dispatcher = Dispatcher::forwarding(Arc::clone(&log));
    let sale = OpenSale::open(dispatcher, PARTITIONS, PARTITIONS).await?;
    let mut rows = [
        Row::of("kill -9 to the first coupon of its partitions elsewhere"),
        Row::of("kill -9 to a coupon of each of its partitions"),
        Row::of("SIGTERM: longest time without a coupon, of its first partition"),
        Row::of("SIGTERM: longest time without a coupon, of any of its partitions"),
    ];
    for round in 0..2 * args.rounds as usize {
        let ending = if round % 2 == 0 { Ending::Killed } else { Ending::Terminated };
        tokio::time::sleep(SETTLE).await;
        let victim = round % NODES;
        let (first_ms, all_ms, attempts) = one_round(&mut nodes, victim, ending, &sale).await?;
        eprintln!("round {}: {first_ms:.0} ms, all {all_ms:.0} ms", round + 1);
        let of = if ending == Ending::Killed { 0 } else { 2 };
        rows[of].took_ms.push(first_ms);
        rows[of + 1].took_ms.push(all_ms);
        attempts.iter().for_each(|attempts| rows[of].count(attempts));
        nodes[victim].start().await?;
    }
    Ok(rows)
}

fn node_name(number: usize) -> String {
    format!("node-{number}")
}

/// What `/v1/owners` says.
#[derive(Deserialize)]
struct Owned {
    partition: u32,
    node: Option<String>,
}

/// Ends a node while customers ask the others for coupons of its partitions: how long until the first of them has
/// coupons again, and all of them.
async fn one_round(
    nodes: &mut [Program],
    victim: usize,
    ending: Ending,
    sale: &OpenSale,
) -> Result<(f64, f64, Vec<Vec<Attempt>>)> {
    let owners: Vec<Owned> = serde_json::from_str(&nodes[victim].get("/v1/owners").await?)?;
    let of_victim = |owned: &&Owned| owned.node.as_deref() == Some(&node_name(victim));
    let partitions: Vec<u32> = owners.iter().filter(of_victim).map(|of| of.partition).collect();
    ensure!(!partitions.is_empty(), "node {victim} owns nothing");
    let others = nodes.iter().enumerate().filter(|(number, _)| *number != victim);
    let urls: Vec<String> = others.map(|(_, node)| node.url()).collect();
    let (stop, crowd) = (CancellationToken::new(), Arc::new(Crowd::fresh()));
    let of_it = sale.promotions.iter().filter(|target| partitions.contains(&target.partition));
    let asking = of_it.map(|Target { id, .. }| {
        tokio::spawn(probe(urls.clone(), id.clone(), Arc::clone(&crowd), stop.clone()))
    });
    let asking: Vec<_> = asking.collect();
    tokio::time::sleep(BEFORE).await;
    let ended = Instant::now();
    match ending {
        Ending::Killed => nodes[victim].kill(),
        Ending::Terminated => nodes[victim].terminate()?,
    }
    tokio::time::sleep(AFTER).await;
    stop.cancel();
    nodes[victim].kill(); // it has stopped long ago
    let attempts: Vec<Vec<Attempt>> =
        try_join_all(asking).await?.into_iter().collect::<Result<_>>()?;
    let took: Option<Vec<f64>> = attempts
        .iter()
        .map(|attempts| match ending {
            Ending::Killed => first_after(attempts, ended),
            Ending::Terminated => longest_gap(attempts),
        })
        .collect();
    let mut took = took.context("nobody took a partition over")?;
    took.sort_by(f64::total_cmp);
    let (first, last) = (took.first().copied(), took.last().copied());
    Ok((first.unwrap_or_default(), last.unwrap_or_default(), attempts))
}

/// The time until the first request that was sent after `ended` was granted, in milliseconds.
fn first_after(attempts: &[Attempt], ended: Instant) -> Option<f64> {
    let granted = |of: &&Attempt| of.status == 201 && of.asked >= ended;
    let first = attempts.iter().find(granted)?;
    Some((first.answered - ended).as_secs_f64() * 1e3)
}

/// The longest time between two grants, in milliseconds.
fn longest_gap(attempts: &[Attempt]) -> Option<f64> {
    let given: Vec<Instant> =
        attempts.iter().filter(|of| of.status == 201).map(|of| of.answered).collect();
    let gaps = given.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3);
    gaps.max_by(f64::total_cmp)
}

/// How long a node takes that finds a partition of many coupons and its snapshot.
async fn taken_over_cold(args: &TakeoverArgs, kafka: &KafkaEngine) -> Result<Vec<f64>> {
    let log = kafka.log().await?;
    fill::fill(&*log, 0, args.coupons).await?;
    let flags = ["--kafka", kafka.brokers(), "--kafka-prefix", kafka.prefix()];
    let mut node = command_node(args, "cold", &flags)?;
    node.start().await?;
    snapshot_made(&node).await?;
    let mut took_ms = Vec::new();
    for _ in 0..COLD {
        node.kill();
        node.start().await?;
        took_ms.push(metric(&node, "seckill_takeover_seconds_sum").await? * 1e3);
    }
    Ok(took_ms)
}

fn command_node(args: &TakeoverArgs, name: &str, flags: &[&str]) -> Result<Program> {
    let internal = format!("127.0.0.1:{}", free_port()?);
    let own = ["--name", name, "--internal-listen", &internal];
    Program::new(&args.program, "command", &[&own[..], flags].concat())
}

async fn snapshot_made(node: &Program) -> Result<()> {
    let deadline = Instant::now() + SNAPSHOT_WITHIN;
    while metric(node, "seckill_snapshots_total").await? < 1.0 {
        ensure!(Instant::now() < deadline, "no snapshot within {SNAPSHOT_WITHIN:?}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn metric(node: &Program, name: &str) -> Result<f64> {
    let text = node.get("/metrics").await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("{name} is not measured"))?.parse()?)
}
