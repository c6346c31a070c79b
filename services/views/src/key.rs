//! Where a row lies: in which group, and where within it.
//!
//! A group is what a database keeps together and lists in order (a partition, in CQL). The same key is
//! written as bytes, which sort as the key does, and as values of CQL.

use std::fmt;

use seckill_proto::check_identifier;

use crate::error::ViewsError;

/// One part of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// A number.
    Number(u32),
    /// Text without control characters.
    Text(String),
}

/// What a part of a key, or another column, holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `bigint`: serials and counts go to `u32::MAX`, beyond what `int` holds.
    Number,
    /// `text`.
    Text,
    /// `double`.
    Double,
    /// `timestamp`, to the millisecond.
    Time,
    /// `frozen<list<text>>`.
    Texts,
}

/// The key of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The group.
    pub group: Vec<Part>,
    /// Where within the group: lists are in this order.
    pub within: Vec<Part>,
}

impl Key {
    /// Bytes that sort as the keys of one view do.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        bytes(self.group.iter().chain(&self.within))
    }
}

impl From<u32> for Part {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Part {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.group.iter().chain(&self.within).enumerate() {
            if number > 0 {
                f.write_str("/")?;
            }
            match part {
                Part::Number(number) => write!(f, "{number}")?,
                Part::Text(text) => f.write_str(text)?,
            }
        }
        Ok(())
    }
}

/// Few keys have more.
const USUAL_BYTES: usize = 64;

/// Bytes that sort as the parts do. NUL, which no text holds, ends a text, and sorts before everything
/// that a longer text goes on with.
pub(crate) fn bytes<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    for part in parts {
        match part {
            Part::Number(number) => bytes.extend_from_slice(&number.to_be_bytes()),
            Part::Text(text) => {
                bytes.extend_from_slice(text.as_bytes());
                bytes.push(0);
            }
        }
    }
    bytes
}

/// The parts that these bytes were made of; none where they were not.
fn parts(mut rest: &[u8], kinds: &[Kind]) -> Option<Vec<Part>> {
    let mut parts = Vec::with_capacity(kinds.len());
    for kind in kinds {
        if *kind == Kind::Number {
            let (number, after) = rest.split_first_chunk()?;
            parts.push(Part::Number(u32::from_be_bytes(*number)));
            rest = after;
        } else {
            let end = rest.iter().position(|byte| *byte == 0)?;
            let text = std::str::from_utf8(&rest[..end]).ok()?;
            check_identifier(text).ok()?;
            parts.push(text.into());
            rest = &rest[end + 1..];
        }
    }
    rest.is_empty().then_some(parts)
}

/// The text of a cursor: a letter for the kind of list, and where in it the last row lies, in hex. It is
/// opaque to clients but not secret, and every part of it is checked: it comes back from anybody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor {
    pub(crate) letter: char,
    pub(crate) kinds: &'static [Kind],
}

impl Cursor {
    pub(crate) fn seal(self, parts: &[Part]) -> String {
        format!("{}{}", self.letter, hex::encode(bytes(parts)))
    }

    pub(crate) fn open(self, text: &str) -> Result<Vec<Part>, ViewsError> {
        let hex = text.strip_prefix(self.letter).ok_or(ViewsError::InvalidCursor)?;
        let bytes = hex::decode(hex).map_err(|_| ViewsError::InvalidCursor)?;
        parts(&bytes, self.kinds).ok_or(ViewsError::InvalidCursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: Cursor = Cursor { letter: 'p', kinds: &[Kind::Number, Kind::Text] };

    #[test]
    fn a_cursor_is_read_back() {
        for key in [[70_000.into(), "春 \"sale\"/1".into()], [u32::MAX.into(), "a".into()]] {
            assert_eq!(CURSOR.open(&CURSOR.seal(&key)).ok(), Some(key.to_vec()));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let longer = format!("{}00", CURSOR.seal(&[1.into(), "a".into()]));
        for text in ["", "p", "c0000000161", "p0", "p0g", "p00000001", "p0000000100", &longer] {
            assert!(matches!(CURSOR.open(text), Err(ViewsError::InvalidCursor)), "{text}");
        }
        for text in ["p0000000161", "p00000001ff00", "p000000010a00", "pé"] {
            assert!(matches!(CURSOR.open(text), Err(ViewsError::InvalidCursor)), "{text}");
        }
    }

    #[test]
    fn bytes_sort_as_the_parts_do() {
        let keys = [("a", 1), ("a", 256), ("a", u32::MAX), ("a b", 1), ("ab", 1)];
        let keys = keys.map(|(text, number)| bytes(&[text.into(), number.into()]));
        assert!(keys.is_sorted());
    }
}
