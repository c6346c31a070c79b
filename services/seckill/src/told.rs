//! `seckill verify --history`: what clients were told, against the log.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context;
use seckill_checker::{Attempt, Ledger, REFUSALS_OLD_US, Violation, check};
use seckill_log::{Log, Stretch, fold_from};
use seckill_projector::Report;
use seckill_proto::v1::Checkpoint;

/// Adds to a report what the histories break.
pub(crate) async fn add(
    report: &mut Report,
    log: &dyn Log,
    histories: &[PathBuf],
) -> anyhow::Result<()> {
    let (mut ledger, mut broken) = (Ledger::default(), Vec::new());
    for partition in 0..log.partitions() {
        broken.extend(read_log(&mut ledger, log, partition).await?);
    }
    let mut requests = 0;
    for history in histories {
        let attempts = read(history).with_context(|| format!("--history {}", history.display()))?;
        requests += attempts.len() as u64;
        broken.extend(check(&ledger, &attempts, REFUSALS_OLD_US));
    }
    report.count("requests of histories", requests);
    broken.iter().for_each(|violation| report.differ(|| violation.to_string()));
    Ok(())
}

async fn read_log(
    ledger: &mut Ledger,
    log: &dyn Log,
    partition: u32,
) -> anyhow::Result<Vec<Violation>> {
    let fold = fold_from(log, partition, &Checkpoint::default()).await?;
    let mut reading = ledger.reading(partition, fold);
    let mut stretch = Stretch::from(log, partition, 0).await?;
    loop {
        let records = stretch.next().await?;
        if records.is_empty() {
            return Ok(reading.end());
        }
        for (offset, record) in records {
            reading.add(offset, &record)?;
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(File::open(path)?).lines()) {
        let attempt = serde_json::from_str(&line?).with_context(|| format!("line {number}"))?;
        attempts.push(attempt);
    }
    Ok(attempts)
}
