//! Statements of `coupons_by_customer`.

use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use seckill_proto::{Position, partition_of};

use super::database::{Database, Query};
use super::value::{bigint, time, timestamp, unsigned, write_time};
use super::write::Write;
use crate::coupons_by_customer::{COLUMNS, CouponOfCustomer, VIEW};
use crate::generation::Generation;
use crate::{CouponRow, Page, Scanned, ViewsError, clamp_limit};

/// What a row adds to a batch beside its texts: 7 lengths, 5 numbers, the statement's id.
const FIXED_BYTES: usize = 112;

/// As in [`COLUMNS`].
type Columns = (String, String, i64, f64, CqlTimestamp, i64);

pub(super) struct CouponsByCustomer {
    upsert: PreparedStatement,
    list: Query,
    scan: Query,
}

impl CouponsByCustomer {
    pub(super) async fn prepare(
        database: &Database,
        generation: Generation,
    ) -> Result<Self, ViewsError> {
        let table = &database.table(generation, VIEW);
        let upsert =
            format!("INSERT INTO {table} ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?");
        let scan = format!("SELECT {COLUMNS} FROM {table}");
        let list =
            format!("{scan} WHERE customer_id = ? AND (promotion_id, serial) > (?, ?) LIMIT ?");
        Ok(Self {
            upsert: database.prepare(&upsert).await?,
            list: database.query(table, &list).await?,
            scan: database.query(table, &scan).await?,
        })
    }

    pub(super) fn upsert<'a>(&'a self, row: &'a CouponRow) -> Write<'a> {
        let values = (
            &row.customer_id,
            &row.promotion_id,
            i64::from(row.serial),
            row.discount,
            timestamp(row.grabbed_at),
            bigint(row.position.offset),
            write_time(row.position.offset),
        );
        let bytes = FIXED_BYTES + row.promotion_id.len() + row.customer_id.len();
        Write { statement: &self.upsert, values: Box::new(values), bytes }
    }

    /// An empty promotion id is before all others.
    pub(super) async fn page(
        &self,
        (database, partitions): (&Database, u32),
        customer_id: &str,
        after: Option<CouponOfCustomer>,
        limit: usize,
    ) -> Result<Page<CouponRow>, ViewsError> {
        let limit = clamp_limit(limit);
        let count = i32::try_from(limit + 1).unwrap_or(i32::MAX);
        let after = after.unwrap_or(CouponOfCustomer { promotion_id: String::new(), serial: 0 });
        let values = (customer_id, &after.promotion_id, i64::from(after.serial), count);
        let to_row = |columns| to_row(columns, partitions);
        let rows = database.rows(&self.list, values, customer_id, to_row).await?;
        Ok(Page::cut(rows, limit, |row| CouponOfCustomer::of(row).to_cursor()))
    }

    pub(super) async fn scan(
        &self,
        (database, partitions): (&Database, u32),
        each: &mut (dyn FnMut(Scanned<CouponRow>) + Send),
    ) -> Result<(), ViewsError> {
        database.each(&self.scan, (), |columns| to_row(columns, partitions), each).await
    }
}

fn to_row(columns: Columns, partitions: u32) -> Result<CouponRow, String> {
    let (customer_id, promotion_id, serial, discount, grabbed_at, position) = columns;
    let serial = unsigned("serial", serial)?;
    let partition = partition_of(&promotion_id, partitions);
    Ok(CouponRow {
        id: CouponRow::coupon_id(&promotion_id, serial),
        promotion_id,
        serial,
        customer_id,
        discount,
        grabbed_at: time("grabbed_at", grabbed_at)?,
        position: Position { partition, offset: unsigned("position_offset", position)? },
    })
}
