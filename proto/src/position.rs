//! A place in the log, as clients see it.

use std::fmt;
use std::str::FromStr;

/// `partition:offset`. A view that has reached it shows what the answer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Partition of the event log.
    pub partition: u32,
    /// Offset within the partition.
    pub offset: u64,
}

/// Not the text of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position is PARTITION:OFFSET, such as 3:1042")]
pub struct PositionError;

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.partition, self.offset)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (partition, offset) = text.split_once(':').ok_or(PositionError)?;
        Ok(Self {
            partition: partition.parse().map_err(|_| PositionError)?,
            offset: offset.parse().map_err(|_| PositionError)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back() {
        let position = Position { partition: 3, offset: 1042 };
        assert_eq!("3:1042".parse(), Ok(position));
        assert_eq!(position.to_string(), "3:1042");
        assert_eq!("3".parse::<Position>(), Err(PositionError));
        assert_eq!("3:-1".parse::<Position>(), Err(PositionError));
    }
}
