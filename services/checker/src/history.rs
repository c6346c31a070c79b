//! What a run was asked, what it answered, and what was wrong with that.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Error, Result};
use std::path::Path;

use seckill_proto::Position;
use serde::{Deserialize, Serialize};

/// One request for one coupon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The sale.
    pub promotion_id: String,
    /// Who wants the coupon.
    pub customer_id: String,
    /// What tells this wish from another one of the customer; empty where a customer may have only one, and not
    /// otherwise.
    pub key: String,
    /// When it was asked, by a clock that all attempts share and that never stands still between two.
    pub asked: u64,
    /// When the answer came, by the same clock; where none came, none.
    pub answered: Option<u64>,
    /// What was said.
    pub outcome: Outcome,
}

/// Reads what was written down: one attempt a line, as JSON.
///
/// # Errors
/// The file cannot be read, or one of its lines.
pub fn read_history(file: &Path) -> Result<Vec<Attempt>> {
    let named = |error: Error| Error::new(error.kind(), format!("{}: {error}", file.display()));
    let lines = BufReader::new(File::open(file).map_err(named)?).lines();
    let read = |(number, line): (usize, Result<String>)| {
        let of_line = |error| Error::other(format!("line {number}: {error}"));
        serde_json::from_str(&line?).map_err(of_line)
    };
    (1..).zip(lines).map(read).collect::<Result<_>>().map_err(named)
}

impl Attempt {
    pub(crate) fn wish(&self) -> (&str, &str, &str) {
        (&self.promotion_id, &self.customer_id, &self.key)
    }
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The coupon is the customer's.
    Granted {
        /// Its number within the sale.
        serial: u32,
        /// Where in the log.
        #[serde(with = "as_text")]
        position: Position,
        /// Whether it was so before.
        repeated: bool,
    },
    /// No, definitely.
    Refused {
        /// Why.
        reason: Reason,
        /// The place in the log as of which that is so.
        #[serde(with = "as_text")]
        position: Position,
    },
    /// Nothing was decided, definitely: 429 and 503.
    NotAccepted,
    /// Nobody knows: 504, and a connection that broke.
    Unknown,
}

impl Outcome {
    pub(crate) fn position(&self) -> Option<Position> {
        match self {
            Self::Granted { position, .. } | Self::Refused { position, .. } => Some(*position),
            Self::NotAccepted | Self::Unknown => None,
        }
    }
}

/// Why a customer gets none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// There is no such sale.
    NotFound,
    /// It has not started.
    NotStarted,
    /// It is paused.
    Paused,
    /// Every coupon has been given.
    SoldOut,
    /// The customer has as many as one may have.
    LimitReached,
    /// It is over.
    Finished,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub rule: &'static str,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// A position as everybody writes it.
mod as_text {
    use seckill_proto::Position;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Position, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Position, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
