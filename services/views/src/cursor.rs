//! The text of a cursor: a letter for the kind of list, and the key of the last row given, in hex.
//!
//! It is opaque to clients but not secret, and every part of it is checked: it comes back from
//! anybody.

use std::fmt::Write;

use crate::ViewsError;

/// Which lists a cursor can go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Promotions,
    CouponsOfCustomer,
    CouponsOfPromotion,
}

impl Kind {
    fn letter(self) -> char {
        match self {
            Self::Promotions => 'p',
            Self::CouponsOfCustomer => 'c',
            Self::CouponsOfPromotion => 's',
        }
    }
}

pub(crate) fn seal(kind: Kind, key: &[u8]) -> String {
    let mut text = String::with_capacity(1 + 2 * key.len());
    text.push(kind.letter());
    for byte in key {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(crate) fn open(kind: Kind, text: &str) -> Result<Vec<u8>, ViewsError> {
    let hex = text.strip_prefix(kind.letter()).ok_or(ViewsError::InvalidCursor)?;
    from_hex(hex).ok_or(ViewsError::InvalidCursor)
}

/// The bytes of lower-case hex; none for anything else.
pub(crate) fn from_hex(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    hex.as_bytes()
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back() {
        let text = seal(Kind::Promotions, b"\x00\xFFa\n");
        assert_eq!(text, "p00ff610a");
        assert_eq!(open(Kind::Promotions, &text).ok(), Some(b"\x00\xFFa\n".to_vec()));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "c00", "p0", "p0g", "p+1", "pé", "P00", "p00FF"] {
            let refused = open(Kind::Promotions, text);
            assert!(matches!(refused, Err(ViewsError::InvalidCursor)), "{text}");
        }
    }
}
