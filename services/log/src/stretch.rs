//! A stretch of a partition, read from its first record to its last.

use std::time::Duration;

use bytes::Bytes;

use crate::{Log, LogError, Reader};

/// A log that gives nothing for so long, though it has more, is not there.
const STALLED: Duration = Duration::from_secs(20);

/// The next records of a partition that has more, so of which there are some.
///
/// # Errors
/// The log cannot be read on.
pub async fn next_records(
    reader: &mut dyn Reader,
    partition: u32,
) -> Result<Vec<(u64, Bytes)>, LogError> {
    let records = reader.next(STALLED).await?;
    if records.is_empty() {
        return Err(LogError::Unavailable(format!("partition {partition} cannot be read on")));
    }
    Ok(records)
}

/// What is in a partition from one offset up to another.
pub struct Stretch {
    reader: Box<dyn Reader>,
    partition: u32,
    next: u64,
    end: u64,
}

impl Stretch {
    /// From an offset up to where the partition ends now.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn from(log: &dyn Log, partition: u32, from: u64) -> Result<Self, LogError> {
        let end = log.end(partition).await?;
        Self::between(log, partition, from, end).await
    }

    /// From an offset up to another, at which there may be no record yet but before which there are.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn between(
        log: &dyn Log,
        partition: u32,
        from: u64,
        end: u64,
    ) -> Result<Self, LogError> {
        let reader = log.read(partition, from).await?;
        Ok(Self { reader, partition, next: from, end })
    }

    /// The next records with their offsets; none at the end.
    ///
    /// # Errors
    /// The log cannot be read on.
    pub async fn next(&mut self) -> Result<Vec<(u64, Bytes)>, LogError> {
        if self.next >= self.end {
            return Ok(Vec::new());
        }
        let mut records = next_records(&mut *self.reader, self.partition).await?;
        self.next = records.last().map_or(self.end, |(last, _)| last + 1);
        records.retain(|(offset, _)| *offset < self.end);
        Ok(records)
    }

    /// Where it ends.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }
}
