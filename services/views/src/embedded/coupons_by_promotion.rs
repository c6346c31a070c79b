//! Reads of `coupons_by_promotion`.

use seckill_proto::CouponId;

use super::Store;
use crate::coupons_by_promotion::{key, prefix, to_cursor};
use crate::{CouponRow, Page, ViewsError, clamp_limit};

impl Store {
    pub(super) fn coupon(&self, id: &CouponId) -> Result<Option<CouponRow>, ViewsError> {
        self.tables.coupons_by_promotion.get(&key(&id.promotion_id, id.serial))
    }

    pub(super) fn coupons_of_promotion(
        &self,
        promotion_id: &str,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Page<CouponRow>, ViewsError> {
        let limit = clamp_limit(limit);
        let after = after.map(|serial| key(promotion_id, serial));
        let prefix = prefix(promotion_id);
        let rows = self.tables.coupons_by_promotion.rows(&prefix, after).take(limit + 1);
        Ok(Page::cut(rows.collect::<Result<_, _>>()?, limit, to_cursor))
    }
}
