//! Statements of `open_promotions`, and the lists that are read through it.

use futures::future::try_join_all;
use scylla::statement::prepared::PreparedStatement;
use seckill_proto::Position;

use super::database::{Database, Query};
use super::promotions::Promotions;
use super::value::{bigint, unsigned, write_time};
use super::write::Write;
use crate::generation::Generation;
use crate::open_promotions::{COLUMNS, VIEW};
use crate::promotions::PromotionKey;
use crate::{
    OpenPromotions, Page, PromotionRow, PromotionStatus, Scanned, ViewsError, clamp_limit,
};

/// What a row adds to a batch beside its ids.
const FIXED_BYTES: usize = 100;
/// What an id adds beside its text.
const ID_BYTES: usize = 4;

/// Promotions that one statement asks for: the most that ScyllaDB takes.
const IDS: usize = 100;

/// As in [`COLUMNS`]. An empty list of CQL is a null.
type Columns = (i64, i64, Option<Vec<String>>, Option<Vec<String>>, i64);

pub(super) struct OpenTable {
    upsert: PreparedStatement,
    of_partition: Query,
    scan: Query,
}

impl OpenTable {
    pub(super) async fn prepare(
        database: &Database,
        generation: Generation,
    ) -> Result<Self, ViewsError> {
        let table = &database.table(generation, VIEW);
        let upsert =
            format!("INSERT INTO {table} ({COLUMNS}) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?");
        let scan = format!("SELECT {COLUMNS} FROM {table}");
        let of_partition = format!("{scan} WHERE partition = ?");
        Ok(Self {
            upsert: database.prepare(&upsert).await?,
            of_partition: database.query(table, &of_partition).await?,
            scan: database.query(table, &scan).await?,
        })
    }

    pub(super) fn upsert<'a>(&'a self, row: &'a OpenPromotions) -> Write<'a> {
        let values = (
            i64::from(row.position.partition),
            i64::from(row.row),
            &row.scheduled,
            &row.active,
            bigint(row.position.offset),
            write_time(row.position.offset),
        );
        let ids = row.scheduled.iter().chain(&row.active).map(|id| ID_BYTES + id.len());
        let bytes = FIXED_BYTES + ids.sum::<usize>();
        Write { statement: &self.upsert, values: Box::new(values), bytes }
    }

    pub(super) async fn of_partition(
        &self,
        database: &Database,
        partition: u32,
    ) -> Result<Vec<OpenPromotions>, ViewsError> {
        database.rows(&self.of_partition, (i64::from(partition),), partition, to_row).await
    }

    pub(super) async fn scan(
        &self,
        database: &Database,
        each: &mut (dyn FnMut(Scanned<OpenPromotions>) + Send),
    ) -> Result<(), ViewsError> {
        database.each(&self.scan, (), to_row, each).await
    }

    /// Walks the partitions in order until the page is full and one row is known to follow.
    pub(super) async fn page(
        &self,
        promotions: &Promotions,
        (database, partitions): (&Database, u32),
        state: PromotionStatus,
        after: Option<PromotionKey>,
        limit: usize,
    ) -> Result<Page<PromotionRow>, ViewsError> {
        let limit = clamp_limit(limit);
        let PromotionKey { partition: first, mut id } =
            after.unwrap_or(PromotionKey { partition: 0, id: String::new() });
        let mut items = Vec::new();
        for partition in first..partitions {
            let rows = self.of_partition(database, partition).await?;
            let mut ids: Vec<&str> =
                rows.iter().flat_map(|row| row.of(state)).map(String::as_str).collect();
            ids.sort_unstable();
            ids.drain(..ids.partition_point(|other| *other <= id.as_str()));
            let mut ids = ids.as_slice();
            while items.len() <= limit && !ids.is_empty() {
                let (next, rest) = ids.split_at(ids.len().min(limit + 1 - items.len()));
                let found = promotions_of(promotions, (database, partition), next).await?;
                items.extend(found.into_iter().filter(|row| row.state == state));
                ids = rest;
            }
            if items.len() > limit {
                break;
            }
            id.clear();
        }
        Ok(Page::cut(items, limit, |row| row.key().to_cursor()))
    }
}

/// In the order of the ids.
async fn promotions_of(
    promotions: &Promotions,
    (database, partition): (&Database, u32),
    ids: &[&str],
) -> Result<Vec<PromotionRow>, ViewsError> {
    let parts = ids.chunks(IDS).map(|ids| promotions.some(database, partition, ids));
    let mut rows = try_join_all(parts).await?.concat();
    rows.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    Ok(rows)
}

fn to_row(columns: Columns) -> Result<OpenPromotions, String> {
    let (partition, row, scheduled, active, position) = columns;
    let partition = unsigned("partition", partition)?;
    Ok(OpenPromotions {
        row: unsigned("row", row)?,
        scheduled: scheduled.unwrap_or_default(),
        active: active.unwrap_or_default(),
        position: Position { partition, offset: unsigned("position_offset", position)? },
    })
}
