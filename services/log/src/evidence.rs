//! Whether a log still has the history that somebody has seen of it.
//!
//! A snapshot, a view, a mark in the table of owners and a node's own memory each keep a checkpoint:
//! an offset, and the hash of all records before it. A log that is shorter, or has another record
//! right before that offset, has lost records that were acknowledged. Deciding on it would give
//! coupons twice, so whoever finds that out stops, and says what is missing.
//!
//! One read is enough: a log only changes by losing its end and growing again, every new beginning
//! writes a fence with an id of its own, and an event carries its term. So where the fence and the
//! last record of a checkpoint are the same, all records before them are.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use bytes::Bytes;
use futures::future::try_join_all;
use seckill_proto::v1::Checkpoint;
use seckill_proto::{Place, place_of};

use crate::{History, Log, LogError};

/// The key of an owner's mark in the table of owners.
pub const COMMAND_MARK: &str = "mark/command";
/// The key of a projector's mark in the table of owners.
pub const PROJECTOR_MARK: &str = "mark/projector";

/// A log that is not the one that a checkpoint was made of.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct Contradiction {
    /// Partition of the event log.
    pub partition: u32,
    /// Who has the checkpoint.
    pub witness: String,
    /// How far the witness has seen the log.
    pub checkpoint: Checkpoint,
    /// Where the log ends now.
    pub end: u64,
}

impl Contradiction {
    /// Records that are missing for certain; 0 where the log has grown again since.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.checkpoint.next_offset.saturating_sub(self.end)
    }
}

impl Contradiction {
    /// What is lost, without what to do.
    #[must_use]
    pub fn what(&self) -> String {
        let Self { partition, witness, checkpoint, end } = self;
        let reached = checkpoint.next_offset;
        let how = match self.missing() {
            0 => format!(
                "the log has grown again since to offset {end} with other records before that offset"
            ),
            missing => format!(
                "it ends at {end}: {missing} records from offset {end} on, or more, are missing"
            ),
        };
        format!(
            "partition {partition} of the log has lost records: {witness} followed it to offset {reached}, and {how}"
        )
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}. Nothing is decided on it, so that no coupon is given twice. Put the lost records back from \
             a copy, name the log and the views that belong together, or see `seckill repair`",
            self.what()
        )
    }
}

/// Somebody who has followed a partition, and how far.
#[derive(Debug, Clone, PartialEq)]
pub struct Witness {
    /// Who, as an operator knows it.
    pub name: String,
    /// How far, and what.
    pub checkpoint: Checkpoint,
}

impl Witness {
    /// A witness by name.
    #[must_use]
    pub fn new(name: impl Into<String>, checkpoint: Checkpoint) -> Self {
        Self { name: name.into(), checkpoint }
    }

    /// The records that show whether the log has what was seen: the last one, and the last fence.
    fn asks_for(&self) -> impl Iterator<Item = u64> {
        self.checkpoint.next_offset.checked_sub(1).into_iter().chain(self.checkpoint.term)
    }

    fn is_borne_out(&self, records: &Records) -> bool {
        let checkpoint = &self.checkpoint;
        let Some(last) = checkpoint.next_offset.checked_sub(1) else { return true };
        let Some(Some(record)) = records.get(&last) else { return false };
        let before = History::from_number(checkpoint.history_before_last);
        if before.then(record).number() != checkpoint.history {
            return false;
        }
        let Some(term) = checkpoint.term else { return true };
        let fence = records.get(&term).and_then(|record| fence_id(record.as_deref()?));
        fence.as_ref() == Some(&checkpoint.fence_id)
    }
}

type Records = HashMap<u64, Option<Bytes>>;

