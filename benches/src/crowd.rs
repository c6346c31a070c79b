//! A crowd that comes regardless (open model): how long it waits at parts of what can be served, and what becomes of one that
//! is too large.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use seckill_load::{Quantiles, Report as LoadReport};
use seckill_log::{Delivery, Log};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::args::CrowdArgs;
use crate::contest::LOG_FILTER;
use crate::embedded::EmbeddedEngine;
use crate::lap::{Lap, Tally, Window, each, in_turns};
use crate::machine::Processes;
use crate::program::Program;
use crate::report::{Contest, Ratio, Report, Standing, Target};

/// Between two turns: what the server does later is its own matter until then.
const BETWEEN: Duration = Duration::from_secs(2);
/// Customers of a crowd that is too large do not wait for longer, and so many wait at once.
const GIVE_UP: &str = "3s";
const MAX_OUTSTANDING: &str = "9000";
/// Of one record, about as long as that of a grab.
const RECORD: [u8; 90] = [7; 90];

/// What is measured, each in a turn.
#[derive(Clone, Copy)]
enum Turn {
    /// As many as are served.
    Peak,
    /// For a promotion that is sold out.
    SoldOut,
    /// Single records appended to a log at half of the peak.
    RawAtHalf,
    Half,
    Most,
    TooMany,
}

const TURNS: [Turn; 6] =
    [Turn::Peak, Turn::SoldOut, Turn::RawAtHalf, Turn::Half, Turn::Most, Turn::TooMany];

impl Turn {
    fn name(self) -> &'static str {
        match self {
            Self::Peak => "peak",
            Self::SoldOut => "sold out",
            Self::RawAtHalf => "raw at half of the peak",
            Self::Half => "half of the peak",
            Self::Most => "70 % of the peak",
            Self::TooMany => "three times the peak",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::SoldOut => "refusals",
            Self::RawAtHalf => "records",
            Self::Peak | Self::Half | Self::Most | Self::TooMany => "coupons",
        }
    }

    /// How many come, by the peak.
    fn share(self) -> f64 {
        match self {
            Self::Peak | Self::SoldOut => 1.0,
            Self::RawAtHalf | Self::Half => 0.5,
            Self::Most => 0.7,
            Self::TooMany => 3.0,
        }
    }
}

/// Who is asked, and the log beside it.
struct Crowd<'a> {
    args: &'a CrowdArgs,
    up: Program,
    log: Arc<dyn Log>,
    /// Coupons a second, of as many clients as are served.
    peak: f64,
}

/// Measures, prints the table, and ends what it started.
///
/// # Errors
/// The program does not work.
pub async fn crowd(args: CrowdArgs) -> Result<()> {
    seckill_telemetry::start_tracing(LOG_FILTER, seckill_telemetry::LogFormat::Text)?;
    let report = Report::begin();
    report.of(vec![measured(&args).await?]).end(&args.output)
}

/// Measures, and ends what it started.
pub(crate) async fn measured(args: &CrowdArgs) -> Result<Contest> {
    tokio::select! {
        measured = measure(args) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    }
}

async fn measure(args: &CrowdArgs) -> Result<Contest> {
    let folder = args.tried.folder("crowd-")?;
    let data = folder.path().display().to_string();
    let mut up = Program::new(&args.tried.program, "up", &["--data", &data])?;
    up.start().await?;
    let raw = EmbeddedEngine::new(&args.tried.data, Some(1))?;
    let log = raw.log().await?;
    let mut crowd = Crowd { args, up, log, peak: 1.0 };
    crowd.peak = crowd.lap(Turn::Peak).await?.per_second; // warms up, too
    let names = TURNS.map(|turn| turn.name().to_owned());
    let laps = in_turns(args.turns.rounds, &names, async |turn| {
        tokio::time::sleep(BETWEEN).await;
        crowd.lap(TURNS[turn]).await
    });
    let standings = TURNS.into_iter().zip(laps.await?);
    let standings = standings.map(|(turn, laps)| Standing::new(turn.name(), turn.unit(), laps));
    let standings = standings.collect::<Result<Vec<_>>>()?;
    let setting = vec![
        format!(
            "`seckill up` with its views; the peak is that of {} clients: {:.0} coupons/s",
            args.clients, crowd.peak
        ),
        args.turns.describe(),
    ];
    let (name, ratios) = ("A crowd that comes regardless".to_owned(), ratios(&standings));
    Ok(Contest { name, setting, standings, ratios })
}

