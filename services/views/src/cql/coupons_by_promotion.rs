//! Statements of `coupons_by_promotion`.

use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use seckill_proto::{CouponId, Position, partition_of};

use super::database::{Database, Query};
use super::value::{bigint, time, timestamp, unsigned, write_time};
use super::write::Write;
use crate::coupons_by_promotion::{COLUMNS, VIEW, bucket_of, first_of, to_cursor};
use crate::generation::Generation;
use crate::{CouponRow, Page, Scanned, ViewsError, clamp_limit};

/// What a row adds to a batch beside its texts: 8 lengths, 6 numbers, the statement's id.
const FIXED_BYTES: usize = 128;

/// As in [`COLUMNS`].
type Columns = (String, i64, i64, String, f64, CqlTimestamp, i64);

pub(super) struct CouponsByPromotion {
    upsert: PreparedStatement,
    get: Query,
    list: Query,
    scan: Query,
}

impl CouponsByPromotion {
    pub(super) async fn prepare(
        database: &Database,
        generation: Generation,
    ) -> Result<Self, ViewsError> {
        let table = &database.table(generation, VIEW);
        let upsert = format!(
            "INSERT INTO {table} ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
        );
        let scan = format!("SELECT {COLUMNS} FROM {table}");
        let bucket = format!("{scan} WHERE promotion_id = ? AND bucket = ?");
        let get = format!("{bucket} AND serial = ?");
        let list = format!("{bucket} AND serial >= ? LIMIT ?");
        Ok(Self {
            upsert: database.prepare(&upsert).await?,
            get: database.query(table, &get).await?,
            list: database.query(table, &list).await?,
            scan: database.query(table, &scan).await?,
        })
    }

    pub(super) fn upsert<'a>(&'a self, row: &'a CouponRow) -> Write<'a> {
        let values = (
            &row.promotion_id,
            i64::from(bucket_of(row.serial)),
            i64::from(row.serial),
            &row.customer_id,
            row.discount,
            timestamp(row.grabbed_at),
            bigint(row.position.offset),
            write_time(row.position.offset),
        );
        let bytes = FIXED_BYTES + row.promotion_id.len() + row.customer_id.len();
        Write { statement: &self.upsert, values: Box::new(values), bytes }
    }

    pub(super) async fn get(
        &self,
        (database, partitions): (&Database, u32),
        id: &CouponId,
    ) -> Result<Option<CouponRow>, ViewsError> {
        let bucket = i64::from(bucket_of(id.serial));
        let values = (&id.promotion_id, bucket, i64::from(id.serial));
        let to_row = |columns| to_row(columns, partitions);
        Ok(database.rows(&self.get, values, id, to_row).await?.pop())
    }

    /// Walks the buckets until the page is full and one row is known to follow, or until a whole
    /// bucket is empty: serials are dense, so the end is before it.
    pub(super) async fn page(
        &self,
        reading: (&Database, u32),
        promotion_id: &str,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Page<CouponRow>, ViewsError> {
        let limit = clamp_limit(limit);
        let mut next = after.unwrap_or(0).checked_add(1);
        let mut items = Vec::new();
        while let Some(from) = next.filter(|_| items.len() <= limit) {
            let rows = self.list(reading, promotion_id, from, limit + 1 - items.len()).await?;
            let bucket = bucket_of(from);
            if rows.is_empty() && from <= first_of(bucket).max(1) {
                break;
            }
            items.extend(rows);
            next = (bucket < bucket_of(u32::MAX)).then(|| first_of(bucket + 1));
        }
        Ok(Page::cut(items, limit, to_cursor))
    }

    /// Rows of one bucket from a serial on.
    async fn list(
        &self,
        (database, partitions): (&Database, u32),
        promotion_id: &str,
        from: u32,
        count: usize,
    ) -> Result<Vec<CouponRow>, ViewsError> {
        let limit = i32::try_from(count).unwrap_or(i32::MAX);
        let values = (promotion_id, i64::from(bucket_of(from)), i64::from(from), limit);
        let key = format_args!("{promotion_id} from serial {from}").to_string();
        database.rows(&self.list, values, key, |columns| to_row(columns, partitions)).await
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
    let (promotion_id, bucket, serial, customer_id, discount, grabbed_at, position) = columns;
    let serial = unsigned("serial", serial)?;
    if bucket != i64::from(bucket_of(serial)) {
        return Err(format!("serial {serial} of {promotion_id:?} is in bucket {bucket}"));
    }
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