/// Whether the log still has what each witness has seen: the first one, from the furthest on, that
/// it contradicts.
///
/// # Errors
/// The log cannot be read now.
pub async fn contradiction(
    log: &dyn Log,
    partition: u32,
    witnesses: &[Witness],
) -> Result<Option<Contradiction>, LogError> {
    let mut witnesses: Vec<&Witness> = witnesses.iter().collect();
    witnesses.sort_by_key(|witness| Reverse(witness.checkpoint.next_offset));
    let end = log.end(partition).await?;
    let offsets: BTreeSet<u64> = witnesses.iter().flat_map(|witness| witness.asks_for()).collect();
    let reads = offsets.into_iter().filter(|offset| *offset < end).map(async |offset| {
        let record = log.record(partition, offset).await?;
        Ok::<_, LogError>((offset, record))
    });
    let records: Records = try_join_all(reads).await?.into_iter().collect();
    let contradicted = witnesses.into_iter().find(|witness| !witness.is_borne_out(&records));
    Ok(contradicted.map(|Witness { name, checkpoint }| Contradiction {
        partition,
        witness: name.clone(),
        checkpoint: checkpoint.clone(),
        end,
    }))
}

fn fence_id(record: &[u8]) -> Option<Vec<u8>> {
    match place_of(record) {
        Place::Fence(fence_id) => Some(fence_id),
        Place::Event { .. } | Place::None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use seckill_proto::v1::{Event, Fence, PromotionStarted, event};
    use seckill_proto::{encode_event, encode_fence};

    use super::*;
    use crate::Fold;
    use crate::embedded::EmbeddedLog;

    fn fence(id: u8) -> Vec<u8> {
        encode_fence(Fence { fence_id: vec![id; 16], ..Fence::default() })
    }

    fn event(term: u64, seq: u64) -> Vec<u8> {
        let body = Some(event::Body::Started(PromotionStarted {}));
        encode_event(Event { term, seq, at_ms: 1, promotion_id: "p".into(), body })
    }

    async fn log(directory: &Path, records: &[Vec<u8>]) -> EmbeddedLog {
        let log = EmbeddedLog::open(directory, Some(1)).expect("a log");
        log.append(0, records.to_vec()).deliveries().await;
        log
    }

    fn folded(records: &[Vec<u8>]) -> Checkpoint {
        let mut fold = Fold::default();
        for (offset, record) in (0..).zip(records) {
            fold.step(offset, record).expect("readable");
        }
        fold.checkpoint()
    }

    /// What a log of `now` is told by somebody who has seen `seen`.
    async fn told(now: &[Vec<u8>], seen: &[Vec<u8>]) -> Option<Contradiction> {
        let directory = tempfile::tempdir().expect("a directory");
        let log = log(directory.path(), now).await;
        contradiction(&log, 0, &[Witness::new("a test", folded(seen))]).await.expect("an answer")
    }

    #[tokio::test]
    async fn a_log_that_only_grew_is_the_same() {
        let all = [fence(1), event(0, 0), event(0, 1), fence(2), event(3, 0)];
        for seen in 0..=all.len() {
            assert_eq!(told(&all, &all[..seen]).await, None, "{seen}");
        }
    }

    #[tokio::test]
    async fn a_log_that_lost_its_end_is_told_how_much() {
        let all = [fence(1), event(0, 0), event(0, 1), fence(2), event(3, 0)];
        for length in 0..all.len() {
            let found = told(&all[..length], &all).await.expect("a contradiction");
            assert_eq!((found.end, found.missing()), (length as u64, (5 - length) as u64));
            let text = found.to_string();
            assert!(text.contains("a test") && text.contains("seckill repair"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_log_that_grew_again_is_another_one() {
        let seen = [fence(1), event(0, 0), event(0, 1)];
        let others = [
            vec![fence(1), fence(2), event(1, 0)],
            vec![fence(1), event(0, 0), fence(2), event(2, 0), event(2, 1)],
            vec![fence(3), event(0, 0), event(0, 1), event(0, 2)],
        ];
        for now in others {
            let found = told(&now, &seen).await.expect("a contradiction");
            assert_eq!(found.missing(), 0);
            assert!(found.to_string().contains("grown again"), "{found}");
        }
    }
}
