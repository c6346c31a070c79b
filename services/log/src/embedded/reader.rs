//! Follows a partition of the embedded log.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::embedded::format::cannot;
use crate::embedded::segment::{self, Batches};
use crate::embedded::state::State;
use crate::embedded::{Records, blocking};
use crate::{Damage, LogError, Reader};

/// Read at once: no more batches are opened once there are so many records or bytes.
const MAX_RECORDS: usize = 4_096;
const MAX_BYTES: usize = 1024 * 1024;

pub(super) struct EmbeddedReader {
    state: Arc<State>,
    end: watch::Receiver<u64>,
    cursor: Option<Cursor>,
    partition: u32,
    next: u64,
}

impl EmbeddedReader {
    pub(super) fn new(state: Arc<State>, partition: u32, from: u64) -> Self {
        let end = state.end(partition).subscribe();
        Self { state, end, cursor: None, partition, next: from }
    }

    /// The end of the log, once it lies behind what has been read or `wait` is over.
    async fn wait_for_end(&mut self, wait: Duration) -> u64 {
        let next = self.next;
        match tokio::time::timeout(wait, self.end.wait_for(|end| *end > next)).await {
            Ok(Ok(end)) => *end,
            Ok(Err(_)) | Err(_) => next,
        }
    }
}

#[async_trait]
impl Reader for EmbeddedReader {
    async fn next(&mut self, wait: Duration) -> Result<Records, LogError> {
        let end = self.wait_for_end(wait).await;
        if end <= self.next {
            self.state.assert_well()?;
            return Ok(Vec::new());
        }
        let (state, partition, next) = (Arc::clone(&self.state), self.partition, self.next);
        // Taken, so that a read that was given up begins anew.
        let cursor = self.cursor.take();
        let (records, cursor) =
            blocking(move || read(&state, partition, next..end, cursor)).await?;
        self.next = records.last().map_or(next, |(offset, _)| offset + 1);
        self.cursor = Some(cursor);
        Ok(records)
    }
}

/// A place between two batches.
pub(super) struct Cursor {
    base: u64,
    batches: Batches,
    /// The offset of the next batch.
    next: u64,
}

impl Cursor {
    fn at(state: &State, partition: u32, offset: u64) -> Result<Self, LogError> {
        let base = state.segment_of(partition, offset);
        let base = base.ok_or(LogError::Lost { partition, from: offset })?;
        let path = segment::path(state.folder(partition), base);
        let open = || -> io::Result<Batches> {
            let mut batches = Batches::open(&path)?;
            batches.skip_to(offset)?;
            Ok(batches)
        };
        let batches = open().map_err(|error| cannot(&path, &error))?;
        Ok(Self { base, batches, next: offset })
    }
}

/// Reads some of the records in a range that lies before the end, at least one.
fn read(
    state: &State,
    partition: u32,
    offsets: std::ops::Range<u64>,
    cursor: Option<Cursor>,
) -> Result<(Records, Cursor), LogError> {
    let mut cursor = match cursor.filter(|cursor| cursor.next == offsets.start) {
        Some(cursor) => cursor,
        None => Cursor::at(state, partition, offsets.start)?,
    };
    let (mut records, mut bytes) = (Records::new(), 0);
    while cursor.next < offsets.end && records.len() < MAX_RECORDS && bytes < MAX_BYTES {
        let path = || segment::path(state.folder(partition), cursor.base);
        let position = cursor.batches.position();
        let batch = cursor.batches.next().map_err(|error| cannot(&path(), &error))?;
        let batch = batch.filter(|batch| batch.offsets.contains(&cursor.next));
        let found = batch.and_then(|batch| Some((batch.offsets.end, batch.records()?)));
        let Some((end, found)) = found else {
            // A segment ends where the next one begins.
            if state.segment_of(partition, cursor.next).is_some_and(|base| base > cursor.base) {
                cursor = Cursor::at(state, partition, cursor.next)?;
                continue;
            }
            let what = "no whole batch is there".to_owned();
            let (file, offset) = (path(), cursor.next);
            return Err(Box::new(Damage { file, position, partition, offset, what }).into());
        };
        let wanted = found.into_iter().filter(|(offset, _)| *offset >= cursor.next);
        records.extend(wanted.inspect(|(_, record)| bytes += record.len()));
        cursor.next = end;
    }
    Ok((records, cursor))
}
