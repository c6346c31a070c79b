//! A place in the log or a time, where a client may name either.

use std::str::FromStr;

use jiff::Timestamp;
use seckill_proto::Position;

/// A place in the log, or a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// This event of one partition.
    Position(Position),
    /// Events of this time, in milliseconds since 1970.
    Time(i64),
}

/// Neither a position nor a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a position such as 3:1042, or a time such as 2026-11-26T10:00:00Z")]
pub struct BoundError;

impl FromStr for Bound {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<Self, BoundError> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        let time: Timestamp = text.parse().map_err(|_| BoundError)?;
        Ok(Self::Time(time.as_millisecond()))
    }
}

impl Bound {
    /// Whether what happened at this place and time is later.
    #[must_use]
    pub fn is_before(self, position: Position, at_ms: i64) -> bool {
        match self {
            Self::Position(bound) => bound.offset < position.offset,
            Self::Time(bound_ms) => bound_ms < at_ms,
        }
    }
}
