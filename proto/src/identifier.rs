//! Ids given by people, and the coupon id made of them.

use std::fmt;
use std::str::FromStr;

/// The longest id taken, in bytes of UTF-8.
pub const MAX_IDENTIFIER_BYTES: usize = 128;

/// Why an id was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// No bytes at all.
    #[error("must not be empty")]
    Empty,
    /// Longer than [`MAX_IDENTIFIER_BYTES`].
    #[error("must be at most {MAX_IDENTIFIER_BYTES} bytes of UTF-8")]
    TooLong,
    /// A Unicode control character.
    #[error("must not contain control characters")]
    Control,
    /// Not the form of a coupon id.
    #[error("must be a promotion id, a dash and a serial from 1 to 4294967295")]
    NotACoupon,
}

/// Checks an id given by a person: 1 to 128 bytes of UTF-8 without control characters.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_identifier(id: &str) -> Result<(), IdentifierError> {
    if id.is_empty() {
        return Err(IdentifierError::Empty);
    }
    if id.len() > MAX_IDENTIFIER_BYTES {
        return Err(IdentifierError::TooLong);
    }
    if id.chars().any(char::is_control) {
        return Err(IdentifierError::Control);
    }
    Ok(())
}

/// `{promotion_id}-{serial}`: serials are dense, so that an auditor can see a lost coupon.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CouponId {
    /// The promotion that gave it.
    pub promotion_id: String,
    /// 1, 2, 3, ... within the promotion.
    pub serial: u32,
}

impl fmt::Display for CouponId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.promotion_id, self.serial)
    }
}

impl FromStr for CouponId {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (promotion_id, serial) = text.rsplit_once('-').ok_or(IdentifierError::NotACoupon)?;
        check_identifier(promotion_id)?;
        let canonical = !serial.starts_with(['0', '+']);
        match serial.parse() {
            Ok(serial) if canonical => Ok(Self { promotion_id: promotion_id.into(), serial }),
            _ => Err(IdentifierError::NotACoupon),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        assert_eq!(check_identifier("春 sale/1"), Ok(()));
        assert_eq!(check_identifier(&"x".repeat(128)), Ok(()));
        assert_eq!(check_identifier(&"x".repeat(129)), Err(IdentifierError::TooLong));
        assert_eq!(check_identifier(""), Err(IdentifierError::Empty));
        assert_eq!(check_identifier("a\nb"), Err(IdentifierError::Control));
        assert_eq!(check_identifier("a\u{85}b"), Err(IdentifierError::Control));
    }

    #[test]
    fn a_coupon_id_is_read_back() {
        let id = CouponId { promotion_id: "spring-sale".into(), serial: 12 };
        assert_eq!(id.to_string(), "spring-sale-12");
        assert_eq!("spring-sale-12".parse(), Ok(id));
        for text in ["", "12", "-12", "a-0", "a-01", "a-+1", "a-4294967296", "a-"] {
            assert!(text.parse::<CouponId>().is_err(), "{text}");
        }
    }
}
