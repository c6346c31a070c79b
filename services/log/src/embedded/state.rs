//! What the writers, the readers and the engine itself share.

use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::LogError;
use crate::embedded::recovery::Recovered;

pub(super) struct State {
    directory: PathBuf,
    partitions: Vec<Partition>,
    failure: watch::Sender<Option<String>>,
}

struct Partition {
    folder: PathBuf,
    /// The offset that the next durable record gets.
    end: watch::Sender<u64>,
    /// Base offsets of the segments, in order.
    bases: RwLock<Vec<u64>>,
}

impl State {
    pub(super) fn new(directory: &Path, recovered: &[Recovered]) -> Self {
        let partitions = recovered.iter().map(|found| Partition {
            folder: found.folder.clone(),
            end: watch::Sender::new(found.mark.next_offset),
            bases: RwLock::new(found.bases.clone()),
        });
        Self {
            directory: directory.to_owned(),
            partitions: partitions.collect(),
            failure: watch::Sender::new(None),
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn partitions(&self) -> u32 {
        u32::try_from(self.partitions.len()).expect("made from a u32")
    }

    pub(super) fn end(&self, partition: u32) -> &watch::Sender<u64> {
        &self.partitions[partition as usize].end
    }

    pub(super) fn folder(&self, partition: u32) -> &Path {
        &self.partitions[partition as usize].folder
    }

    pub(super) fn add_segment(&self, partition: u32, base: u64) {
        self.partitions[partition as usize].bases.write().push(base);
    }

    /// The base of the segment that an offset is in.
    pub(super) fn segment_of(&self, partition: u32, offset: u64) -> Option<u64> {
        let bases = self.partitions[partition as usize].bases.read();
        bases.iter().rev().copied().find(|base| *base <= offset)
    }

    /// Notes the first failure; the engine does nothing more.
    pub(super) fn fail(&self, cause: &str) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                tracing::error!(cause, "the log has failed");
                *failure = Some(cause.to_owned());
            }
            first
        });
    }

    /// # Errors
    /// The engine has failed.
    pub(super) fn assert_well(&self) -> Result<(), LogError> {
        self.failure.borrow().as_ref().map_or(Ok(()), |cause| Err(LogError::Failed(cause.clone())))
    }

    pub(super) async fn failed(&self) -> LogError {
        let mut failure = self.failure.subscribe();
        loop {
            if let Err(failed) = self.assert_well() {
                return failed;
            }
            if failure.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
