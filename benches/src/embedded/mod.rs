//! The embedded log, and appends to it without an owner.

mod rival;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use seckill_log::Log;
use seckill_log::embedded::EmbeddedLog;
use tempfile::TempDir;

pub(crate) use rival::BurstRival;

use crate::record::Record;

/// A directory of its own, deleted with this.
pub(crate) struct EmbeddedEngine {
    directory: TempDir,
    partitions: Option<u32>,
}

impl EmbeddedEngine {
    pub(crate) fn new(data: &Path, partitions: Option<u32>) -> anyhow::Result<Self> {
        let what = || format!("no directory in {}", data.display());
        std::fs::create_dir_all(data).with_context(what)?;
        let mut name = tempfile::Builder::new();
        let directory = name.prefix("seckill-bench-").tempdir_in(data).with_context(what)?;
        Ok(Self { directory, partitions })
    }

    pub(crate) fn describe(&self) -> String {
        format!("the embedded log in {}", self.directory.path().display())
    }

    pub(crate) async fn log(&self) -> anyhow::Result<Arc<dyn Log>> {
        Ok(Arc::new(self.open("owner").await?))
    }

    /// In a log beside the owner's: foreign records in the owner's own would depose it.
    pub(crate) async fn rival(
        &self,
        in_flight: u32,
        records: &[Record],
    ) -> anyhow::Result<BurstRival> {
        Ok(BurstRival::new(Arc::new(self.open("raw").await?), in_flight, records))
    }

    async fn open(&self, name: &str) -> anyhow::Result<EmbeddedLog> {
        let (path, partitions) = (self.directory.path().join(name), self.partitions);
        let open = move || EmbeddedLog::open(&path, partitions);
        Ok(tokio::task::spawn_blocking(open).await??)
    }

    pub(crate) fn clean_up(self) -> anyhow::Result<()> {
        self.directory.close().context("the directory could not be deleted")
    }
}
