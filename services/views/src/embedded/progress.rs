//! `progress`: JSON by partition; the greater `next_offset` wins, and at the same one the later
//! write, since all writers are in this process.

use fjall::OwnedWriteBatch;

use super::table::corrupt;
use super::{Store, failed};
use crate::{Progress, ViewsError};

impl Store {
    pub(super) fn progress(&self, partition: u32) -> Result<Option<Progress>, ViewsError> {
        let key = partition.to_be_bytes();
        let value = self.tables.progress.get(key).map_err(failed("reading the progress"))?;
        value
            .map(|value| serde_json::from_slice(&value))
            .transpose()
            .map_err(|error| corrupt(crate::progress::VIEW, &key, &error.to_string()))
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
        batch.insert(&self.tables.progress, progress.partition.to_be_bytes(), json);
        Ok(())
    }
}
