//! How rate, latency and processor time of a grab change with the number of partitions, of promotions, and of coupons that
//! were given before.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use seckill_load::Crowd;

use crate::args::ScaleArgs;
use crate::contest::LOG_FILTER;
use crate::embedded::EmbeddedEngine;
use crate::fill;
use crate::lap::{Lap, in_turns};
use crate::machine::{Processes, quiet};
use crate::owner;
use crate::report::{Contest, Report, Standing};
use crate::sale::{OpenSale, Owned, in_partition};

/// What becomes more.
#[derive(Clone, Copy)]
enum Growing {
    Partitions,
    Promotions,
    Coupons,
}

/// A log of its own, and the sale in it.
struct Place {
    owned: Owned,
    sale: Arc<OpenSale>,
    /// Deleted with this.
    _engine: EmbeddedEngine,
}

/// Measures, prints, and deletes what was made.
///
/// # Errors
/// The disk, or a grab that was not granted.
pub async fn scale(args: ScaleArgs) -> Result<()> {
    seckill_telemetry::start_tracing(LOG_FILTER, seckill_telemetry::LogFormat::Text)?;
    let report = Report::begin();
    let measured = tokio::select! {
        measured = measure(&args) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    report.of(measured?).end(&args.output)
}

async fn measure(args: &ScaleArgs) -> Result<Vec<Contest>> {
    let sweeps = [
        (Growing::Partitions, "partitions, a promotion in each", &args.partitions),
        (Growing::Promotions, "promotions in one partition", &args.promotions),
        (Growing::Coupons, "coupons given before, of one promotion", &args.coupons),
    ];
    let mut contests = Vec::new();
    for (growing, name, numbers) in sweeps {
        contests.push(sweep(args, growing, name, numbers).await?);
    }
    Ok(contests)
}

async fn sweep(args: &ScaleArgs, growing: Growing, name: &str, numbers: &[u32]) -> Result<Contest> {
    let mut places = Vec::new();
    for number in numbers {
        places.push(Place::with(&args.data, growing, *number).await?);
    }
    let names: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    let bench = Processes::default().and("bench", Some(std::process::id()));
    let length = Duration::from_secs(args.turns.seconds);
    let laps = in_turns(args.turns.rounds, &names, async |turn| {
        quiet().await;
        let before = bench.times();
        let tally = owner::lap(&places[turn].sale, args.clients, length).await?;
        Lap::new(tally, bench.since(&before))
    });
    let standings = Standing::all(&names, "grabs", laps.await?)?;
    for place in places {
        place.owned.stop().await?;
    }
    let setting = vec![
        format!("the owner on the embedded log; {} grabs under way", args.clients),
        args.turns.describe(),
    ];
    Ok(Contest { name: format!("Growth: {name}"), setting, standings, ratios: Vec::new() })
}

impl Place {
    async fn with(data: &Path, growing: Growing, number: u32) -> Result<Self> {
        let partitions = growing.partitions(number);
        let engine = EmbeddedEngine::new(data, Some(partitions))?;
        let log = engine.log().await?;
        let filled = match growing {
            Growing::Coupons => Some(fill::fill(&*log, 0, number).await?),
            Growing::Partitions | Growing::Promotions => None,
        };
        let owned = Owned::start(log).await?;
        let sale = match (growing, filled) {
            (Growing::Coupons, Some(filled)) => OpenSale {
                dispatcher: owned.dispatcher(),
                promotions: vec![filled.promotion],
                crowd: Crowd::fresh(),
            },
            _ => {
                let places = (0..number).map(|of| in_partition(of % partitions, partitions));
                OpenSale::of(owned.dispatcher(), places.collect(), u32::MAX).await?
            }
        };
        Ok(Self { owned, sale: Arc::new(sale), _engine: engine })
    }
}

impl Growing {
    fn partitions(self, number: u32) -> u32 {
        match self {
            Self::Partitions => number,
            Self::Promotions | Self::Coupons => 1,
        }
    }
}
