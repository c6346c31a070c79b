//! One batch: the rows that are newer than the stored ones, and the progress.

use std::sync::PoisonError;

use fjall::OwnedWriteBatch;

use super::active_promotions::Change;
use super::{Store, failed};
use crate::active_promotions::{Membership, membership};
use crate::coupons_by_customer::CouponOfCustomer;
use crate::{Changes, CouponRow, PromotionRow, ViewsError};

impl Store {
    pub(super) fn write(&self, changes: &Changes) -> Result<(), ViewsError> {
        // The lock guards no memory: what a writer that panicked left is its unused batch.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = self.database.batch();
        let mut active = Vec::new();
        for row in &changes.promotions {
            active.extend(self.put_promotion(&mut batch, row)?);
        }
        for row in &changes.coupons {
            self.put_coupon(&mut batch, row)?;
        }
        self.put_progress(&mut batch, &changes.progress)?;
        batch.commit().map_err(failed("committing a batch"))?;
        self.active.follow(active);
        Ok(())
    }

    /// The row in `promotions` also decides for `active_promotions`: it stays after the promotion
    /// has left that view, so that an older row finds it and does not revive the promotion.
    fn put_promotion(
        &self,
        batch: &mut OwnedWriteBatch,
        row: &PromotionRow,
    ) -> Result<Option<Change>, ViewsError> {
        let tables = &self.tables;
        let (key, offset) = (row.key().to_bytes(), row.position.offset);
        if tables.promotions.holds_newer(&key, offset)? {
            return Ok(None);
        }
        tables.promotions.put(batch, key.clone(), offset, row);
        Ok(match membership(row.state) {
            Membership::NotYet => None,
            Membership::In => {
                tables.active_promotions.put(batch, key.clone(), offset, row);
                Some((key, Some(row.clone())))
            }
            Membership::Out => {
                tables.active_promotions.remove(batch, key.clone());
                Some((key, None))
            }
        })
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
