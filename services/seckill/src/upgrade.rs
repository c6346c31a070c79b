//! `seckill upgrade`: makes data of an earlier version data of this one.

use seckill_log::embedded::EmbeddedLog;
use seckill_telemetry::{say, start_tracing};

use crate::settings::Settings;

/// Moves the embedded log, and says what it did.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    start_tracing("warn", settings.log_format)?;
    let Some(upgraded) = EmbeddedLog::upgrade(&settings.data.join("log")).await? else {
        say!("The log is of this version already.");
        return Ok(());
    };
    for (partition, records) in upgraded.records.iter().enumerate() {
        say!("partition {partition}: {records} records");
    }
    say!("Moved. The old log is kept in {}; delete it once all is well.", upgraded.kept.display());
    say!("The views are made again from the log when `seckill up` starts.");
    Ok(())
}
