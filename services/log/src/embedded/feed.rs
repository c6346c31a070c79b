//! The feed of an embedded log: another log of one partition, in a folder of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, OnceCell};

use crate::embedded::{EmbeddedLog, blocking, format};
use crate::{Delivery, Fed, Feed, FeedRecord, FeedWriter, Log, LogError};

const FOLDER: &str = "feed";
/// Records that are there come within this.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Where it is.
fn folder(log: &Path) -> PathBuf {
    log.join(FOLDER)
}

/// Where it is, if there is one.
pub(super) fn existing_folder(log: &Path) -> Option<PathBuf> {
    Some(folder(log)).filter(|folder| format::is_there(folder))
}

pub(super) struct EmbeddedFeed {
    directory: PathBuf,
    read_only: bool,
    /// Opened when it is first used; made when it is first written.
    log: OnceCell<Arc<EmbeddedLog>>,
    /// How often it was taken over. Held while records are written.
    taken: Arc<Mutex<u64>>,
}

impl EmbeddedFeed {
    pub(super) fn new(log: &Path, read_only: bool) -> Self {
        let directory = folder(log);
        let (log, taken) = (OnceCell::new(), Arc::default());
        Self { directory, read_only, log, taken }
    }

    async fn log(&self) -> Result<&Arc<EmbeddedLog>, LogError> {
        let open = || {
            let (directory, read_only) = (self.directory.clone(), self.read_only);
            blocking(move || match read_only {
                true => EmbeddedLog::open_read_only(&directory).map(Arc::new),
                false => EmbeddedLog::open(&directory, Some(1)).map(Arc::new),
            })
        };
        self.log.get_or_try_init(open).await
    }

    /// None where nothing was ever fed.
    async fn log_if_any(&self) -> Result<Option<&Arc<EmbeddedLog>>, LogError> {
        if self.log.get().is_none() && !format::is_there(&self.directory) {
            return Ok(None);
        }
        self.log().await.map(Some)
    }

    /// Once it has failed.
    pub(super) async fn failed(&self) -> LogError {
        loop {
            if let Some(log) = self.log.get() {
                return log.failed().await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

#[async_trait]
impl Feed for EmbeddedFeed {
    async fn take_over(&self) -> Result<Box<dyn FeedWriter>, LogError> {
        let log = Arc::clone(self.log().await?);
        let mut taken = self.taken.lock().await;
        *taken += 1;
        Ok(Box::new(Writer { log, term: *taken, taken: Arc::clone(&self.taken) }))
    }

    async fn end(&self) -> Result<u64, LogError> {
        match self.log_if_any().await? {
            Some(log) => log.end(0).await,
            None => Ok(0),
        }
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Fed, LogError> {
        let Some(log) = self.log_if_any().await? else { return Ok(Vec::new()) };
        let end = log.end(0).await?.min(from.saturating_add(limit as u64));
        if from >= end {
            return Ok(Vec::new());
        }
        let (mut reader, mut fed) = (log.read(0, from).await?, Fed::new());
        while fed.last().is_none_or(|(offset, _)| offset + 1 < end) {
            let records = reader.next(READ_TIMEOUT).await?;
            if records.is_empty() {
                return Err(LogError::Unavailable("the feed cannot be read on".to_owned()));
            }
            fed.extend(records.into_iter().take_while(|(offset, _)| *offset < end));
        }
        Ok(fed)
    }
}

#[derive(Clone)]
struct Writer {
    log: Arc<EmbeddedLog>,
    term: u64,
    taken: Arc<Mutex<u64>>,
}

#[async_trait]
impl FeedWriter for Writer {
    async fn append(&mut self, records: Vec<FeedRecord>) -> Result<u64, LogError> {
        // By itself: whoever takes over waits for what was begun, also where this is dropped meanwhile.
        let appending = tokio::spawn(self.clone().append_all(records));
        appending.await.map_err(|panic| LogError::Broken(panic.to_string()))?
    }
}

impl Writer {
    async fn append_all(self, records: Vec<FeedRecord>) -> Result<u64, LogError> {
        let taken = self.taken.lock().await;
        if *taken != self.term {
            return Err(LogError::Unavailable("somebody else writes the feed".to_owned()));
        }
        let records = records.into_iter().map(|record| record.value).collect();
        match self.log.append(0, records).deliveries().await.last() {
            Some(Delivery::At(last)) => Ok(last + 1),
            Some(Delivery::Unknown) => {
                Err(LogError::Unavailable("the feed could not be written".to_owned()))
            }
            None => self.log.end(0).await,
        }
    }
}
