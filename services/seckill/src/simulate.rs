//! `seckill simulate`: this program as a whole cluster in one thread, under faults that a seed decides.

use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::ProgressBar;
use parking_lot::Mutex;
use seckill_simulation::{Failed, Run, Totals, shortest, simulate};
use seckill_telemetry::{on_signal, say};
use tokio_util::sync::CancellationToken;

use crate::bar::bar;

/// Lines of a run that was not asked for by its seed: the last ones.
const TRACE_LINES: usize = 400;

/// Simulate a cluster of this program's command nodes and projectors under faults, and hold every answer to a
/// customer and every view against the log. The same seed gives the same run. Exit code 1 when a promise was broken, whose
/// shortest form is printed then, line by line; 2 when it was told to stop
#[derive(Args)]
pub(crate) struct SimulateArgs {
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How many runs, each with the seed after the one before
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Print what happens, line by line, with the simulated milliseconds; of one run
    #[arg(long, conflicts_with = "runs")]
    trace: bool,
}

/// Whether every promise was kept.
///
/// # Errors
/// There are not so many seeds, or it was told to stop before all had their turn.
pub(crate) fn run(args: &SimulateArgs) -> anyhow::Result<bool> {
    if args.trace {
        return Ok(trace(Run { trace: true, ..Run::new(args.seed) }, usize::MAX));
    }
    let (stop, runs) = (on_signal()?, seeds(args)?);
    let bar = bar("{bar:30} {pos} of {len} runs, {elapsed}");
    bar.set_length(args.runs);
    let (totals, failed) = simulate_all(runs, &bar, &stop);
    let done = bar.position();
    bar.finish_and_clear();
    let Some(run) = failed else {
        say!("{}", told(done, &totals));
        ensure!(done == args.runs, "told to stop after {done} of {} runs", args.runs);
        return Ok(true);
    };
    say!("BROKEN in the run with seed {}. Its shortest form:", run.seed);
    Ok(trace(Run { trace: true, ..shortest(run) }, TRACE_LINES))
}

fn seeds(args: &SimulateArgs) -> anyhow::Result<Range<u64>> {
    let end = args.seed.checked_add(args.runs);
    Ok(args.seed..end.context("--seed: so many runs do not follow it; seeds have 64 bits")?)
}

/// Runs all seeds on all cores; ends early with one in which a promise is broken.
fn simulate_all(
    runs: Range<u64>,
    bar: &ProgressBar,
    stop: &CancellationToken,
) -> (Totals, Option<Run>) {
    let (next, totals, failed) = (AtomicU64::new(runs.start), Mutex::default(), Mutex::new(None));
    let goes_on = || failed.lock().is_none() && !stop.is_cancelled();
    let next = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| runs.contains(seed));
    let work = || {
        while let Some(seed) = next().filter(|_| goes_on()) {
            match simulate(Run::new(seed)) {
                Ok(of_run) => Totals::add(&mut totals.lock(), &of_run),
                Err(_) => *failed.lock() = Some(Run::new(seed)),
            }
            bar.inc(1);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    (totals.into_inner(), failed.into_inner())
}

/// Prints the last lines of a run; whether every promise was kept.
fn trace(run: Run, lines: usize) -> bool {
    let mut out = std::io::stdout().lock();
    let simulated = simulate(run);
    let (trace, broken) = match &simulated {
        Ok(totals) => (&totals.trace, &[][..]),
        Err(Failed { trace, broken }) => (trace, &broken[..]),
    };
    let kept = &trace[trace.len().saturating_sub(lines)..];
    // A reader such as `head` may close the pipe early.
    let _ = kept.iter().try_for_each(|line| writeln!(out, "{line}"));
    let _ = broken.iter().try_for_each(|line| writeln!(out, "BROKEN: {line}"));
    if broken.is_empty() {
        let _ = writeln!(out, "every promise was kept");
    }
    broken.is_empty()
}

fn told(runs: u64, totals: &Totals) -> String {
    let Totals { grabs, coupons, events, void, takeovers, faults, simulated_ms, .. } = totals;
    let hours = *simulated_ms as f64 / 3_600_000.0;
    let lines = [
        format!("{runs:>12}  runs, {hours:.1} h of simulated time"),
        format!("{grabs:>12}  requests for coupons"),
        format!("{coupons:>12}  coupons given"),
        format!("{events:>12}  events, and {void} that count for nobody"),
        format!("{takeovers:>12}  takeovers of a partition"),
        format!("{faults:>12}  faults"),
        format!("{:>12}  promises broken", 0),
    ];
    lines.join("\n")
}
