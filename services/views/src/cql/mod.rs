//! The read model in ScyllaDB or Apache Cassandra.
//!
//! Every write carries its log position as its write time (`USING TIMESTAMP` offset + 1), so the
//! database itself keeps the newest and drops what comes late, deletes included: no counters, no
//! lightweight transactions, no read before a write, no clock. It follows that the guardrail
//! `minimum_timestamp` of Cassandra must stay off, and that the program must not be mixed with
//! writers that use the time of day.
//!
//! Rows are read and written with `LOCAL_QUORUM`, so what `progress` says is there can be read.

mod coupons_by_customer;
mod coupons_by_promotion;
mod database;
mod open_promotions;
mod progress;
mod promotions;
mod schema;
mod value;
mod write;

use std::time::Duration;

use async_trait::async_trait;
use seckill_proto::CouponId;

use crate::generation::{Generation, LIVE};
use crate::{
    Changes, CouponRow, OpenPromotions, Page, Progress, PromotionRow, PromotionStatus, Scanned,
    Views, ViewsError,
};
use coupons_by_customer::CouponsByCustomer;
use coupons_by_promotion::CouponsByPromotion;
use database::Database;
use open_promotions::OpenTable;
use progress::ProgressTable;
use promotions::Promotions;

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
    /// For how long [`CqlViews::connect`] keeps trying to reach a node.
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

/// The read model in a CQL database; cheap to share, safe in any number of processes.
pub struct CqlViews {
    database: Database,
    partitions: u32,
    promotions: Promotions,
    open_promotions: OpenTable,
    finished_promotions: Promotions,
    coupons_by_promotion: CouponsByPromotion,
    coupons_by_customer: CouponsByCustomer,
    progress: ProgressTable,
}

impl CqlViews {
    /// Connects, and creates the keyspace and the tables that are missing. `partitions` is the
    /// log's count.
    ///
    /// # Errors
    /// [`ViewsError::Setup`], naming the contact points, when no node answers in time or the
    /// tables cannot be created.
    pub async fn connect(config: &CqlConfig, partitions: u32) -> Result<Self, ViewsError> {
        let database = Database::connect(config).await?;
        schema::create(&database, config, LIVE).await?;
        let views = Self::prepare(database, LIVE, partitions).await?;
        let (progress, database) = (&views.progress, &views.database);
        if !progress.has_partitions(database, partitions).await? {
            progress.note_partitions(database, partitions).await?;
        }
        Ok(views)
    }

    /// Connects to views that exist, and creates nothing.
    ///
    /// # Errors
    /// [`ViewsError::Absent`], and as [`CqlViews::connect`].
    pub async fn open(config: &CqlConfig, partitions: u32) -> Result<Self, ViewsError> {
        let database = Database::connect(config).await?;
        if !schema::exists(&database, LIVE)
            .await
            .map_err(|error| database::not_opened(config, error))?
        {
            return Err(ViewsError::Absent { place: format!("keyspace {}", config.keyspace) });
        }
        let views = Self::prepare(database, LIVE, partitions).await?;
        views.progress.has_partitions(&views.database, partitions).await?;
        Ok(views)
    }

    /// Empties every table, so that a projector makes them again from the log.
    ///
    /// # Errors
    /// As the database reports them; some tables may be empty.
    pub async fn clear(&self) -> Result<(), ViewsError> {
        schema::truncate(&self.database, LIVE).await
    }

    async fn prepare(
        database: Database,
        generation: Generation,
        partitions: u32,
    ) -> Result<Self, ViewsError> {
        let promotions =
            async |view| Promotions::prepare(&database, &database.table(generation, view)).await;
        Ok(Self {
            promotions: promotions(crate::promotions::VIEW).await?,
            open_promotions: OpenTable::prepare(&database, generation).await?,
            finished_promotions: promotions(crate::finished_promotions::VIEW).await?,
            coupons_by_promotion: CouponsByPromotion::prepare(&database, generation).await?,
            coupons_by_customer: CouponsByCustomer::prepare(&database, generation).await?,
            progress: ProgressTable::prepare(&database, generation).await?,
            database,
            partitions,
        })
    }
}

