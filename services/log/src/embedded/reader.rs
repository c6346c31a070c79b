//! Follows a partition of the embedded log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::embedded::store::Store;
use crate::embedded::{Records, blocking};
use crate::{LogError, Reader};

/// Records read at once.
const MAX_BATCH: u64 = 4_096;

pub(super) struct EmbeddedReader {
    store: Arc<Store>,
    end: watch::Receiver<u64>,
    partition: u32,
    next: u64,
}

impl EmbeddedReader {
    pub(super) fn new(store: Arc<Store>, partition: u32, from: u64) -> Self {
        let end = store.end(partition).subscribe();
        Self { store, end, partition, next: from }
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
        let end = self.wait_for_end(wait).await.min(self.next + MAX_BATCH);
        if end <= self.next {
            return Ok(Vec::new());
        }
        let (store, partition, offsets) = (Arc::clone(&self.store), self.partition, self.next..end);
        let records = blocking(move || store.read(partition, offsets)).await?;
        if records.first().map(|(offset, _)| *offset) != Some(self.next) {
            return Err(LogError::Lost { partition: self.partition, from: self.next });
        }
        self.next = end;
        Ok(records)
    }
}
