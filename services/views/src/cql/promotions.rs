//! Statements of `promotions`, and of `finished_promotions`, which has the same columns.

use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use seckill_proto::Position;

use super::database::{Database, Query};
use super::value::{bigint, time, timestamp, unsigned, write_time};
use super::write::Write;
use crate::promotions::{COLUMNS, PromotionKey};
use crate::{FinishCause, Page, PromotionRow, PromotionStatus, Scanned, ViewsError, clamp_limit};

/// What a row adds to a batch beside its texts: 14 lengths, 9 numbers, the statement's id.
const FIXED_BYTES: usize = 200;

/// As in [`COLUMNS`].
type Columns = (
    i64,
    String,
    String,
    i64,
    i64,
    f64,
    i64,
    CqlTimestamp,
    Option<CqlTimestamp>,
    String,
    Option<String>,
    i64,
    i64,
);

pub(super) struct Promotions {
    upsert: PreparedStatement,
    get: Query,
    some: Query,
    list: Query,
    scan: Query,
}

impl Promotions {
    pub(super) async fn prepare(database: &Database, table: &str) -> Result<Self, ViewsError> {
        let marks = "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?";
        let upsert = format!("INSERT INTO {table} ({COLUMNS}) VALUES ({marks}) USING TIMESTAMP ?");
        let scan = format!("SELECT {COLUMNS} FROM {table}");
        let all = format!("{scan} WHERE partition = ?");
        let (get, some) = (format!("{all} AND id = ?"), format!("{all} AND id IN ?"));
        let list = format!("{all} AND id > ? LIMIT ?");
        Ok(Self {
            upsert: database.prepare(&upsert).await?,
            get: database.query(table, &get).await?,
            some: database.query(table, &some).await?,
            list: database.query(table, &list).await?,
            scan: database.query(table, &scan).await?,
        })
    }

    pub(super) fn upsert<'a>(&'a self, row: &'a PromotionRow) -> Write<'a> {
        let values = (
            i64::from(row.position.partition),
            &row.id,
            &row.name,
            i64::from(row.coupons),
            i64::from(row.remaining),
            row.discount,
            i64::from(row.limit_per_customer),
            timestamp(row.starts_at),
            row.finishes_at.map(timestamp),
            state_text(row.state),
            row.finish_reason.map(cause_text),
            bigint(row.created.offset),
            bigint(row.position.offset),
            write_time(row.position.offset),
        );
        let bytes = FIXED_BYTES + row.id.len() + row.name.len();
        Write { statement: &self.upsert, values: Box::new(values), bytes }
    }

    pub(super) async fn get(
        &self,
        database: &Database,
        key: &PromotionKey,
    ) -> Result<Option<PromotionRow>, ViewsError> {
        let values = (i64::from(key.partition), &key.id);
        Ok(database.rows(&self.get, values, &key.id, to_row).await?.pop())
    }

    /// Those of some promotions of a partition that are there, in the order of their ids.
    pub(super) async fn some(
        &self,
        database: &Database,
        partition: u32,
        ids: &[&str],
    ) -> Result<Vec<PromotionRow>, ViewsError> {
        let key = format_args!("{} promotions of partition {partition}", ids.len()).to_string();
        database.rows(&self.some, (i64::from(partition), ids), key, to_row).await
    }

    /// Walks the partitions in order until the page is full and one row is known to follow.
    pub(super) async fn page(
        &self,
        (database, partitions): (&Database, u32),
        after: Option<PromotionKey>,
        limit: usize,
    ) -> Result<Page<PromotionRow>, ViewsError> {
        let limit = clamp_limit(limit);
        let mut after = after.unwrap_or(PromotionKey { partition: 0, id: String::new() });
        let mut items = Vec::new();
        while items.len() <= limit && after.partition < partitions {
            items.extend(self.list(database, &after, limit + 1 - items.len()).await?);
            after = PromotionKey { partition: after.partition + 1, id: String::new() };
        }
        Ok(Page::cut(items, limit, |row| row.key().to_cursor()))
    }

    /// Rows of one partition after a key; an empty id is before all others.
    async fn list(
        &self,
        database: &Database,
        after: &PromotionKey,
        count: usize,
    ) -> Result<Vec<PromotionRow>, ViewsError> {
        let limit = i32::try_from(count).unwrap_or(i32::MAX);
        let values = (i64::from(after.partition), &after.id, limit);
        let key = format_args!("partition {} after {:?}", after.partition, after.id).to_string();
        database.rows(&self.list, values, key, to_row).await
    }

    pub(super) async fn scan(
        &self,
        database: &Database,
        each: &mut (dyn FnMut(Scanned<PromotionRow>) + Send),
    ) -> Result<(), ViewsError> {
        database.each(&self.scan, (), to_row, each).await
    }
}

fn to_row(columns: Columns) -> Result<PromotionRow, String> {
    let (partition, id, name, coupons, remaining, discount, limit_per_customer, ..) = columns;
    let (.., starts_at, finishes_at, state, finish_reason, created, position) = columns;
    let partition = unsigned("partition", partition)?;
    Ok(PromotionRow {
        id,
        name,
        coupons: unsigned("coupons", coupons)?,
        remaining: unsigned("remaining", remaining)?,
        discount,
        limit_per_customer: unsigned("limit_per_customer", limit_per_customer)?,
        starts_at: time("starts_at", starts_at)?,
        finishes_at: finishes_at.map(|end| time("finishes_at", end)).transpose()?,
        state: state_of(&state)?,
        finish_reason: finish_reason.as_deref().map(cause_of).transpose()?,
        created: Position { partition, offset: unsigned("created_offset", created)? },
        position: Position { partition, offset: unsigned("position_offset", position)? },
    })
}

fn state_text(state: PromotionStatus) -> &'static str {
    match state {
        PromotionStatus::Scheduled => "scheduled",
        PromotionStatus::Active => "active",
        PromotionStatus::Finished => "finished",
    }
}

fn state_of(text: &str) -> Result<PromotionStatus, String> {
    match text {
        "scheduled" => Ok(PromotionStatus::Scheduled),
        "active" => Ok(PromotionStatus::Active),
        "finished" => Ok(PromotionStatus::Finished),
        _ => Err(format!("{text:?} is no state")),
    }
}

fn cause_text(cause: FinishCause) -> &'static str {
    match cause {
        FinishCause::SoldOut => "sold_out",
        FinishCause::Time => "time",
        FinishCause::Cancelled => "cancelled",
    }
}

fn cause_of(text: &str) -> Result<FinishCause, String> {
    match text {
        "sold_out" => Ok(FinishCause::SoldOut),
        "time" => Ok(FinishCause::Time),
        "cancelled" => Ok(FinishCause::Cancelled),
        _ => Err(format!("{text:?} is no reason to finish")),
    }
}
