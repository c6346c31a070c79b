//! Records that an operator has taken out of what counts, and how every reader knows of them.
//!
//! The skip itself is a record of the log, after the one that it is about; there it says for ever who
//! has skipped what, and why. So that a reader knows of it before it comes to the record, the table of
//! owners has it too, under the offset of the record. The table is written last: a skip that is not in it
//! yet stops readers, and misleads none.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use seckill_proto::decode_strictly;
use seckill_proto::v1::{Checkpoint, Skip};
use twox_hash::XxHash3_64;

use crate::{Entries, Fold, Log, LogError, Table};

/// Keys in the table of owners are this and the offset of the record.
const KEY: &str = "skip/";

/// The skips of a partition, by the offset of the record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Skips(BTreeMap<u64, Skip>);

impl Skips {
    /// Those that are known of a partition.
    ///
    /// # Errors
    /// The table cannot be read, or is of a newer version.
    pub async fn load(log: &dyn Log, partition: u32) -> Result<Self, LogError> {
        Self::among(partition, &log.scan(Table::Owners, partition).await?)
    }

    /// Those in the table of owners of a partition.
    ///
    /// # Errors
    /// One is of a newer version.
    pub fn among(partition: u32, entries: &Entries) -> Result<Self, LogError> {
        let skips = entries.iter().filter(|(key, _)| key.starts_with(KEY));
        let skips = skips.map(|(key, value)| match decode_strictly::<Skip>(value) {
            Ok(skip) => Ok(skip),
            Err(reason) => Err(LogError::Broken(format!(
                "partition {partition}: {key} of the table of owners: {reason}"
            ))),
        });
        skips.collect::<Result<Vec<_>, _>>().map(Self::from_iter)
    }

    /// Lets every reader know of these, which are in the log.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn publish(&self, log: &dyn Log, partition: u32) -> Result<(), LogError> {
        let entry =
            |skip: &Skip| (format!("{KEY}{:020}", skip.offset), Bytes::from(skip.encode_to_vec()));
        let entries: Vec<_> = self.0.values().map(entry).collect();
        if entries.is_empty() { Ok(()) } else { log.put(Table::Owners, partition, entries).await }
    }

    /// The skip of a record.
    #[must_use]
    pub fn of(&self, offset: u64, record: &[u8]) -> Option<&Skip> {
        self.0.get(&offset).filter(|skip| skip.hash == hash_of(record))
    }

    /// All of them, by offset.
    pub fn iter(&self) -> impl Iterator<Item = &Skip> {
        self.0.values()
    }

    /// With another one. Of two of the same record the first one counts.
    pub fn add(&mut self, skip: Skip) {
        self.0.entry(skip.offset).or_insert(skip);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Skip> for Skips {
    fn from_iter<I: IntoIterator<Item = Skip>>(skips: I) -> Self {
        let mut all = Self::default();
        skips.into_iter().for_each(|skip| all.add(skip));
        all
    }
}

/// What a skip knows its record by.
#[must_use]
pub fn hash_of(record: &[u8]) -> u64 {
    XxHash3_64::oneshot(record)
}

/// A fold of a partition from a checkpoint on, which honours the skips that are known.
///
/// # Errors
/// They cannot be read.
pub async fn fold_from(
    log: &dyn Log,
    partition: u32,
    checkpoint: &Checkpoint,
) -> Result<Fold, LogError> {
    Ok(Fold::resume(checkpoint).honouring(Skips::load(log, partition).await?))
}
