//! One drill, from the first process to the report.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use seckill_edge::now_ms;
use seckill_telemetry::say;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::args::DrillArgs;
use crate::cluster::{Cluster, Flags};
use crate::crowd::Crowd;
use crate::fault::{Fault, Who};
use crate::judge::{Judged, judge};
use crate::report::{Happened, Report};
use crate::schedule::Planned;
use crate::stranger::Stranger;

/// How often what a stranger has left is looked for, once all faults are over.
const TIDY_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether a process has ended by itself.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Faults as they happen.
struct Happening {
    cluster: Arc<Cluster>,
    stranger: Option<Stranger>,
    begun: Instant,
    happened: Mutex<Vec<Happened>>,
    /// Of the processes, what is wrong.
    wrong: Mutex<Vec<String>>,
    /// Why an engine does not come back.
    gone: Mutex<Option<anyhow::Error>>,
}

/// Starts everything, has crowd and faults come, stops everything but the engines, and judges.
pub(crate) async fn run(
    args: &DrillArgs,
    seed: u64,
    planned: Vec<Planned>,
    cluster: &Arc<Cluster>,
    flags: &Flags,
    folder: &Path,
) -> Result<Report> {
    cluster.start().await?;
    let stranger = stranger(cluster).await?;
    let begun_ms = now_ms();
    let happening = Arc::new(Happening::begin(Arc::clone(cluster), stranger));
    let crowd = Crowd::of(cluster, folder, f64::from(args.rate));
    let coming = crowd.come(args.duration, StdRng::seed_from_u64(seed));
    let waves = tokio::select! {
        (waves, ()) = async { tokio::join!(coming, happening.all(planned, seed)) } => waves,
        error = happening.look_after() => return Err(error),
    };
    say!("stopping all processes, and judging");
    let mut wrong = std::mem::take(&mut *happening.wrong.lock());
    wrong.extend(cluster.stop().await);
    let judged = judge(cluster.engines.as_deref(), flags, folder, waves, wrong, begun_ms);
    Ok(report(args, seed, begun_ms, happening.happened(), judged.await?))
}

/// Only a broker takes records of strangers.
async fn stranger(cluster: &Cluster) -> Result<Option<Stranger>> {
    let Some(engines) = &cluster.engines else { return Ok(None) };
    let projectors = (0..cluster.shape.projectors).map(|of| cluster.url(Who::Projector(of)));
    Ok(Some(Stranger::come(&engines.kafka(), projectors.collect()).await?))
}

fn report(
    args: &DrillArgs,
    seed: u64,
    begun_ms: i64,
    faults: Vec<Happened>,
    judged: Judged,
) -> Report {
    let Judged { promises, of_log, takeovers_ms, timeline, requests } = judged;
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        began_at: Timestamp::from_millisecond(begun_ms).unwrap_or_default(),
        command: command(args, seed),
        seed,
        only: args.only.clone(),
        system: system(args),
        duration_seconds: args.duration.as_secs_f64(),
        rate_per_second: args.rate,
        passed: promises.iter().all(|promise| promise.broken.is_empty()),
        promises,
        requests,
        of_log,
        faults,
        first_events_of_owners_at_seconds: since(begun_ms, &takeovers_ms),
        timeline,
    }
}

/// Those after a time, in seconds since then.
fn since(begun_ms: i64, at_ms: &[i64]) -> Vec<f64> {
    let mut after: Vec<_> =
        at_ms.iter().map(|at_ms| at_ms - begun_ms).filter(|ms| *ms > 0).collect();
    after.sort_unstable();
    after.into_iter().map(|ms| ms as f64 / 1_000.0).collect()
}

/// The command line that has the same faults planned.
fn command(args: &DrillArgs, seed: u64) -> String {
    let (seconds, rate) = (args.duration.as_secs_f64(), args.rate);
    let mut command = format!("seckill drill --seed {seed} --duration {seconds}s --rate {rate}");
    if let Some(script) = &args.engines {
        let DrillArgs { nodes, projectors, brokers, .. } = args;
        let _ = write!(
            command,
            " --engines {} --nodes {nodes} --projectors {projectors} --brokers {brokers}",
            script.display()
        );
    }
    for words in &args.only {
        let _ = write!(command, " --only '{words}'");
    }
    command
}

