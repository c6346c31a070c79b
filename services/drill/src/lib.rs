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

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seckill_telemetry::say;

use crate::cluster::Cluster;
use crate::engines::Engines;
use crate::schedule::{Planned, Shape, schedule};

pub use args::DrillArgs;
pub use report::{Happened, OfLog, Promise, Report};
pub use timeline::{Moment, Requests, Timeline};

/// A drill for so long has every fault.
const LONG_ENOUGH: Duration = Duration::from_secs(24 * 3_600);
const NO_LIBRARY: &str = "libfaketime is not installed (Debian: apt-get install libfaketime)";

/// It could not be run, or was told to stop: no promise was kept, and none broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing was judged")]
pub struct NotJudged;

/// Runs a drill, and writes its report; whether every promise was kept.
///
/// # Errors
/// [`NotJudged`], and why. Nothing that it has started runs then.
pub async fn run(args: DrillArgs) -> Result<bool> {
    drill(args).await.context(NotJudged)
}

async fn drill(args: DrillArgs) -> Result<bool> {
    let stop = seckill_telemetry::on_signal()?;
    let seed = args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("drill-{seed}")));
    let shape = shape(&args);
    let planned = planned(seed, shape, &args)?;
    if let Some(script) = args.engines.as_ref().filter(|script| !script.is_file()) {
        bail!("--engines: there is no such script: {}", script.display());
    }
    fs::create_dir(&folder).with_context(|| {
        let folder = folder.display();
        format!("{folder} cannot be made for this drill; name another folder with --out")
    })?;
    let folder = folder.canonicalize()?; // as the script of the engines names it
    say!("drill {seed}: {} faults within {:?}", planned.len(), args.duration);
    leave_cores();
    let (cluster, flags) = cluster(&args, shape, &folder).await?;
    let drilled = tokio::select! {
        drilled = Box::pin(drill::run(&args, seed, planned, &cluster, &flags, &folder)) => drilled,
        () = stop.cancelled() => {
            say!("stopping; whatever was started is ended");
            Err(anyhow!("told to stop"))
        }
    };
    tokio::task::block_in_place(|| cluster.end());
    let report = drilled?;
    report.write(&folder)?;
    say!("{report}");
    say!("report: {}", folder.join("report.html").display());
    if args.engines.is_none() {
        let (data, folder) = (folder.join("data"), folder.display());
        say!("judged again by: seckill verify --data {} --history {folder}", data.display());
    }
    Ok(report.passed)
}

/// A process that crashes leaves its core, as far as the system lets it: it may not crash again soon.
fn leave_cores() {
    let limit = getrlimit(Resource::Core);
    let _ = setrlimit(Resource::Core, Rlimit { current: limit.maximum, ..limit });
}

/// The plan; what cannot be done on this machine is left out of it.
fn planned(seed: u64, shape: Shape, args: &DrillArgs) -> Result<Vec<Planned>> {
    let mut planned = schedule(seed, shape, args.duration, &args.only);
    if planned.is_empty() {
        bail!("--only: no fault is described so. There are:\n{}", descriptions(shape).join("\n"));
    }
    if clock::library().is_none() {
        say!("clocks do not leap: {NO_LIBRARY}");
        planned.retain(|planned| !planned.fault.is_of_clock());
    }
    if planned.is_empty() {
        bail!("--only: {NO_LIBRARY}");
    }
    Ok(planned)
}

/// Of every fault that there is.
fn descriptions(shape: Shape) -> Vec<String> {
    let all = schedule(0, shape, LONG_ENOUGH, &[]).into_iter();
    let all: BTreeSet<_> = all.map(|planned| planned.fault.to_string()).collect();
    all.into_iter().collect()
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
