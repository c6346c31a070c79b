//! `coupons_by_promotion`: a promotion's coupons by serial.

use crate::cursor::{self, Kind};
use crate::{CouponRow, ViewsError};

/// Name of the view.
pub(crate) const VIEW: &str = "coupons_by_promotion";

/// The columns in CQL, in the order in which they are bound and read.
pub(crate) const COLUMNS: &str =
    "promotion_id, bucket, serial, customer_id, discount, grabbed_at, position_offset";

/// Serials in one CQL partition. A hot promotion's coupons spread over many partitions and so
/// over the nodes, and no partition grows past some hundred kilobytes.
const BUCKET: u32 = 4_096;

pub(crate) fn bucket_of(serial: u32) -> u32 {
    serial / BUCKET
}

/// The lowest serial of a bucket; bucket 0 begins with a 0 that is never granted.
pub(crate) fn first_of(bucket: u32) -> u32 {
    bucket * BUCKET
}

/// The ids are people's and may hold anything but control characters: NUL ends them safely, and
/// sorts before everything that a longer id goes on with.
pub(crate) fn prefix(promotion_id: &str) -> Vec<u8> {
    let mut bytes = promotion_id.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

pub(crate) fn key(promotion_id: &str, serial: u32) -> Vec<u8> {
    let mut bytes = prefix(promotion_id);
    bytes.extend_from_slice(&serial.to_be_bytes());
    bytes
}

pub(crate) fn to_cursor(row: &CouponRow) -> String {
    cursor::seal(Kind::CouponsOfPromotion, &row.serial.to_be_bytes())
}

/// The serial of the last row given.
pub(crate) fn from_cursor(text: &str) -> Result<u32, ViewsError> {
    let bytes = cursor::open(Kind::CouponsOfPromotion, text)?;
    bytes.try_into().map(u32::from_be_bytes).map_err(|_| ViewsError::InvalidCursor)
}

pub(crate) fn create_table(table: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (promotion_id text, bucket bigint, serial bigint, \
         customer_id text, discount double, grabbed_at timestamp, position_offset bigint, \
         PRIMARY KEY ((promotion_id, bucket), serial))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other() {
        let buckets = [1, 4_095, 4_096, 8_191, 8_192, u32::MAX].map(bucket_of);
        assert_eq!(buckets, [0, 0, 1, 1, 2, 1_048_575]);
        assert_eq!(first_of(bucket_of(u32::MAX)), u32::MAX - 4_095);
    }

    #[test]
    fn keys_sort_by_promotion_and_serial() {
        let sorted = [key("a", 1), key("a", 256), key("a", u32::MAX), key("a b", 1), key("ab", 1)];
        assert!(sorted.is_sorted());
    }
}
