//! One batch: the rows that are newer than the stored ones, and the progress.

use std::sync::PoisonError;

use fjall::OwnedWriteBatch;

use super::{Store, failed};
use crate::coupons_by_customer::CouponOfCustomer;
use crate::{Changes, CouponRow, OpenPromotions, PromotionRow, ViewsError, finished_promotions};

impl Store {
    pub(super) fn write(&self, changes: &Changes) -> Result<(), ViewsError> {
        // The lock guards no memory: what a writer that panicked left is its unused batch.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = self.database.batch();
        let mut written = Vec::new();
        for row in &changes.promotions {
            written.extend(self.put_promotion(&mut batch, row)?);
        }
        for row in &changes.open {
            self.put_open(&mut batch, row)?;
        }
        for row in &changes.coupons {
            self.put_coupon(&mut batch, row)?;
        }
        self.put_progress(&mut batch, &changes.progress)?;
        batch.commit().map_err(failed("committing a batch"))?;
        self.listed.follow(written);
        Ok(())
    }

    /// The row, where it is newer than the stored one.
    fn put_promotion(
        &self,
        batch: &mut OwnedWriteBatch,
        row: &PromotionRow,
    ) -> Result<Option<PromotionRow>, ViewsError> {
        let tables = &self.tables;
        let (key, offset) = (row.key().to_bytes(), row.position.offset);
        if tables.promotions.holds_newer(&key, offset)? {
            return Ok(None);
        }
        if finished_promotions::holds(row) {
            tables.finished_promotions.put(batch, key.clone(), offset, row);
        }
        tables.promotions.put(batch, key, offset, row);
        Ok(Some(row.clone()))
    }

    fn put_open(
        &self,
        batch: &mut OwnedWriteBatch,
        row: &OpenPromotions,
    ) -> Result<(), ViewsError> {
        let (table, key, offset) = (&self.tables.open_promotions, row.key(), row.position.offset);
        if !table.holds_newer(&key, offset)? {
            table.put(batch, key, offset, row);
        }
        Ok(())
    }

    fn put_coupon(&self, batch: &mut OwnedWriteBatch, row: &CouponRow) -> Result<(), ViewsError> {
        let offset = row.position.offset;
        let by_promotion = crate::coupons_by_promotion::key(&row.promotion_id, row.serial);
        if !self.tables.coupons_by_promotion.holds_newer(&by_promotion, offset)? {
            self.tables.coupons_by_promotion.put(batch, by_promotion, offset, row);
        }
        let by_customer =
            crate::coupons_by_customer::key(&row.customer_id, &CouponOfCustomer::of(row));
        if !self.tables.coupons_by_customer.holds_newer(&by_customer, offset)? {
            self.tables.coupons_by_customer.put(batch, by_customer, offset, row);
        }
        Ok(())
    }
}
