//! How long `seckill up` takes until it is ready, with nothing and with many coupons on its disk.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::args::StartArgs;
use crate::contest::LOG_FILTER;
use crate::program::Program;
use crate::report::{Contest, Ratio, Report, Target};

const LOOK: Duration = Duration::from_millis(2);
const READY_WITHIN: Duration = Duration::from_secs(300);
/// After grabs, until snapshots are made and most of the views is written.
const SETTLE: Duration = Duration::from_secs(10);

/// In milliseconds.
struct Started {
    ready: f64,
    /// The longest time between two answers of `/healthz`, from the first one on.
    silent: f64,
}

/// Measures, prints, and deletes what was made.
///
/// # Errors
/// The program does not work.
pub async fn start(args: StartArgs) -> Result<()> {
    seckill_telemetry::start_tracing(LOG_FILTER, seckill_telemetry::LogFormat::Text)?;
    let report = Report::begin();
    let measured = tokio::select! {
        measured = measure(&args) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    report.of(vec![measured?]).end(&args.output)
}

async fn measure(args: &StartArgs) -> Result<Contest> {
    let folder = args.tried.folder("start-")?;
    let data = folder.path().display().to_string();
    let mut up = Program::new(&args.tried.program, "up", &["--data", &data])?;
    let (mut ratios, mut given) = (Vec::new(), 0);
    for coupons in &args.coupons {
        if *coupons > given {
            up.start().await?;
            sell(&up, coupons - given).await?;
            up.stop()?;
            given = *coupons;
        }
        for (how, killed) in [("told to stop", false), ("killed", true)] {
            ratios.extend(started(&mut up, given, how, killed, args.rounds).await?);
        }
    }
    let setting = vec![format!("`seckill up` on embedded engines; {} starts each", args.rounds)];
    Ok(Contest { name: "Start".to_owned(), setting, standings: Vec::new(), ratios })
}

async fn sell(up: &Program, coupons: u32) -> Result<()> {
    let flags = [
        format!("--coupons={coupons}"),
        format!("--customers={coupons}"),
        "--clients=2048".to_owned(),
        "--batch=500".to_owned(),
    ];
    let told = up.load(&flags).await?;
    ensure!(told.grabs.granted == u64::from(coupons), "only {} were given", told.grabs.granted);
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

/// Starts it again and again, each time after it has ended like this.
async fn started(
    up: &mut Program,
    coupons: u32,
    how: &str,
    killed: bool,
    rounds: u32,
) -> Result<Vec<Ratio>> {
    let mut starts = Vec::new();
    for _ in 0..rounds {
        let begun = one_start(up).await?;
        eprintln!("{coupons} coupons, {how}: ready after {:.0} ms", begun.ready);
        starts.push(begun);
        if killed { up.kill() } else { up.stop()? }
    }
    let ready: Vec<f64> =
        starts.iter().skip(usize::from(killed)).map(|start| start.ready).collect();
    let silent: Vec<f64> = starts.iter().map(|start| start.silent).collect();
    let name = |what: &str| format!("{what}, {coupons} coupons, {how} before");
    let ready = Ratio::figure(name("ms until ready"), &ready, Some(target(coupons)));
    let silent = Ratio::figure(name("ms without /healthz"), &silent, None);
    Ok(ready.into_iter().chain(silent).collect())
}

fn target(coupons: u32) -> Target {
    Target::AtMost(match coupons {
        0..1_000_000 => 300.0,
        1_000_000..10_000_000 => 1_000.0,
        _ => 5_000.0,
    })
}

async fn one_start(up: &mut Program) -> Result<Started> {
    let begun = Instant::now();
    up.spawn()?;
    let (mut last, mut silent) = (None::<Instant>, Duration::ZERO);
    loop {
        if up.get("/healthz").await.is_ok() {
            let now = Instant::now();
            silent = silent.max(last.map_or(Duration::ZERO, |last| now - last));
            last = Some(now);
        }
        if up.get("/readyz").await.is_ok() {
            break;
        }
        ensure!(begun.elapsed() < READY_WITHIN, "it is not ready after {READY_WITHIN:?}");
        tokio::time::sleep(LOOK).await;
    }
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    Ok(Started { ready: ms(begun.elapsed()), silent: ms(silent) })
}
