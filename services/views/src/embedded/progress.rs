//! Progress: JSON by partition.

use fjall::{Keyspace, OwnedWriteBatch};

use super::{Store, failed};
use crate::error::ViewsError;
use crate::generation::ProgressId;
use crate::progress::Progress;
use crate::view::corrupt;

impl Store {
    pub(super) fn progress(
        &self,
        id: ProgressId,
        partition: u32,
    ) -> Result<Option<Progress>, ViewsError> {
        read(id, &self.progress_table(id)?, partition)
    }
}

pub(super) fn put(batch: &mut OwnedWriteBatch, table: &Keyspace, progress: &Progress) {
    let json = serde_json::to_vec(&progress.normal()).expect("a progress is plain JSON");
    batch.insert(table, progress.partition.to_be_bytes(), json);
}

pub(super) fn read(
    id: ProgressId,
    table: &Keyspace,
    partition: u32,
) -> Result<Option<Progress>, ViewsError> {
    let value = table.get(partition.to_be_bytes()).map_err(failed("reading the progress"))?;
    value
        .map(|value| serde_json::from_slice(&value))
        .transpose()
        .map_err(|error| corrupt(&id.to_string(), partition, error))
}