fn ratios(standings: &[Standing]) -> Vec<Ratio> {
    let [peak, sold_out, raw, half, most, too_many] = standings else { return Vec::new() };
    let less_one = |of: &Lap, raw: &Lap| Some((of.p99_ms? - 1.0) / raw.p99_ms?);
    let name = format!("p99 less 1 ms: {} / {}", half.name, raw.name);
    let target = Some(Target::AtMost(2.0));
    let ratios = [
        Ratio::alone("CPU µs", peak, Lap::cpu, Target::AtMost(20.0)),
        Ratio::alone("CPU µs", sold_out, Lap::cpu, Target::AtMost(10.0)),
        Ratio::round_by_round(name, (half, raw), less_one, target),
        Ratio::alone("p99 ms", most, Lap::p99, Target::AtMost(20.0)),
        Ratio::of("rate", (too_many, peak), Lap::rate, Some(Target::AtLeast(0.9))),
        Ratio::of("p99", (too_many, peak), Lap::p99, Some(Target::AtMost(3.0))),
    ];
    ratios.into_iter().flatten().collect()
}

impl Crowd<'_> {
    async fn lap(&self, turn: Turn) -> Result<Lap> {
        let here = Some(std::process::id()); // and what it has started
        let processes = Processes::default().and("server", self.up.id()).and("generator", here);
        let before = processes.times();
        if let Turn::RawAtHalf = turn {
            let (log, rate) = (Arc::clone(&self.log), self.peak * turn.share());
            let tally = append(log, rate, Duration::from_secs(self.args.turns.seconds)).await?;
            return Lap::new(tally, processes.since(&before));
        }
        let told = self.up.load(&self.flags(turn)).await?;
        let mut spent = processes.since(&before);
        if let [(_, server), (_, all)] = &mut spent[..] {
            *all = all.saturating_sub(*server);
        }
        lap_of(turn, &told, spent)
    }

    fn flags(&self, turn: Turn) -> Vec<String> {
        let (seconds, rate) = (self.args.turns.seconds + 1, self.peak * turn.share());
        let mut flags = vec![format!("--duration={seconds}s"), format!("--customers={}", u32::MAX)];
        let coupons = if let Turn::SoldOut = turn { 1 } else { u32::MAX };
        flags.push(format!("--coupons={coupons}"));
        flags.push(match turn {
            Turn::Peak | Turn::SoldOut => format!("--clients={}", self.args.clients),
            Turn::RawAtHalf | Turn::Half | Turn::Most | Turn::TooMany => {
                format!("--rate={rate:.0}")
            }
        });
        if let Turn::TooMany = turn {
            flags.extend([
                format!("--give-up={GIVE_UP}"),
                format!("--max-outstanding={MAX_OUTSTANDING}"),
            ]);
        }
        flags
    }
}

fn lap_of(turn: Turn, told: &LoadReport, spent: Vec<(&'static str, Duration)>) -> Result<Lap> {
    let (count, of): (u64, &Quantiles) = match turn {
        Turn::SoldOut => (told.grabs.refused.all, &told.latency.refused),
        _ => (told.grabs.granted, &told.latency.granted),
    };
    ensure!(count > 0, "nobody was answered: {:?}", told.surprises);
    Ok(Lap {
        per_second: count as f64 / told.elapsed_seconds,
        p50_ms: Some(of.p50_ms),
        p99_ms: Some(of.p99_ms),
        cpu: each(spent, count),
        failed: told.grabs.gave_up,
    })
}

/// Appends single records at this rate, whatever became of those before.
async fn append(log: Arc<dyn Log>, rate: f64, length: Duration) -> Result<Tally> {
    let (window, runtime) = (Window::of(length), Handle::current());
    // A thread of its own keeps the times: the runtime's timers are a millisecond coarse.
    let coming = tokio::task::spawn_blocking(move || {
        let (begun, mut appending) = (Instant::now(), JoinSet::new());
        for number in 0_u64.. {
            let due = begun + Duration::from_secs_f64(number as f64 / rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if window.is_over() {
                break;
            }
            appending.spawn_on(one(Arc::clone(&log), due, window), &runtime);
        }
        appending
    });
    Tally::gather(window, coming.await.context("the generator ended badly")?).await
}

async fn one(log: Arc<dyn Log>, due: Instant, window: Window) -> Result<Tally> {
    let mut tally = Tally::new(window);
    for delivery in log.append(0, vec![RECORD.to_vec()]).deliveries().await {
        match delivery {
            Delivery::At(_) => tally.answered(due),
            Delivery::Unknown => anyhow::bail!("the log does not take records any more"),
        }
    }
    Ok(tally)
}
