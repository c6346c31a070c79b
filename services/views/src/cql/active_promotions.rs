//! Statements of `active_promotions`: those of `promotions`, and the delete.

use futures::{StreamExt, TryStreamExt, stream};
use scylla::statement::prepared::PreparedStatement;

use super::database::Database;
use super::promotions::Promotions;
use super::value::write_time;
use super::write::Write;
use crate::active_promotions::{Membership, VIEW, membership};
use crate::generation::Generation;
use crate::{PromotionRow, ViewsError};

/// Partitions that are read at once for the whole list.
const IN_FLIGHT: usize = 16;

/// What a delete adds to a batch beside the id.
const DELETE_BYTES: usize = 64;

pub(super) struct ActivePromotions {
    rows: Promotions,
    delete: PreparedStatement,
}

impl ActivePromotions {
    pub(super) async fn prepare(
        database: &Database,
        generation: Generation,
    ) -> Result<Self, ViewsError> {
        let table = database.table(generation, VIEW);
        let delete =
            format!("DELETE FROM {table} USING TIMESTAMP ? WHERE partition = ? AND id = ?");
        Ok(Self {
            rows: Promotions::prepare_on(database, &table).await?,
            delete: database.prepare(&delete).await?,
        })
    }

    pub(super) fn rows(&self) -> &Promotions {
        &self.rows
    }

    /// What a promotion's row changes here. The delete has the write time of the finish: an older
    /// row that is written after it stays invisible.
    pub(super) fn follow<'a>(&'a self, row: &'a PromotionRow) -> Option<Write<'a>> {
        match membership(row.state) {
            Membership::NotYet => None,
            Membership::In => Some(self.rows.upsert(row)),
            Membership::Out => Some(self.delete(row)),
        }
    }

    fn delete<'a>(&'a self, row: &'a PromotionRow) -> Write<'a> {
        let partition = i64::from(row.position.partition);
        let values = (write_time(row.position.offset), partition, &row.id);
        let bytes = DELETE_BYTES + row.id.len();
        Write { statement: &self.delete, values: Box::new(values), bytes }
    }

    pub(super) async fn all(
        &self,
        database: &Database,
        partitions: u32,
    ) -> Result<Vec<PromotionRow>, ViewsError> {
        let reads = (0..partitions).map(|partition| self.rows.of_partition(database, partition));
        stream::iter(reads).buffered(IN_FLIGHT).try_concat().await
    }
}
