//! What a run was asked, what it answered, and what was wrong with that.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Error, Result};
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, clock_gettime};
use seckill_proto::Position;
use serde::{Deserialize, Serialize};

/// What such a name begins and ends with.
const HISTORY: &str = "history-";
const JSON_LINES: &str = ".jsonl";

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

/// The clock of histories: microseconds since this machine was started. Whatever is written on one machine shares it.
#[must_use]
pub fn now_us() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds * 1_000_000 + nanos / 1_000
}

/// Reads what was written down: one attempt a line, as JSON. Of a folder, all files in it that a drill names its
/// histories, as one history.
///
/// # Errors
/// The file cannot be read, or one of its lines.
pub fn read_history(file: &Path) -> Result<Vec<Attempt>> {
    if !file.is_dir() {
        return read_file(file);
    }
    let attempts: Result<Vec<_>> = files(file)?.iter().map(|file| read_file(file)).collect();
    Ok(attempts?.into_iter().flatten().collect())
}

/// How a history is named in a folder of several.
#[must_use]
pub fn history_name(number: usize) -> String {
    format!("{HISTORY}{number}{JSON_LINES}")
}

/// The histories in a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut paths = paths.collect::<Result<Vec<_>>>()?;
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let is_history = |name: String| name.starts_with(HISTORY) && name.ends_with(JSON_LINES);
    paths.retain(|path| name(path).is_some_and(is_history));
    paths.sort();
    Ok(paths)
}

fn read_file(file: &Path) -> Result<Vec<Attempt>> {
    let named = |error: Error| Error::new(error.kind(), format!("{}: {error}", file.display()));
    read(BufReader::new(File::open(file).map_err(named)?)).map_err(named)
}

fn read(mut lines: impl BufRead) -> Result<Vec<Attempt>> {
    let (mut attempts, mut line) = (Vec::new(), Vec::new());
    for number in 1.. {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let attempt = serde_json::from_slice(&line).map_err(|error| {
            Error::other(match line.ends_with(b"\n") {
                true => format!("line {number}, byte {}: {}", error.column(), reason(&error)),
                false => format!(
                    "line {number} is cut off: requests are missing, so nothing can be judged"
                ),
            })
        })?;
        attempts.push(attempt);
    }
    Ok(attempts)
}

/// Without the place, which counts from the line.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split_once(" at line ").map_or(text.clone(), |(reason, _)| reason.to_owned())
}

/// As it stands in a history.
impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_whole_is_named() {
        let line = r#"{"promotion_id":"p","customer_id":"c","key":"","asked":1,"answered":2,"outcome":"unknown"}"#;
        let said = |text: &str| read(text.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(said(&format!("{line}\n{line}\n")).map(|attempts| attempts.len()), Ok(2));
        let cut = said(&format!("{line}\n{}", &line[..30])).expect_err("it is cut");
        assert_eq!(cut, "line 2 is cut off: requests are missing, so nothing can be judged");
        let other = said(&format!("{line}\n{{\"a\":1}}\n")).expect_err("it is something else");
        assert!(other.starts_with("line 2, byte 7: missing field"), "{other}");
    }
}
