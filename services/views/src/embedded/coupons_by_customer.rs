//! Reads of `coupons_by_customer`.

use super::Store;
use crate::coupons_by_customer::{CouponOfCustomer, key, prefix};
use crate::{CouponRow, Page, ViewsError, clamp_limit};

impl Store {
    pub(super) fn coupons_of_customer(
        &self,
        customer_id: &str,
        after: Option<&CouponOfCustomer>,
        limit: usize,
    ) -> Result<Page<CouponRow>, ViewsError> {
        let limit = clamp_limit(limit);
        let after = after.map(|within| key(customer_id, within));
        let prefix = prefix(customer_id);
        let rows = self.tables.coupons_by_customer.rows(&prefix, after).take(limit + 1);
        let rows = rows.collect::<Result<_, _>>()?;
        Ok(Page::cut(rows, limit, |row| CouponOfCustomer::of(row).to_cursor()))
    }
}
