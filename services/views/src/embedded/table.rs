//! Rows in a keyspace of fjall: offset of the position (8 bytes, big-endian), then JSON.

use std::ops::Bound;

use fjall::{Guard, Keyspace, KvPair, OwnedWriteBatch, Readable, Snapshot};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failed;
use crate::{Scanned, ViewsError};

/// What a scan found, and under which key.
pub(super) type Found<R> = (Vec<u8>, Scanned<R>);

pub(super) struct Table {
    name: String,
    keyspace: Keyspace,
}

impl Table {
    pub(super) fn new(name: String, keyspace: Keyspace) -> Self {
        Self { name, keyspace }
    }

    pub(super) fn get<R: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<R>, ViewsError> {
        let value = self.keyspace.get(key).map_err(failed("reading a row"))?;
        value.map(|value| self.decode(key, &value)).transpose()
    }

    /// Whether the stored row is of a later position than `offset`. Rows of one key are all of
    /// one partition, so that offsets compare.
    pub(super) fn holds_newer(&self, key: &[u8], offset: u64) -> Result<bool, ViewsError> {
        let value = self.keyspace.get(key).map_err(failed("comparing positions"))?;
        let Some(value) = value else { return Ok(false) };
        let (stored, _) = self.split(key, &value)?;
        Ok(stored > offset)
    }

    pub(super) fn put<R: Serialize>(
        &self,
        batch: &mut OwnedWriteBatch,
        key: Vec<u8>,
        offset: u64,
        row: &R,
    ) {
        let mut value = offset.to_be_bytes().to_vec();
        serde_json::to_writer(&mut value, row).expect("a row is plain JSON, and memory takes it");
        batch.insert(&self.keyspace, key, value);
    }

    /// The rows under a prefix in key order, from the one after `after` on.
    pub(super) fn rows<R: DeserializeOwned>(
        &self,
        prefix: &[u8],
        after: Option<Vec<u8>>,
    ) -> impl Iterator<Item = Result<R, ViewsError>> {
        let from = after.map_or_else(|| Bound::Included(prefix.to_vec()), Bound::Excluded);
        let pairs = self.keyspace.range((from, Bound::Unbounded)).map(open_guard);
        let within = move |pair: &Result<KvPair, ViewsError>| {
            pair.as_ref().map_or(true, |(key, _)| key.starts_with(prefix))
        };
        pairs.take_while(within).map(|pair| {
            let (key, value) = pair?;
            self.decode(&key, &value)
        })
    }

    /// Up to `count` rows of a snapshot with their keys, from the one after the key `after` on. What
    /// does not lie where `place` says is corrupt.
    pub(super) fn chunk<R: DeserializeOwned>(
        &self,
        snapshot: &Snapshot,
        after: &[u8],
        count: usize,
        place: fn(&R) -> (Vec<u8>, u64),
    ) -> Result<Vec<Found<R>>, ViewsError> {
        let range = (Bound::Excluded(after.to_vec()), Bound::Unbounded);
        let pairs = snapshot.range(&self.keyspace, range).take(count).map(open_guard);
        pairs
            .map(|pair| {
                let (key, value) = pair?;
                Ok((key.to_vec(), self.placed(&key, &value, place)))
            })
            .collect()
    }

    fn placed<R: DeserializeOwned>(
        &self,
        key: &[u8],
        value: &[u8],
        place: fn(&R) -> (Vec<u8>, u64),
    ) -> Scanned<R> {
        let row = self.decode(key, value)?;
        let (stored, _) = self.split(key, value)?;
        let (own_key, own_offset) = place(&row);
        if own_key != key {
            let reason = format!("it is the row of {}", own_key.escape_ascii());
            return Err(corrupt(&self.name, key, &reason));
        }
        if own_offset != stored {
            let reason = format!("it is of offset {own_offset}, and is kept as of {stored}");
            return Err(corrupt(&self.name, key, &reason));
        }
        Ok(row)
    }

    fn decode<R: DeserializeOwned>(&self, key: &[u8], value: &[u8]) -> Result<R, ViewsError> {
        let (_, json) = self.split(key, value)?;
        serde_json::from_slice(json).map_err(|error| corrupt(&self.name, key, &error.to_string()))
    }

    fn split<'a>(&self, key: &[u8], value: &'a [u8]) -> Result<(u64, &'a [u8]), ViewsError> {
        let (offset, json) = value
            .split_first_chunk()
            .ok_or_else(|| corrupt(&self.name, key, "it is too short to hold a position"))?;
        Ok((u64::from_be_bytes(*offset), json))
    }
}

fn open_guard(guard: Guard) -> Result<KvPair, ViewsError> {
    guard.into_inner().map_err(failed("reading rows"))
}

pub(super) fn corrupt(table: &str, key: &[u8], reason: &str) -> ViewsError {
    ViewsError::Corrupt {
        table: table.into(),
        key: key.escape_ascii().to_string(),
        reason: reason.into(),
    }
}
