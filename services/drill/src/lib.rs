//! `seckill drill`: a system of its own under a crowd and under faults, and every promise held against what came of it.
//!
//! What the simulation does in one thread with engines that are simulated, this does with real processes, real
//! engines and real connections: so it finds what the simulation has left out, and says nothing about when. The
//! seed decides the plan; how processes and the network meet it is up to them.

mod args;
mod clock;
mod cluster;
mod crowd;
mod drill;
mod engines;
mod fault;
mod html;
mod judge;
mod process;
mod proxy;
mod report;
mod schedule;
mod stranger;
mod timeline;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};

use crate::cluster::Cluster;
use crate::engines::Engines;
use crate::schedule::{Planned, Shape, schedule};

pub use args::DrillArgs;
pub use report::{Happened, OfLog, Promise, Report};
pub use timeline::{Moment, Requests, Timeline};

const NO_LIBRARY: &str = "libfaketime is not installed (Debian: apt-get install libfaketime)";

/// Runs a drill, and writes its report; whether every promise was kept.
///
/// # Errors
/// It could not be run, or was told to stop. Nothing that it has started runs then.
pub async fn run(args: DrillArgs) -> Result<bool> {
    let stop = seckill_telemetry::on_signal()?;
    let seed = args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("drill-{seed}")));
    let shape = shape(&args);
    let planned = planned(seed, shape, &args)?;
    if let Some(script) = args.engines.as_ref().filter(|script| !script.is_file()) {
        bail!("--engines: there is no such script: {}", script.display());
    }
    fs::create_dir(&folder).with_context(|| format!("--out {}", folder.display()))?;
    let folder = folder.canonicalize()?; // as the script of the engines names it
    println!("drill {seed}: {} faults within {:?}", planned.len(), args.duration);
    let (cluster, flags) = cluster(&args, shape, &folder).await?;
    let drilled = tokio::select! {
        drilled = Box::pin(drill::run(&args, seed, planned, &cluster, &flags, &folder)) => drilled,
        () = stop.cancelled() => {
            println!("stopping; whatever was started is ended");
            Err(anyhow!("told to stop, so nothing was judged"))
        }
    };
    tokio::task::block_in_place(|| cluster.end());
    let report = drilled?;
    report.write(&folder)?;
    println!("{report}");
    println!("report: {}", folder.join("report.html").display());
    Ok(report.passed)
}

/// The plan; what cannot be done on this machine is left out of it.
fn planned(seed: u64, shape: Shape, args: &DrillArgs) -> Result<Vec<Planned>> {
    let mut planned = schedule(seed, shape, args.duration, &args.only);
    if planned.is_empty() {
        bail!("--only: no fault is described so; without it `seckill drill` shows how they are");
    }
    if clock::library().is_none() {
        println!("clocks do not leap: {NO_LIBRARY}");
        planned.retain(|planned| !planned.fault.is_of_clock());
    }
    if planned.is_empty() {
        bail!("--only: {NO_LIBRARY}");
    }
    Ok(planned)
}

/// What the plan rests on.
fn shape(args: &DrillArgs) -> Shape {
    let (nodes, projectors) = (usize::from(args.nodes), usize::from(args.projectors));
    match &args.engines {
        Some(_) => Shape { nodes, projectors, brokers: usize::from(args.brokers) },
        None => Shape { nodes: 1, projectors: 0, brokers: 0 },
    }
}

/// What does not run yet.
async fn cluster(
    args: &DrillArgs,
    shape: Shape,
    folder: &Path,
) -> Result<(Arc<Cluster>, cluster::Flags)> {
    let engines = match &args.engines {
        Some(script) => Some(Engines::new(script, &folder.join("engines"), args.brokers).await?),
        None => None,
    };
    let (cluster, flags) = Cluster::new(shape, engines, folder).await?;
    Ok((Arc::new(cluster), flags))
}
