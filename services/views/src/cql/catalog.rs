//! Statements of `catalog`: one row, which nobody replaces without having seen the last one. A lightweight
//! transaction: it is done when an operator asks for something, not when rows are written.

use scylla::statement::prepared::PreparedStatement;

use super::database::{Database, Query, failure};
use super::value::{bigint, unsigned};
use crate::engine::Document;
use crate::error::ViewsError;
use crate::view::corrupt;

/// Its name; the catalog is what tells of all other tables.
pub(super) const TABLE: &str = "catalog";

/// The name of the only row.
const ROW: &str = "views";

pub(super) struct CatalogTable {
    get: Query,
    insert: PreparedStatement,
    replace: PreparedStatement,
}

pub(super) fn create_table(keyspace: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {keyspace}.{TABLE} (name text, revision bigint, document text, \
         PRIMARY KEY (name))"
    )
}

impl CatalogTable {
    pub(super) async fn prepare(database: &Database) -> Result<Self, ViewsError> {
        let table = format!("{}.{TABLE}", database.keyspace);
        let get = format!("SELECT revision, document FROM {table} WHERE name = ?");
        let insert = format!(
            "INSERT INTO {table} (revision, document, name) VALUES (?, ?, ?) IF NOT EXISTS"
        );
        let replace =
            format!("UPDATE {table} SET revision = ?, document = ? WHERE name = ? IF revision = ?");
        Ok(Self {
            get: database.query(&table, &get).await?,
            insert: database.prepare_once(insert).await?,
            replace: database.prepare_once(replace).await?,
        })
    }

    pub(super) async fn read(&self, database: &Database) -> Result<Option<Document>, ViewsError> {
        let to_document = |(revision, text): (i64, String)| {
            Ok(Document { revision: unsigned("revision", revision)?, text })
        };
        Ok(database.rows(&self.get, (ROW,), ROW, to_document).await?.pop())
    }

    /// Whether the revision before was there. One that was written and not acknowledged is found there by
    /// whoever looks again.
    pub(super) async fn replace(
        &self,
        database: &Database,
        document: Document,
    ) -> Result<bool, ViewsError> {
        let (revision, before) = (bigint(document.revision), bigint(document.revision) - 1);
        let session = &database.session;
        let result = match before {
            0 => session.execute_unpaged(&self.insert, (revision, document.text, ROW)).await,
            _ => {
                let values = (revision, document.text, ROW, before);
                session.execute_unpaged(&self.replace, values).await
            }
        };
        let result = result.map_err(|error| failure("replacing the catalog".into(), error))?;
        let wrong = |error: &dyn std::fmt::Display| corrupt(TABLE, ROW, error);
        let rows = result.into_rows_result().map_err(|error| wrong(&error))?;
        let applied = rows.single_row::<scylla::value::Row>().map_err(|error| wrong(&error))?;
        let applied = applied.columns.into_iter().next().flatten();
        applied.and_then(|value| value.as_boolean()).ok_or_else(|| wrong(&"no answer"))
    }
}
