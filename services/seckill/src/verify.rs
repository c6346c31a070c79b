//! `seckill verify`: are the views what the log says?

use std::time::Duration;

use seckill_command::newest_snapshot;
use seckill_log::{Log, LogError};
use seckill_projector::{Claim, verify};
use seckill_telemetry::start_tracing;

use crate::engines;
use crate::settings::Settings;

/// An engine that is there answers sooner; one that is not shall not keep anybody waiting.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(10);

/// Prints counts and differences; whether there are none.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<bool> {
    start_tracing("warn", settings.log_format)?;
    let settings = settings.with_timeout(ENGINE_TIMEOUT);
    let log = engines::log_to_read(&settings).await?;
    let (views, _copy) = engines::views_to_read(&settings, log.partitions()).await?;
    let report = verify(&*log, &views, snapshots(&*log).await?).await?;
    for (what, count) in &report.counts {
        println!("{count:>12}  {what}");
    }
    for repair in &report.repairs {
        println!("REPAIRED: {repair}");
    }
    for difference in &report.differences {
        println!("DIFFERENT: {difference}");
    }
    println!("{:>12}  differences", report.different);
    Ok(report.is_equal())
}

/// What the snapshots claim.
async fn snapshots(log: &dyn Log) -> Result<Vec<Claim>, LogError> {
    let mut claims = Vec::new();
    for partition in 0..log.partitions() {
        let newest = newest_snapshot(log, partition).await?;
        claims.extend(newest.map(|(checkpoint, book)| Claim {
            what: "the newest snapshot",
            partition,
            checkpoint,
            book: Some(book),
        }));
    }
    Ok(claims)
}
