//! Creates what is missing of the keyspace and its tables, and deletes them.
//!
//! Processes may start at once: each creates only what it does not see, `IF NOT EXISTS`, and
//! tries again when the database stumbles over two creations of the same table.

use std::collections::HashSet;
use std::time::Duration;

use super::CqlConfig;
use super::catalog;
use super::database::{Database, failure, not_opened};
use super::progress::create_table as create_progress;
use super::table::Statements;
use crate::error::ViewsError;
use crate::generation::TableSet;

const ATTEMPTS: u32 = 6;

/// Pause after the first failed attempt; it doubles with each further one, to 3 s in all.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Creates the keyspace and the table that tells of all others.
pub(super) async fn create_keyspace(
    database: &Database,
    config: &CqlConfig,
) -> Result<(), ViewsError> {
    let (name, factor) = (&config.keyspace, config.replication_factor);
    // This strategy is the one that ScyllaDB's tablets and Cassandra both take, and it spreads the copies
    // over however many data centres there are.
    let keyspace = format!(
        "CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'replication_factor': {factor}}}"
    );
    let wanted = [(catalog::TABLE.to_owned(), catalog::create_table(name))];
    let created = create_all(database, Some(keyspace), &wanted).await;
    created.map_err(|error| not_opened(config, error))
}

pub(super) async fn create(database: &Database, set: &TableSet) -> Result<(), ViewsError> {
    let created = create_all(database, None, &tables_of(database, set)).await;
    created.map_err(|error| ViewsError::Setup { place: database.keyspace.clone(), source: error })
}

async fn create_all(
    database: &Database,
    keyspace: Option<String>,
    wanted: &[(String, String)],
) -> Result<(), Cause> {
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        match create_missing(database, keyspace.as_ref(), wanted).await {
            Ok(()) => break,
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(error) => tracing::warn!(error, attempt, "the tables are not there yet"),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(())
}

async fn create_missing(
    database: &Database,
    keyspace: Option<&String>,
    wanted: &[(String, String)],
) -> Result<(), Cause> {
    let present = tables(database).await?;
    let missing: Vec<_> = wanted.iter().filter(|(table, _)| !present.contains(table)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for statement in keyspace.into_iter().chain(missing.into_iter().map(|(_, create)| create)) {
        database.session.query_unpaged(statement.as_str(), ()).await?;
    }
    database.session.await_schema_agreement().await?;
    Ok(())
}

/// Names of the tables that there are.
pub(super) async fn tables(database: &Database) -> Result<HashSet<String>, Cause> {
    let statement = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
    let result = database.session.query_unpaged(statement, (&database.keyspace,)).await?;
    let result = result.into_rows_result()?;
    let names = result.rows::<(String,)>()?;
    names.map(|row| Ok(row?.0)).collect()
}

pub(super) async fn truncate(database: &Database, names: &[String]) -> Result<(), ViewsError> {
    for name in names {
        change(database, "TRUNCATE", name).await?;
    }
    Ok(())
}

pub(super) async fn delete(database: &Database, names: &[String]) -> Result<(), ViewsError> {
    for name in names {
        change(database, "DROP TABLE IF EXISTS", name).await?;
    }
    Ok(())
}

async fn change(database: &Database, what: &str, table: &str) -> Result<(), ViewsError> {
    let statement = format!("{what} {}", database.table(table));
    let changed = database.session.query_unpaged(statement.as_str(), ()).await;
    changed.map(drop).map_err(|error| failure(statement, error))
}

/// Every table with the statement that creates it.
fn tables_of(database: &Database, set: &TableSet) -> Vec<(String, String)> {
    let mut tables = Vec::new();
    for id in &set.tables {
        let table = &database.table(id);
        let create = Statements { schema: id.view.schema(), table }.create();
        tables.push((id.to_string(), create));
    }
    tables.push((set.progress.to_string(), create_progress(&database.table(set.progress))));
    tables
}
