//! Rows in a keyspace of fjall: offset of the position (8 bytes, big-endian), then JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use fjall::{Guard, Keyspace, KvPair, OwnedWriteBatch, Readable, Snapshot};

use super::failed;
use crate::changes::Changes;
use crate::engine::{Range, Walk};
use crate::error::ViewsError;
use crate::generation::TableId;
use crate::key::Key;
use crate::view::{AnyRow, Entry, Scanned, Texts, corrupt};

/// What a scan found, and under which key.
pub(super) type Found = (Vec<u8>, Scanned<AnyRow>);

type Rows = BTreeMap<Vec<u8>, AnyRow>;

pub(super) struct Table {
    pub(super) id: TableId,
    keyspace: Keyspace,
    /// All rows by key, where they are few and read all the time. Reading them from the store is slow:
    /// a row that is written often is there in every version that has not been flushed yet.
    in_memory: Option<RwLock<Rows>>,
}

impl Table {
    pub(super) fn open(id: TableId, keyspace: Keyspace) -> Result<Self, ViewsError> {
        let mut table = Self { id, keyspace, in_memory: None };
        if id.view.schema().in_memory {
            let pairs = table.keyspace.iter().map(open_guard);
            let rows = pairs.map(|pair| {
                let (key, value) = pair?;
                let row = table.decode(&key.escape_ascii(), &value)?;
                Ok((key.to_vec(), row))
            });
            table.in_memory = Some(RwLock::new(rows.collect::<Result<_, ViewsError>>()?));
        }
        Ok(table)
    }

    /// Whether its rows are in memory, and nobody changes them.
    pub(super) fn is_at_hand(&self) -> bool {
        self.in_memory.as_ref().is_some_and(|rows| rows.try_read().is_ok())
    }

    pub(super) fn get(&self, key: &Key) -> Result<Option<AnyRow>, ViewsError> {
        let value = self.keyspace.get(key.to_bytes()).map_err(failed("reading a row"))?;
        value.map(|value| self.decode(key, &value)).transpose()
    }

    pub(super) fn list(&self, walk: Walk, count: usize) -> Result<Vec<AnyRow>, ViewsError> {
        walk.read(count, |range, count| self.range(range, count))
    }

    /// Up to `count` rows of a range.
    fn range(&self, range: &Range, count: usize) -> Result<Vec<AnyRow>, ViewsError> {
        let (group, from) = range.begin();
        let bounds = (from, Bound::Unbounded);
        if let Some(all) = &self.in_memory {
            let all = all.read().unwrap_or_else(PoisonError::into_inner);
            let of_group = all.range(bounds).take_while(|(key, _)| key.starts_with(&group));
            return Ok(of_group.take(count).map(|(_, row)| row.clone()).collect());
        }
        let mut rows = Vec::new();
        for pair in self.keyspace.range(bounds).map(open_guard).take(count) {
            let (key, value) = pair?;
            if !key.starts_with(&group) {
                break;
            }
            rows.push(self.decode(&key.escape_ascii(), &value)?);
        }
        Ok(rows)
    }

    /// Adds to a batch the rows of this table that a stretch of the log has changed, where the tables have got to `from`. What
    /// is to be kept in memory of that.
    pub(super) fn put_all<'changes>(
        &self,
        batch: &mut OwnedWriteBatch,
        (changes, texts): (&'changes Changes, &mut Texts<'changes>),
        from: u64,
    ) -> Result<Vec<(Vec<u8>, AnyRow)>, ViewsError> {
        let mut put = Vec::new();
        for entry in self.id.view.entries_sharing(changes, texts) {
            if self.put(batch, &entry, from)? && self.in_memory.is_some() {
                put.push(self.row_of(&entry)?);
            }
        }
        Ok(put)
    }

    /// Adds a row to a batch unless the stored one is of a later position. Tells whether it did.
    /// Rows of one key are all of one partition, so that offsets compare. `from` is where the tables have got to: a row of
    /// what follows that no later event changes cannot be there, and looking for it would cost more than writing it.
    fn put(
        &self,
        batch: &mut OwnedWriteBatch,
        entry: &Entry,
        from: u64,
    ) -> Result<bool, ViewsError> {
        let (key, offset) = (entry.key.to_bytes(), entry.position.offset);
        let may_be_there = offset < from || self.id.view.is_rewritten();
        if may_be_there
            && let Some(value) = self.keyspace.get(&key).map_err(failed("comparing positions"))?
            && self.split(&entry.key, &value)?.0 > offset
        {
            return Ok(false);
        }
        let value = [offset.to_be_bytes().as_slice(), &entry.json].concat();
        batch.insert(&self.keyspace, key, value);
        Ok(true)
    }

    pub(super) fn clear(&self) -> Result<(), ViewsError> {
        let rows = self.lock();
        self.keyspace.clear().map_err(failed("emptying a table"))?;
        rows.into_iter().for_each(|mut rows| rows.clear());
        Ok(())
    }

    /// What is in memory, for who changes it.
    pub(super) fn lock(&self) -> Option<RwLockWriteGuard<'_, Rows>> {
        let rows = self.in_memory.as_ref()?;
        Some(rows.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The row of an entry with its key, as it is kept in memory.
    fn row_of(&self, entry: &Entry) -> Result<(Vec<u8>, AnyRow), ViewsError> {
        let row = self.id.view.decode_json(&entry.json);
        let row = row.map_err(|reason| corrupt(&self.id.to_string(), &entry.key, reason))?;
        Ok((entry.key.to_bytes(), row))
    }

    /// Up to `count` rows of a snapshot with their keys, from the one after the key `after` on. What
    /// does not lie where it belongs is corrupt.
    pub(super) fn chunk(
        &self,
        snapshot: &Snapshot,
        after: &[u8],
        count: usize,
    ) -> Result<Vec<Found>, ViewsError> {
        let range = (Bound::Excluded(after.to_vec()), Bound::Unbounded);
        let pairs = snapshot.range(&self.keyspace, range).take(count).map(open_guard);
        pairs
            .map(|pair| {
                let (key, value) = pair?;
                Ok((key.to_vec(), self.placed(&key, &value)))
            })
            .collect()
    }

    fn placed(&self, key: &[u8], value: &[u8]) -> Scanned<AnyRow> {
        let place = key.escape_ascii();
        let row = self.decode(&place, value)?;
        let (stored, _) = self.split(&place, value)?;
        let (own_key, position) = self.id.view.place(&row);
        if own_key.to_bytes() != key {
            return Err(corrupt(
                &self.id.to_string(),
                place,
                format!("it is the row of {own_key}"),
            ));
        }
        let offset = position.offset;
        if offset != stored {
            let reason = format!("it is of offset {offset}, and is kept as of {stored}");
            return Err(corrupt(&self.id.to_string(), place, reason));
        }
        Ok(row)
    }

    fn decode(&self, key: &dyn fmt::Display, value: &[u8]) -> Result<AnyRow, ViewsError> {
        let (_, json) = self.split(key, value)?;
        self.id.view.decode_json(json).map_err(|reason| corrupt(&self.id.to_string(), key, reason))
    }

    fn split<'a>(
        &self,
        key: &dyn fmt::Display,
        value: &'a [u8],
    ) -> Result<(u64, &'a [u8]), ViewsError> {
        let short = || corrupt(&self.id.to_string(), key, "it is too short to hold a position");
        let (offset, json) = value.split_first_chunk().ok_or_else(short)?;
        Ok((u64::from_be_bytes(*offset), json))
    }
}

fn open_guard(guard: Guard) -> Result<KvPair, ViewsError> {
    guard.into_inner().map_err(failed("reading rows"))
}
