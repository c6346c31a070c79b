//! Reads a compacted topic: the last value of every key.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::kafka::lookup::{Lookups, Place};
use crate::{Entries, LogError};

pub(super) fn scan(lookups: &Lookups, place: &Place<'_>) -> Result<Entries, LogError> {
    let mut entries = HashMap::new();
    lookups.read_all(place, &mut |key, value| {
        match value {
            Some(value) => entries.insert(key.to_owned(), Bytes::copy_from_slice(value)),
            None => entries.remove(key),
        };
        true
    })?;
    Ok(entries.into_iter().collect())
}

/// Gives the values of some keys, those that were replaced since too.
pub(super) fn fetch(
    lookups: &Lookups,
    place: &Place<'_>,
    keys: &HashSet<String>,
    to: &mpsc::Sender<Result<(String, Bytes), LogError>>,
) -> Result<(), LogError> {
    lookups.read_all(place, &mut |key, value| match value {
        Some(value) if keys.contains(key) => {
            let value = Bytes::copy_from_slice(value);
            to.blocking_send(Ok((key.to_owned(), value))).is_ok()
        }
        Some(_) | None => true,
    })
}
