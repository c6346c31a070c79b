//! Rows of one group travel together, in batches that the database takes without
//! complaint; many batches are under way at once.

use std::sync::Arc;

use futures::TryStreamExt;
use futures::stream::FuturesUnordered;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::database::{Database, failure};
use super::table::Table;
use crate::changes::Changes;
use crate::error::ViewsError;

/// Under what either database complains about. Larger ones gain nothing: they only take longer
/// to be acknowledged, and longer to send again.
const BATCH_BYTES: usize = 32 * 1_024;

/// Batches and single statements under way at once in one write of rows.
const IN_FLIGHT: usize = 256;

/// One row's statement.
pub(super) struct Write<'a> {
    pub(super) statement: &'a PreparedStatement,
    pub(super) values: Box<dyn SerializeRow + Send + Sync + 'a>,
    /// About what it adds to a batch, rather too much than too little.
    pub(super) bytes: usize,
}

/// Returns once every row has been acknowledged, or at the first failure.
pub(super) async fn rows(
    database: &Database,
    tables: &[Arc<Table>],
    changes: &Changes,
) -> Result<(), ViewsError> {
    let groups = tables.iter().flat_map(|table| table.writes(changes));
    let mut under_way = FuturesUnordered::new();
    for writes in groups.flat_map(cut) {
        if under_way.len() == IN_FLIGHT {
            under_way.try_next().await?;
        }
        under_way.push(database.send(writes));
    }
    under_way.try_collect().await
}

fn cut(writes: Vec<Write<'_>>) -> Vec<Vec<Write<'_>>> {
    parts(writes, BATCH_BYTES, |write| write.bytes)
}

/// Parts of at most `most` bytes; what is larger by itself goes alone.
fn parts<T>(items: Vec<T>, most: usize, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for item in items {
        let size = bytes(&item);
        match parts.last_mut() {
            Some(part) if size <= room => part.push(item),
            Some(_) | None => {
                parts.push(vec![item]);
                room = most;
            }
        }
        room = room.saturating_sub(size);
    }
    parts
}

impl Database {
    /// Sends writes of one CQL partition, which the database applies together.
    pub(super) async fn send(&self, mut writes: Vec<Write<'_>>) -> Result<(), ViewsError> {
        let result = if writes.len() == 1 {
            let write = writes.remove(0);
            self.session.execute_unpaged(write.statement, write.values).await
        } else {
            let mut batch = Batch::new(BatchType::Unlogged);
            batch.set_is_idempotent(true);
            let (statements, values): (Vec<_>, Vec<_>) =
                writes.into_iter().map(|write| (write.statement, write.values)).unzip();
            statements.into_iter().for_each(|statement| batch.append_statement(statement.clone()));
            self.session.batch(&batch, values).await
        };
        result.map(drop).map_err(|error| failure("writing rows".into(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::parts;

    fn sizes(bytes: &[usize]) -> Vec<Vec<usize>> {
        parts(bytes.to_vec(), 10, |size| *size)
    }

    #[test]
    fn parts_are_full_but_not_too_large() {
        assert_eq!(sizes(&[]), [[0; 0]; 0]);
        assert_eq!(sizes(&[4, 6, 1, 9, 1]), [vec![4, 6], vec![1, 9], vec![1]]);
    }

    #[test]
    fn what_is_too_large_goes_alone() {
        assert_eq!(sizes(&[11, 1, 12, 13]), [[11], [1], [12], [13]].map(|part| part.to_vec()));
    }
}
