//! `progress`: JSON by partition; the greater `next_offset` wins, and at the same one the later
//! write, since all writers are in this process.

use std::path::Path;

use fjall::OwnedWriteBatch;

use super::{Store, failed};
use crate::error::ViewsError;
use crate::progress::Progress;
use crate::view::corrupt;

/// Where the number of the log's partitions lies, beside the progress of each.
const PARTITIONS: &[u8] = b"partitions";

impl Store {
    /// Sees to it that the log has as many partitions as the one that the views were made of.
    pub(super) fn assert_partitions(&self, dir: &Path, partitions: u32) -> Result<(), ViewsError> {
        let table = &self.progress;
        let found = table.get(PARTITIONS).map_err(failed("reading the number of partitions"))?;
        let Some(found) = found else {
            let written = table.insert(PARTITIONS, partitions.to_be_bytes());
            return written.map_err(failed("writing the number of partitions"));
        };
        let wrong = || corrupt(crate::progress::VIEW, "partitions", "it is no number");
        match u32::from_be_bytes(<[u8; 4]>::try_from(&*found).map_err(|_| wrong())?) {
            found if found == partitions => Ok(()),
            found => {
                let place = dir.display().to_string();
                Err(ViewsError::OtherPartitions { place, found, partitions })
            }
        }
    }

    pub(super) fn clear_progress(&self) -> Result<(), ViewsError> {
        let failed = failed("emptying the progress");
        let partitions = self.progress.get(PARTITIONS).map_err(&failed)?;
        self.progress.clear().map_err(&failed)?;
        partitions.map_or(Ok(()), |noted| self.progress.insert(PARTITIONS, noted).map_err(failed))
    }

    pub(super) fn progress(&self, partition: u32) -> Result<Option<Progress>, ViewsError> {
        let key = partition.to_be_bytes();
        let value = self.progress.get(key).map_err(failed("reading the progress"))?;
        value
            .map(|value| serde_json::from_slice(&value))
            .transpose()
            .map_err(|error| corrupt(crate::progress::VIEW, partition, error))
    }

    pub(super) fn put_progress(
        &self,
        batch: &mut OwnedWriteBatch,
        progress: &Progress,
    ) -> Result<(), ViewsError> {
        let stored = self.progress(progress.partition)?;
        if stored.is_some_and(|stored| stored.next_offset > progress.next_offset) {
            return Ok(());
        }
        let json = serde_json::to_vec(&progress.normal()).expect("a progress is plain JSON");
        batch.insert(&self.progress, progress.partition.to_be_bytes(), json);
        Ok(())
    }
}