fn system(args: &DrillArgs) -> String {
    match &args.engines {
        None => "one process on embedded engines".to_owned(),
        Some(_) => format!(
            "{} command nodes, {} projectors, a gateway and an operator's process on Cassandra and Kafka with \
             {} brokers",
            args.nodes, args.projectors, args.brokers
        ),
    }
}

impl Happening {
    fn begin(cluster: Arc<Cluster>, stranger: Option<Stranger>) -> Self {
        let (begun, happened) = (Instant::now(), Mutex::default());
        Self { cluster, stranger, begun, happened, wrong: Mutex::default(), gone: Mutex::default() }
    }

    /// What happened, in order.
    fn happened(&self) -> Vec<Happened> {
        let mut happened = std::mem::take(&mut *self.happened.lock());
        happened.sort_by(|one, other| one.at_seconds.total_cmp(&other.at_seconds));
        happened
    }

    /// Every fault in its time.
    async fn all(self: &Arc<Self>, planned: Vec<Planned>, seed: u64) {
        let mut all = JoinSet::new();
        for (number, planned) in (1..).zip(planned) {
            let (happening, random) = (Arc::clone(self), StdRng::seed_from_u64(seed ^ number));
            all.spawn(async move { happening.one(planned, random).await });
        }
        all.join_all().await;
        say!("faults are over; waiting until everything is ready and everybody has an answer");
        if let Err(error) = self.recover().await {
            self.wrong.lock().push(error.to_string());
        }
    }

    /// Waits until everything is ready again. Meanwhile an operator has skipped what a stranger has left, also where
    /// the stranger was not told that it was written.
    async fn recover(&self) -> Result<()> {
        let tidying = async {
            while let Some(stranger) = &self.stranger {
                stranger.tidy().await;
                tokio::time::sleep(TIDY_EVERY).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            ready = self.cluster.ready() => ready,
            () = tidying => Ok(()),
        }
    }

    async fn one(&self, planned: Planned, random: StdRng) {
        tokio::time::sleep_until(self.begun + planned.at).await;
        let fault = planned.fault.to_string();
        let at_seconds = self.begun.elapsed().as_secs_f64();
        say!("{at_seconds:>8.1} s  {fault}, for {:.1} s", planned.lasts.as_secs_f64());
        match self.inflict(&planned, random).await {
            Ok(true) => {}
            Ok(false) => {
                return say!("{:>10}  left out, it has not recovered: {fault}", "");
            }
            Err(error) => {
                let after = format!("after {fault}, at {at_seconds:.1} s");
                self.note(&planned.fault, error.context(after));
            }
        }
        let lasted_seconds = self.begun.elapsed().as_secs_f64() - at_seconds;
        self.happened.lock().push(Happened { at_seconds, lasted_seconds, fault });
    }

    /// An engine that does not come back says nothing of what is tried here.
    fn note(&self, fault: &Fault, error: anyhow::Error) {
        match fault {
            Fault::Blow(_, Who::Broker(_) | Who::Database) => *self.gone.lock() = Some(error),
            _ => self.wrong.lock().push(format!("{error:#}")),
        }
    }

    /// Whether it could be done.
    async fn inflict(&self, planned: &Planned, random: StdRng) -> Result<bool> {
        let lasts = planned.lasts;
        match planned.fault {
            Fault::Blow(blow, who) => self.cluster.strike(blow, who, lasts).await,
            Fault::Trouble(trouble, link) => {
                let raging = self.cluster.raise(trouble, link);
                tokio::time::sleep(lasts).await;
                Ok(!raging.is_empty())
            }
            Fault::Writing(writing) => {
                let stranger = self.stranger.as_ref().context("there is no stranger")?;
                stranger.write(writing, lasts, random).await.map(|()| true)
            }
        }
    }

    /// Takes note of processes that end by themselves; returns when something does not come back.
    async fn look_after(&self) -> anyhow::Error {
        loop {
            if let Some(error) = self.gone.lock().take() {
                return error;
            }
            match self.cluster.look_after() {
                Ok(ended) => self.wrong.lock().extend(ended),
                Err(error) => return error,
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
