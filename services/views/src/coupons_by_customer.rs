//! `coupons_by_customer`: a customer's coupons by promotion id and serial.

use seckill_proto::check_identifier;

use crate::cursor::{self, Kind};
use crate::{CouponRow, ViewsError, coupons_by_promotion};

/// Name of the view.
pub(crate) const VIEW: &str = "coupons_by_customer";

/// The columns in CQL, in the order in which they are bound and read.
pub(crate) const COLUMNS: &str =
    "customer_id, promotion_id, serial, discount, grabbed_at, position_offset";

/// The customer's rows; NUL ends the id as in `coupons_by_promotion`.
pub(crate) fn prefix(customer_id: &str) -> Vec<u8> {
    let mut bytes = customer_id.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

pub(crate) fn key(customer_id: &str, within: &CouponOfCustomer) -> Vec<u8> {
    let mut bytes = prefix(customer_id);
    bytes.extend(within.to_bytes());
    bytes
}

/// The key within one customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CouponOfCustomer {
    pub(crate) promotion_id: String,
    pub(crate) serial: u32,
}

impl CouponOfCustomer {
    pub(crate) fn of(row: &CouponRow) -> Self {
        Self { promotion_id: row.promotion_id.clone(), serial: row.serial }
    }

    fn to_bytes(&self) -> Vec<u8> {
        coupons_by_promotion::key(&self.promotion_id, self.serial)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (promotion_id, serial) = bytes.split_last_chunk()?;
        let promotion_id = std::str::from_utf8(promotion_id.strip_suffix(&[0])?).ok()?;
        check_identifier(promotion_id).ok()?;
        Some(Self { promotion_id: promotion_id.into(), serial: u32::from_be_bytes(*serial) })
    }

    pub(crate) fn to_cursor(&self) -> String {
        cursor::seal(Kind::CouponsOfCustomer, &self.to_bytes())
    }

    pub(crate) fn from_cursor(text: &str) -> Result<Self, ViewsError> {
        let bytes = cursor::open(Kind::CouponsOfCustomer, text)?;
        Self::from_bytes(&bytes).ok_or(ViewsError::InvalidCursor)
    }
}

pub(crate) fn create_table(table: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (customer_id text, promotion_id text, \
         serial bigint, discount double, grabbed_at timestamp, position_offset bigint, \
         PRIMARY KEY ((customer_id), promotion_id, serial))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_the_key() {
        let within = CouponOfCustomer { promotion_id: "a-1/'春'".into(), serial: u32::MAX };
        assert_eq!(CouponOfCustomer::from_cursor(&within.to_cursor()).ok(), Some(within));
        for text in ["c", "c0000000001", "c6100000000", "c61ff00000001"] {
            assert!(CouponOfCustomer::from_cursor(text).is_err(), "{text}");
        }
    }
}
