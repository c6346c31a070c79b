//! `seckill verify --history`: what clients were told, against the log.

use std::path::PathBuf;

use anyhow::Context;
use seckill_checker::{Ledger, REFUSALS_OLD_US, check, read_history};
use seckill_log::Log;
use seckill_projector::Report;

/// Adds to a report what the histories break.
pub(crate) async fn add(
    report: &mut Report,
    log: &dyn Log,
    histories: &[PathBuf],
) -> anyhow::Result<()> {
    let mut ledger = Ledger::default();
    let mut broken = ledger.read_log(log).await?;
    let mut requests = 0;
    for history in histories {
        let attempts = read_history(history).context("--history")?;
        requests += attempts.len() as u64;
        broken.extend(check(&ledger, &attempts, REFUSALS_OLD_US));
    }
    report.count("requests of histories", requests);
    broken.iter().for_each(|violation| report.differ(|| violation.to_string()));
    Ok(())
}
