//! The read model in ScyllaDB or Apache Cassandra.
//!
//! Every write carries its log position as its write time (`USING TIMESTAMP` offset + 1), so the
//! database itself keeps the newest and drops what comes late: no counters, no lightweight transactions
//! (but for the catalog, which operators change), no read before a write, no clock. It follows that the guardrail
//! `minimum_timestamp` of Cassandra must stay off, and that the program must not be mixed with
//! writers that use the time of day.
//!
//! Rows are read and written with `LOCAL_QUORUM`, so what `progress` says is there can be read.

mod catalog;
mod database;
mod progress;
mod schema;
mod table;
pub(crate) mod value;
mod write;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use parking_lot::RwLock;

use crate::changes::Changes;
use crate::engine::{Document, Engine, Walk};
use crate::error::ViewsError;
use crate::generation::{Generation, ProgressId, TableId, TableSet};
use crate::key::Key;
use crate::progress::Progress;
use crate::view::AnyRow;
use crate::view::Scanned;
use catalog::CatalogTable;
use database::Database;
use progress::ProgressTable;
use table::Table;

/// Where the database is and how it is used.
#[derive(Debug, Clone)]
pub struct CqlConfig {
    /// `host:port` of some nodes; the rest of the cluster is found through them.
    pub contact_points: Vec<String>,
    /// Keyspace of the tables, created when it is not there: lower-case letters, digits, `_`.
    pub keyspace: String,
    /// Copies of every row in each data centre; used only when the keyspace is created.
    pub replication_factor: u32,
    /// Connections per node. One is too few for Cassandra, which the driver sees as one shard.
    pub connections_per_host: usize,
    /// After which a single request counts as failed.
    pub request_timeout: Duration,
    /// For how long [`crate::Views::create_in_cql`] keeps trying to reach a node.
    pub connect_within: Duration,
}

impl Default for CqlConfig {
    fn default() -> Self {
        Self {
            contact_points: vec!["127.0.0.1:9042".into()],
            keyspace: "seckill".into(),
            replication_factor: 1,
            connections_per_host: 3,
            request_timeout: Duration::from_secs(10),
            connect_within: Duration::from_secs(30),
        }
    }
}

/// The tables in a CQL database; safe in any number of processes.
pub(crate) struct CqlViews {
    database: Database,
    catalog: CatalogTable,
    /// Those that this process has used.
    tables: RwLock<HashMap<(&'static str, Generation), Arc<Table>>>,
    progress: RwLock<HashMap<ProgressId, Arc<ProgressTable>>>,
}

impl CqlViews {
    pub(crate) async fn create(config: &CqlConfig, partitions: u32) -> Result<Self, ViewsError> {
        let database = Database::connect(config, partitions).await?;
        schema::create_keyspace(&database, config).await?;
        Self::prepare(database).await
    }

    /// None where there is no catalog.
    pub(crate) async fn open(
        config: &CqlConfig,
        partitions: u32,
    ) -> Result<Option<Self>, ViewsError> {
        let database = Database::connect(config, partitions).await?;
        let present = schema::tables(&database).await;
        let present = present.map_err(|error| database::not_opened(config, error))?;
        if !present.contains(catalog::TABLE) {
            return Ok(None);
        }
        Self::prepare(database).await.map(Some)
    }

    async fn prepare(database: Database) -> Result<Self, ViewsError> {
        let catalog = CatalogTable::prepare(&database).await?;
        Ok(Self { database, catalog, tables: RwLock::default(), progress: RwLock::default() })
    }

    async fn table(&self, id: TableId) -> Result<Arc<Table>, ViewsError> {
        if let Some(table) = self.tables.read().get(&id.key()) {
            return Ok(Arc::clone(table));
        }
        let table = Arc::new(Table::prepare(&self.database, id).await?);
        self.tables.write().insert(id.key(), Arc::clone(&table));
        Ok(table)
    }

    async fn progress_table(&self, id: ProgressId) -> Result<Arc<ProgressTable>, ViewsError> {
        if let Some(table) = self.progress.read().get(&id) {
            return Ok(Arc::clone(table));
        }
        let table = ProgressTable::prepare(&self.database, id).await?;
        // What it has seen belongs to all of this process.
        Ok(Arc::clone(self.progress.write().entry(id).or_insert_with(|| Arc::new(table))))
    }
}

#[async_trait]
impl Engine for CqlViews {
    async fn write(&self, sets: Vec<TableSet>, changes: Arc<Changes>) -> Result<(), ViewsError> {
        for set in &sets {
            let tables = try_join_all(set.tables.iter().map(|id| self.table(*id))).await?;
            write::rows(&self.database, &tables, &changes).await?;
        }
        let (live, others): (Vec<_>, Vec<_>) =
            sets.iter().map(|set| set.progress).partition(|id| *id == ProgressId::Live);
        for id in others.into_iter().chain(live) {
            let progress = changes.progress_of(id);
            self.progress_table(id).await?.write(&self.database, &progress).await?;
        }
        Ok(())
    }

    async fn progress(
        &self,
        id: ProgressId,
        partition: u32,
    ) -> Result<Option<Progress>, ViewsError> {
        self.progress_table(id).await?.read(&self.database, partition).await
    }

    async fn get(&self, table: TableId, key: Key) -> Result<Option<AnyRow>, ViewsError> {
        self.table(table).await?.get(&self.database, key).await
    }

    async fn some(&self, table: TableId, keys: Vec<Key>) -> Result<Vec<AnyRow>, ViewsError> {
        self.table(table).await?.some(&self.database, &keys).await
    }

    async fn list(
        &self,
        table: TableId,
        walk: Walk,
        count: usize,
    ) -> Result<Vec<AnyRow>, ViewsError> {
        let (table, mut rows) = (self.table(table).await?, Vec::new());
        for range in walk.ranges {
            let missing = count - rows.len();
            let found = table.range(&self.database, &range, missing).await?;
            let ended = walk.dense && found.is_empty() && range.after.is_none();
            rows.extend(found);
            if ended || rows.len() == count {
                break;
            }
        }
        Ok(rows)
    }

    async fn scan(
        &self,
        table: TableId,
        each: &mut (dyn FnMut(Scanned<AnyRow>) + Send),
    ) -> Result<(), ViewsError> {
        self.table(table).await?.scan(&self.database, each).await
    }

    async fn create(&self, set: TableSet) -> Result<(), ViewsError> {
        schema::create(&self.database, &set).await
    }

    async fn delete(&self, names: Vec<String>) -> Result<(), ViewsError> {
        schema::delete(&self.database, &names).await
    }

    async fn empty(&self, names: Vec<String>) -> Result<(), ViewsError> {
        schema::truncate(&self.database, &names).await
    }

    async fn catalog(&self) -> Result<Option<Document>, ViewsError> {
        self.catalog.read(&self.database).await
    }

    async fn replace_catalog(&self, document: Document) -> Result<bool, ViewsError> {
        self.catalog.replace(&self.database, document).await
    }

    fn place(&self) -> String {
        format!("keyspace {}", self.database.keyspace)
    }
}
