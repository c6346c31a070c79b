//! Creates what is missing of the keyspace and its tables.
//!
//! Processes may start at once: each creates only what it does not see, `IF NOT EXISTS`, and
//! tries again when the database stumbles over two creations of the same table.

use std::collections::HashSet;
use std::time::Duration;

use super::CqlConfig;
use super::database::{Database, failure, not_opened};
use super::progress::create_table as create_progress;
use super::table::Statements;
use crate::error::ViewsError;
use crate::generation::Generation;
use crate::progress::VIEW as PROGRESS;
use crate::view::AnyView;

const ATTEMPTS: u32 = 6;

/// Pause after the first failed attempt; it doubles with each further one, to 3 s in all.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

pub(super) async fn create(
    database: &Database,
    config: &CqlConfig,
    generation: Generation,
    views: &[AnyView],
) -> Result<(), ViewsError> {
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        match create_missing(database, config, generation, views).await {
            Ok(()) => break,
            Err(error) if attempt == ATTEMPTS => return Err(not_opened(config, error)),
            Err(error) => tracing::warn!(error, attempt, "the tables are not there yet"),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(())
}

/// Whether every table is there.
pub(super) async fn exists(
    database: &Database,
    generation: Generation,
    views: &[AnyView],
) -> Result<bool, Cause> {
    let present = tables(database).await?;
    Ok(tables_of(database, generation, views).iter().all(|(table, _)| present.contains(table)))
}

async fn create_missing(
    database: &Database,
    config: &CqlConfig,
    generation: Generation,
    views: &[AnyView],
) -> Result<(), Cause> {
    let present = tables(database).await?;
    let mut missing = tables_of(database, generation, views);
    missing.retain(|(table, _)| !present.contains(table));
    if missing.is_empty() {
        return Ok(());
    }
    database.session.query_unpaged(create_keyspace(config), ()).await?;
    for (_, create) in missing {
        database.session.query_unpaged(create, ()).await?;
    }
    database.session.await_schema_agreement().await?;
    Ok(())
}

async fn tables(database: &Database) -> Result<HashSet<String>, Cause> {
    let statement = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
    let result = database.session.query_unpaged(statement, (&database.keyspace,)).await?;
    let result = result.into_rows_result()?;
    let names = result.rows::<(String,)>()?;
    names.map(|row| Ok(row?.0)).collect()
}

/// This strategy is the one that ScyllaDB's tablets and Cassandra both take, and it spreads the
/// copies over however many data centres there are.
fn create_keyspace(config: &CqlConfig) -> String {
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'replication_factor': {}}}",
        config.keyspace, config.replication_factor
    )
}

/// Progress last: while it is there, nobody begins anew.
pub(super) async fn truncate(
    database: &Database,
    generation: Generation,
    views: &[AnyView],
) -> Result<(), ViewsError> {
    for (table, _) in tables_of(database, generation, views) {
        let table = format!("{}.{table}", database.keyspace);
        let truncated = database.session.query_unpaged(format!("TRUNCATE {table}"), ()).await;
        truncated.map_err(|error| failure(format!("emptying {table}"), error))?;
    }
    Ok(())
}

/// Every table with the statement that creates it.
fn tables_of(
    database: &Database,
    generation: Generation,
    views: &[AnyView],
) -> Vec<(String, String)> {
    let mut tables = Vec::new();
    for view in views {
        let table = &database.table(generation, view.name());
        let create = Statements { schema: view.schema(), table }.create();
        tables.push((generation.table(view.name()), create));
    }
    let table = database.table(generation, PROGRESS);
    tables.push((generation.table(PROGRESS), create_progress(&table)));
    tables
}
