//! The rows of the three coupon views, inserted by the engine's own client as anybody would write it.

use std::path::Path;
use std::time::{Duration, Instant};

use fjall::{Database, KeyspaceCreateOptions};
use futures::{StreamExt, TryStreamExt, stream};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;

use crate::cql::{KEYSPACE, drop_keyspace, session};

/// Statements under way at once.
const IN_FLIGHT: usize = 256;
/// Coupons in one batch of the embedded store.
const BATCH: usize = 1_365;

const TABLES: [&str; 3] = [
    "raw_promotion (promotion_id text, bucket bigint, serial bigint, customer_id text, discount double, \
     grabbed_at timestamp, position_offset bigint, PRIMARY KEY ((promotion_id, bucket), serial))",
    "raw_customer (promotion_id text, bucket bigint, serial bigint, customer_id text, discount double, \
     grabbed_at timestamp, position_offset bigint, PRIMARY KEY ((customer_id), promotion_id, serial))",
    "raw_day (promotion_id text, bucket bigint, serial bigint, customer_id text, discount double, \
     grabbed_at timestamp, position_offset bigint, PRIMARY KEY ((bucket), promotion_id, serial))",
];

/// Coupons with these serials.
pub(super) struct Rows {
    coupons: u32,
}

type Row = (String, i64, i64, String, f64, CqlTimestamp, i64);

impl Rows {
    pub(super) fn of(coupons: u32) -> Self {
        Self { coupons }
    }

    fn rows(&self) -> impl Iterator<Item = Row> + use<> {
        (1..=i64::from(self.coupons)).map(|serial| {
            let (promotion, customer) = ("0191e5a0-0000-7000-8000-000000000000", serial);
            let customer = format!("customer-{customer:08}");
            let time = CqlTimestamp(1_794_391_200_000 + serial / 10);
            (promotion.to_owned(), serial / 4_096, serial, customer, 0.5, time, serial + 2)
        })
    }
}

pub(super) async fn into_cql(nodes: &str, rows: Rows) -> anyhow::Result<Duration> {
    drop_keyspace(nodes).await?;
    let session = session(nodes).await?;
    let keyspace = format!(
        "CREATE KEYSPACE {KEYSPACE} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'replication_factor': 1}}"
    );
    session.query_unpaged(keyspace, ()).await?;
    let mut inserts = Vec::new();
    for table in TABLES {
        session.query_unpaged(format!("CREATE TABLE {KEYSPACE}.{table}"), ()).await?;
        let name = table.split(' ').next().unwrap_or_default();
        let insert = format!(
            "INSERT INTO {KEYSPACE}.{name} (promotion_id, bucket, serial, customer_id, discount, grabbed_at, \
             position_offset) VALUES (?, ?, ?, ?, ?, ?, ?)"
        );
        inserts.push(session.prepare(insert).await?);
    }
    let begun = Instant::now();
    let statements = rows.rows().flat_map(|row| {
        inserts.iter().map(move |insert| (insert, row.clone())).collect::<Vec<_>>()
    });
    let send = async |(insert, row): (&PreparedStatement, Row)| {
        session.execute_unpaged(insert, row).await.map(drop)
    };
    stream::iter(statements).map(send).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
    let took = begun.elapsed();
    drop_keyspace(nodes).await?;
    Ok(took)
}

pub(super) async fn into_embedded(data: &Path, rows: Rows) -> anyhow::Result<Duration> {
    let directory = super::directory(data)?;
    tokio::task::spawn_blocking(move || {
        let database = Database::builder(directory.path()).open()?;
        let tables = ["promotion", "customer", "day"];
        let tables = tables.map(|name| database.keyspace(name, KeyspaceCreateOptions::default));
        let rows: Vec<Row> = rows.rows().collect();
        let begun = Instant::now();
        for part in rows.chunks(BATCH) {
            let mut batch = database.batch();
            for (promotion, bucket, serial, customer, discount, at, offset) in part {
                let json = serde_json::json!({
                    "id": format!("{promotion}-{serial}"), "promotion_id": promotion, "serial": serial,
                    "customer_id": customer, "discount": discount, "grabbed_at": at.0, "position": offset,
                });
                let json = serde_json::to_vec(&json)?;
                let [by_promotion, by_customer, by_day] =
                    tables.each_ref().map(|table| table.as_ref().expect("a table"));
                batch.insert(by_promotion, format!("{promotion}{bucket:08}{serial:08}"), json.clone());
                batch.insert(by_customer, format!("{customer}{promotion}{serial:08}"), json.clone());
                batch.insert(by_day, format!("{bucket:08}{promotion}{serial:08}"), json);
            }
            batch.commit()?;
        }
        Ok(begun.elapsed())
    })
    .await?
}
