//! What it costs to hold many coupons in one partition: memory, disk, the longest that a grab waited, and
//! taking the partition over with and without a snapshot. Each step is a process of its own, so that the
//! memory of one is not the other's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use comfy_table::Table;
use seckill_load::Crowd;
use seckill_log::Log;
use seckill_log::embedded::EmbeddedLog;
use seckill_telemetry::say;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::args::{GrowArgs, GrowStepArgs};
use crate::machine;
use crate::sale::{OpenSale, Owned, Target, is_accepted, schedule};

const PROMOTION: &str = "grow";
const CUSTOMER: &str = "customer";
const CLIENTS: u32 = 512;
/// Snapshots of what was just granted are made within this time.
const SETTLE: Duration = Duration::from_secs(3);

/// What a step has measured.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Measured {
    /// From opening the log until the partition is served.
    start_ms: u64,
    granted_per_s: u64,
    longest_grab_ms: u64,
    resident_kb: u64,
    peak_kb: u64,
}

/// Measures sizes one after another, on one log that grows.
///
/// # Errors
/// The disk, or a grab that was not granted.
pub async fn grow(args: GrowArgs) -> anyhow::Result<()> {
    say!("{:?}, load average {}", machine::Machine::look(), machine::load_average());
    fs::create_dir_all(&args.data)?;
    let directory = tempfile::Builder::new().prefix("seckill-grow-").tempdir_in(&args.data)?;
    let mut table = Table::new();
    table.set_header([
        "coupons",
        "granted/s",
        "longest grab ms",
        "MB held",
        "MB at most",
        "log MB",
        "snapshot MB",
        "start ms",
        "MB held then",
        "bytes each beyond the id",
        "MB at most then",
        "start without snapshot ms",
    ]);
    let empty = step(directory.path(), 0)?;
    for coupons in &args.coupons {
        let filled = step(directory.path(), *coupons)?;
        let tables = directory.path().join("tables");
        let (log, snapshot) = (size(directory.path())? - size(&tables)?, size(&tables)?);
        let opened = step(directory.path(), 0)?;
        let aside = directory.path().with_extension("tables");
        fs::rename(&tables, &aside)?;
        let without = step(directory.path(), 0)?;
        fs::remove_dir_all(&tables)?;
        fs::rename(&aside, &tables)?;
        let numbers = [
            u64::from(*coupons),
            filled.granted_per_s,
            filled.longest_grab_ms,
            filled.resident_kb >> 10,
            filled.peak_kb >> 10,
            log >> 20,
            snapshot >> 20,
            opened.start_ms,
            opened.resident_kb >> 10,
            beyond_id(*coupons, opened.resident_kb.saturating_sub(empty.resident_kb)),
            opened.peak_kb >> 10,
            without.start_ms,
        ];
        table.add_row(numbers.map(|number| number.to_string()));
    }
    say!("{table}");
    Ok(())
}

/// Runs one step in a process of its own.
fn step(directory: &Path, coupons: u32) -> anyhow::Result<Measured> {
    let output = Command::new(std::env::current_exe()?)
        .arg("grow-step")
        .arg(directory)
        .arg(coupons.to_string())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("a step says what it measured")
}

fn size(path: &Path) -> anyhow::Result<u64> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(_) => return Ok(0),
    };
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    fs::read_dir(path)?.map(|entry| size(&entry?.path())).sum()
}

/// One step: opens the log, and grants until so many coupons are given.
///
/// # Errors
/// As [`grow`].
pub async fn grow_step(args: GrowStepArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(&args.directory, Some(1))?);
    let owned = Owned::start(log).await?;
    let mut measured = Measured { start_ms: millis(begun.elapsed()), ..Measured::default() };
    if args.coupons > 0 {
        let dispatcher = owned.dispatcher();
        dispatcher.send(schedule(PROMOTION, u32::MAX)).await?;
        tokio::time::sleep(Duration::from_millis(100)).await; // it starts
        let promotions = vec![Target { id: PROMOTION.to_owned(), partition: 0 }];
        let sale =
            Arc::new(OpenSale { dispatcher, promotions, crowd: Crowd::named(CUSTOMER.to_owned()) });
        grant(&sale, args.coupons, &mut measured).await?;
        tokio::time::sleep(SETTLE).await;
        machine::quiet().await;
    }
    (measured.resident_kb, measured.peak_kb) = (memory("VmRSS")?, memory("VmHWM")?);
    owned.stop().await?;
    say!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

async fn grant(sale: &Arc<OpenSale>, coupons: u32, measured: &mut Measured) -> anyhow::Result<()> {
    let (longest, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (sale, longest) = (Arc::clone(sale), Arc::clone(&longest));
        clients.spawn(async move {
            // Customers of the step before are asked for again, and told so.
            while let Some(number) = sale.crowd.next(coupons) {
                let command = sale.grab(PROMOTION, number);
                let begun = Instant::now();
                let answer = sale.dispatcher.send(command).await?;
                ensure!(is_accepted(&answer), "refused: {answer:?}");
                longest.fetch_max(millis(begun.elapsed()), Ordering::Relaxed);
            }
            Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    measured.longest_grab_ms = longest.load(Ordering::Relaxed);
    measured.granted_per_s = u64::from(coupons) * 1_000 / millis(begun.elapsed()).max(1);
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes of each coupon, without the id of its customer.
fn beyond_id(coupons: u32, kb: u64) -> u64 {
    let id = Crowd::named(CUSTOMER.to_owned()).customer_id(coupons / 2).len() as u64;
    (kb * 1_024 / u64::from(coupons)).saturating_sub(id)
}

/// A line of /proc/self/status, in kilobytes.
fn memory(name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(PathBuf::from("/proc/self/status"))?;
    let line = status.lines().find(|line| line.starts_with(name)).context("no such line")?;
    let number = line.split_whitespace().nth(1).context("no number")?;
    Ok(number.parse()?)
}
