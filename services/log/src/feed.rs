//! The feed: what programs of others read. One sequence of records beside the log, in which nothing is void
//! and nothing is there twice.
//!
//! Readers of the log sort out what counts. Those of the feed know nothing of that, so here the engine
//! itself must keep writers apart: on Kafka the transactional producer of whoever took over last, on the
//! embedded engine the only process.

use async_trait::async_trait;
use bytes::Bytes;

use crate::LogError;

/// A record of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedRecord {
    /// What it is about.
    pub key: String,
    /// Headers, where the engine has any.
    pub headers: Vec<(&'static str, String)>,
    /// The record.
    pub value: Vec<u8>,
}

/// Records of the feed with their offsets, which grow and need not be dense.
pub type Fed = Vec<(u64, Bytes)>;

/// Keeps the feed.
#[async_trait]
pub trait Feed: Send + Sync + 'static {
    /// Makes this the only writer: whatever another one has not finished is not there, and it can write
    /// nothing any more.
    async fn take_over(&self) -> Result<Box<dyn FeedWriter>, LogError>;

    /// No record is at this offset or after it.
    async fn end(&self) -> Result<u64, LogError>;

    /// Up to so many records from an offset on; none at the end.
    async fn read(&self, from: u64, limit: usize) -> Result<Fed, LogError>;
}

/// Writes the feed.
#[async_trait]
pub trait FeedWriter: Send {
    /// Appends all of these or none: the offset after the last one. After an error it is not known which,
    /// and the feed must be taken over again.
    async fn append(&mut self, records: Vec<FeedRecord>) -> Result<u64, LogError>;
}
