//! The read model in ScyllaDB or Apache Cassandra.
//!
//! Every write carries its log position as its write time (`USING TIMESTAMP` offset + 1), so the
//! database itself keeps the newest and drops what comes late: no counters, no
//! lightweight transactions, no read before a write, no clock. It follows that the guardrail
//! `minimum_timestamp` of Cassandra must stay off, and that the program must not be mixed with
//! writers that use the time of day.
//!
//! Rows are read and written with `LOCAL_QUORUM`, so what `progress` says is there can be read.

mod database;
mod progress;
mod schema;
mod table;
pub(crate) mod value;
mod write;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::changes::Changes;
use crate::engine::{Engine, Walk};
use crate::error::ViewsError;
use crate::generation::{Generation, LIVE};
use crate::key::Key;
use crate::progress::Progress;
use crate::view::Scanned;
use crate::view::{AnyRow, AnyView};
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

/// The views in a CQL database; safe in any number of processes.
pub(crate) struct CqlViews {
    database: Database,
    partitions: u32,
    views: &'static [AnyView],
    /// By name of the view.
    tables: HashMap<&'static str, Table>,
    progress: ProgressTable,
}

impl CqlViews {
    pub(crate) async fn create(
        config: &CqlConfig,
        partitions: u32,
        views: &'static [AnyView],
    ) -> Result<Self, ViewsError> {
        let database = Database::connect(config).await?;
        schema::create(&database, config, LIVE, views).await?;
        let prepared = Self::prepare(database, LIVE, partitions, views).await?;
        let (progress, database) = (&prepared.progress, &prepared.database);
        if !progress.has_partitions(database, partitions).await? {
            progress.note_partitions(database, partitions).await?;
        }
        Ok(prepared)
    }

    pub(crate) async fn open(
        config: &CqlConfig,
        partitions: u32,
        views: &'static [AnyView],
    ) -> Result<Self, ViewsError> {
        let database = Database::connect(config).await?;
        if !schema::exists(&database, LIVE, views)
            .await
            .map_err(|error| database::not_opened(config, error))?
        {
            return Err(ViewsError::Absent { place: format!("keyspace {}", config.keyspace) });
        }
        let prepared = Self::prepare(database, LIVE, partitions, views).await?;
        prepared.progress.has_partitions(&prepared.database, partitions).await?;
        Ok(prepared)
    }

    async fn prepare(
        database: Database,
        generation: Generation,
        partitions: u32,
        views: &'static [AnyView],
    ) -> Result<Self, ViewsError> {
        let mut tables = HashMap::new();
        for &view in views {
            tables.insert(view.name(), Table::prepare(&database, generation, view).await?);
        }
        let progress = ProgressTable::prepare(&database, generation).await?;
        Ok(Self { database, partitions, views, tables, progress })
    }

    fn table(&self, view: AnyView) -> &Table {
        &self.tables[view.name()]
    }

    fn reading(&self) -> (&Database, u32) {
        (&self.database, self.partitions)
    }
}

#[async_trait]
impl Engine for CqlViews {
    async fn write(&self, changes: Changes) -> Result<(), ViewsError> {
        self.write_rows(&changes).await?;
        self.progress.write(&self.database, &changes.progress).await
    }

    async fn progress(&self, partition: u32) -> Result<Option<Progress>, ViewsError> {
        self.progress.read(&self.database, partition).await
    }

    async fn get(&self, view: AnyView, key: Key) -> Result<Option<AnyRow>, ViewsError> {
        self.table(view).get(self.reading(), key).await
    }

    async fn some(&self, view: AnyView, keys: Vec<Key>) -> Result<Vec<AnyRow>, ViewsError> {
        self.table(view).some(self.reading(), &keys).await
    }

    async fn list(
        &self,
        view: AnyView,
        walk: Walk,
        count: usize,
    ) -> Result<Vec<AnyRow>, ViewsError> {
        let mut rows = Vec::new();
        for range in walk.ranges {
            let missing = count - rows.len();
            let found = self.table(view).range(self.reading(), &range, missing).await?;
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
        view: AnyView,
        each: &mut (dyn FnMut(Scanned<AnyRow>) + Send),
    ) -> Result<(), ViewsError> {
        self.table(view).scan(self.reading(), each).await
    }

    async fn clear(&self) -> Result<(), ViewsError> {
        schema::truncate(&self.database, LIVE, self.views).await
    }
}
