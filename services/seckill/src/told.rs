//! `seckill verify --history`: what clients were told, against the log.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use seckill_checker::{Attempt, Ledger, Outcome, REFUSALS_OLD_US, check, read_history};
use seckill_log::Log;
use seckill_projector::Report;

/// Adds to a report what the histories break.
pub(crate) async fn add(
    report: &mut Report,
    log: &dyn Log,
    histories: &[PathBuf],
) -> anyhow::Result<()> {
    let attempts =
        histories.iter().map(|history| read(history)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut ledger = Ledger::default();
    let mut broken = ledger.read_log(log).await?;
    for attempts in &attempts {
        broken.extend(check(&ledger, attempts, REFUSALS_OLD_US)); // each may have a clock of its own
    }
    let all = attempts.iter().flatten();
    let open = all.clone().filter(|of| of.outcome == Outcome::Unknown).count();
    report.count("requests of histories", all.count() as u64);
    report.count("requests of histories without a definite answer", open as u64);
    broken.iter().for_each(|violation| report.differ(|| violation.to_string()));
    Ok(())
}

fn read(history: &Path) -> anyhow::Result<Vec<Attempt>> {
    let attempts = read_history(history).context("--history")?;
    if attempts.is_empty() {
        bail!("--history {}: no request is in it, so nothing can be judged", history.display());
    }
    Ok(attempts)
}