#[async_trait]
impl Views for CqlViews {
    async fn write(&self, changes: Changes) -> Result<(), ViewsError> {
        changes.assert_one_partition(self.partitions);
        self.write_rows(&changes).await?;
        self.progress.write(&self.database, &changes.progress).await
    }

    async fn progress(&self, partition: u32) -> Result<Option<Progress>, ViewsError> {
        self.progress.read(&self.database, partition).await
    }

    async fn open_promotions(&self, partition: u32) -> Result<Vec<OpenPromotions>, ViewsError> {
        self.open_promotions.of_partition(&self.database, partition).await
    }

    async fn promotions(
        &self,
        state: Option<PromotionStatus>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<PromotionRow>, ViewsError> {
        let after = cursor.map(crate::promotions::PromotionKey::from_cursor).transpose()?;
        let reading = (&self.database, self.partitions);
        match state {
            Some(state @ (PromotionStatus::Scheduled | PromotionStatus::Active)) => {
                let rows = &self.promotions;
                self.open_promotions.page(rows, reading, state, after, limit).await
            }
            Some(PromotionStatus::Finished) => {
                self.finished_promotions.page(reading, after, limit).await
            }
            None => self.promotions.page(reading, after, limit).await,
        }
    }

    async fn promotion(&self, id: &str) -> Result<Option<PromotionRow>, ViewsError> {
        let key = crate::promotions::PromotionKey::find(id, self.partitions);
        self.promotions.get(&self.database, &key).await
    }

    async fn coupons_of_customer(
        &self,
        customer_id: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<CouponRow>, ViewsError> {
        let after =
            cursor.map(crate::coupons_by_customer::CouponOfCustomer::from_cursor).transpose()?;
        let reading = (&self.database, self.partitions);
        self.coupons_by_customer.page(reading, customer_id, after, limit).await
    }

    async fn coupons_of_promotion(
        &self,
        promotion_id: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<CouponRow>, ViewsError> {
        let after = cursor.map(crate::coupons_by_promotion::from_cursor).transpose()?;
        let reading = (&self.database, self.partitions);
        self.coupons_by_promotion.page(reading, promotion_id, after, limit).await
    }

    async fn coupon(&self, id: &CouponId) -> Result<Option<CouponRow>, ViewsError> {
        self.coupons_by_promotion.get((&self.database, self.partitions), id).await
    }

    async fn scan_promotions(
        &self,
        each: &mut (dyn FnMut(Scanned<PromotionRow>) + Send),
    ) -> Result<(), ViewsError> {
        self.promotions.scan(&self.database, each).await
    }

    async fn scan_open_promotions(
        &self,
        each: &mut (dyn FnMut(Scanned<OpenPromotions>) + Send),
    ) -> Result<(), ViewsError> {
        self.open_promotions.scan(&self.database, each).await
    }

    async fn scan_finished_promotions(
        &self,
        each: &mut (dyn FnMut(Scanned<PromotionRow>) + Send),
    ) -> Result<(), ViewsError> {
        self.finished_promotions.scan(&self.database, each).await
    }

    async fn scan_coupons_by_promotion(
        &self,
        each: &mut (dyn FnMut(Scanned<CouponRow>) + Send),
    ) -> Result<(), ViewsError> {
        self.coupons_by_promotion.scan((&self.database, self.partitions), each).await
    }

    async fn scan_coupons_by_customer(
        &self,
        each: &mut (dyn FnMut(Scanned<CouponRow>) + Send),
    ) -> Result<(), ViewsError> {
        self.coupons_by_customer.scan((&self.database, self.partitions), each).await
    }

    async fn check(&self) -> Result<(), ViewsError> {
        self.progress.read(&self.database, 0).await.map(drop)
    }
}
