//! Which records of a partition count.
//!
//! A fence at offset f opens term f. An event counts when it carries the term of the last fence
//! and is the next of that term; anything else is void, for every reader and for ever. So after a
//! hole nothing of that term counts any more: what counts of a term is always a prefix of what
//! its owner decided, and was decided on exactly the state that every reader has.
//!
//! A record that cannot be read stops the fold, until an operator's [`Skip`] of it is known. What is
//! skipped counts for nobody, also not for a version that can read it; it keeps its place, so that what
//! follows it in its term still counts.
//!
//! Owner, projector and verifier all read through this, and nothing else decides.

use std::sync::Arc;

use seckill_proto::v1::{Checkpoint, Event, Fence, Skip, record};
use seckill_proto::{Place, Unreadable, decode_record, place_of};

use crate::{History, Skips};

/// How far a partition has been folded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fold {
    next_offset: u64,
    term: Option<u64>,
    next_seq: u64,
    /// Id of the fence at `term`; empty before the first.
    fence_id: Vec<u8>,
    history: History,
    /// The history without its last record.
    history_before_last: History,
    skips: Arc<Skips>,
}

/// What a record turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Folded {
    /// Opens a term at its own offset.
    Fence(Fence),
    /// Counts.
    Event(Event),
    /// Counts for nobody: left behind by an owner that was deposed.
    Void,
    /// Counts for nobody: an operator has said so in another record, which is this.
    Skipped(Skip),
    /// Such a word of an operator. It does nothing where it is.
    Skip(Skip),
}

/// Why folding cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// Records are missing.
    #[error("offset {expected} is missing: the log goes on at {found}")]
    Gap {
        /// The offset that had to come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// A record that this version must not act on.
    #[error("offset {offset}: {reason}")]
    Unreadable {
        /// Where it is.
        offset: u64,
        /// What is wrong with it.
        reason: Unreadable,
    },
}

impl Fold {
    /// A fold that has got as far as a snapshot or a view says.
    #[must_use]
    pub fn resume(checkpoint: &Checkpoint) -> Self {
        Self {
            next_offset: checkpoint.next_offset,
            term: checkpoint.term,
            next_seq: checkpoint.next_seq,
            fence_id: checkpoint.fence_id.clone(),
            history: History::from_number(checkpoint.history),
            history_before_last: History::from_number(checkpoint.history_before_last),
            skips: Arc::default(),
        }
    }

    /// The same, which passes over what is skipped.
    #[must_use]
    pub fn honouring(self, skips: Skips) -> Self {
        Self { skips: Arc::new(skips), ..self }
    }

    /// The skips that are known to it.
    #[must_use]
    pub fn skips(&self) -> &Skips {
        &self.skips
    }

    /// How far it has got, for a snapshot or a view to keep.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            next_offset: self.next_offset,
            term: self.term,
            next_seq: self.next_seq,
            fence_id: self.fence_id.clone(),
            history: self.history.number(),
            history_before_last: self.history_before_last.number(),
        }
    }

    /// The hash of everything folded.
    #[must_use]
    pub fn history(&self) -> History {
        self.history
    }

    /// The first offset not folded yet.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Offset of the last fence; `None` before the first.
    #[must_use]
    pub fn term(&self) -> Option<u64> {
        self.term
    }

    /// The `seq` that counts next in this term.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Folds the next record.
    ///
    /// # Errors
    /// The record is not the next one or cannot be read. The fold stays where it was.
    pub fn step(&mut self, offset: u64, record: &[u8]) -> Result<Folded, FoldError> {
        if offset != self.next_offset {
            return Err(FoldError::Gap { expected: self.next_offset, found: offset });
        }
        if let Some(skip) = self.skips.of(offset, record).cloned() {
            self.advance(self.history.then(record));
            self.take_place(offset, place_of(record));
            return Ok(Folded::Skipped(skip));
        }
        let kind =
            decode_record(record).map_err(|reason| FoldError::Unreadable { offset, reason })?;
        self.advance(self.history.then(record));
        Ok(match kind {
            record::Kind::Fence(fence) => {
                self.take_place(offset, Place::Fence(fence.fence_id.clone()));
                Folded::Fence(fence)
            }
            record::Kind::Event(event) => {
                let place = Place::Event { term: event.term, seq: event.seq };
                if self.take_place(offset, place) { Folded::Event(event) } else { Folded::Void }
            }
            record::Kind::Skip(skip) => Folded::Skip(skip),
        })
    }

    /// Whether the record at this offset is the next of its term.
    fn take_place(&mut self, offset: u64, place: Place) -> bool {
        match place {
            Place::Fence(fence_id) => {
                (self.term, self.next_seq, self.fence_id) = (Some(offset), 0, fence_id);
            }
            Place::Event { term, seq } if self.term == Some(term) && self.next_seq == seq => {
                self.next_seq = seq + 1;
            }
            Place::Event { .. } | Place::None => return false,
        }
        true
    }

    /// Goes past an event that its owner knows to be the next and to count, to this history.
    pub(crate) fn confirm(&mut self, history: History) {
        self.advance(history);
        self.next_seq += 1;
    }

    fn advance(&mut self, history: History) {
        self.next_offset += 1;
        self.history_before_last = std::mem::replace(&mut self.history, history);
    }
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::{PromotionStarted, event};
    use seckill_proto::{encode_event, encode_fence, encode_skip};

    use super::*;

    fn fence() -> Vec<u8> {
        encode_fence(Fence { fence_id: vec![7; 16], ..Fence::default() })
    }

    fn event(term: u64, seq: u64) -> Vec<u8> {
        encode_event(Event {
            term,
            seq,
            at_ms: 1,
            promotion_id: "p".into(),
            body: Some(event::Body::Started(PromotionStarted {})),
        })
    }

    fn counting(records: &[Vec<u8>]) -> Vec<u64> {
        let mut fold = Fold::default();
        let counts = |folded: &Folded| matches!(folded, Folded::Event(_));
        (0_u64..)
            .zip(records)
            .filter(|(offset, record)| counts(&fold.step(*offset, record).expect("readable")))
            .map(|(offset, _)| offset)
            .collect()
    }

    #[test]
    fn events_of_the_term_count_in_sequence() {
        assert_eq!(counting(&[fence(), event(0, 0), event(0, 1)]), [1, 2]);
    }

    #[test]
    fn nothing_counts_before_the_first_fence() {
        assert_eq!(counting(&[event(0, 0), fence(), event(1, 0)]), [2]);
    }

    #[test]
    fn after_a_hole_nothing_of_the_term_counts() {
        assert_eq!(counting(&[fence(), event(0, 0), event(0, 2), event(0, 3)]), [1]);
    }

    #[test]
    fn a_repeated_event_counts_once() {
        assert_eq!(counting(&[fence(), event(0, 0), event(0, 0), event(0, 1)]), [1, 3]);
    }

    #[test]
    fn a_deposed_owner_writes_in_vain() {
        let records = [fence(), event(0, 0), fence(), event(0, 1), event(2, 0), event(0, 2)];
        assert_eq!(counting(&records), [1, 4]);
    }

    #[test]
    fn it_knows_where_it_stands() {
        let mut fold = Fold::default();
        assert_eq!((fold.term(), fold.next_seq()), (None, 0));
        let records = [event(0, 0), fence(), event(1, 0)];
        let mut history = History::default();
        for (offset, record) in (0..).zip(&records) {
            history = history.then(record);
            fold.step(offset, record).expect("readable");
            assert_eq!(fold.history(), history);
        }
        assert_eq!((fold.term(), fold.next_seq(), fold.next_offset()), (Some(1), 1, 3));
        assert_eq!(fold.checkpoint().history, history.number());
    }

    #[test]
    fn a_fold_goes_on_from_its_checkpoint() {
        let records = [fence(), event(0, 0), event(7, 0), fence(), event(3, 0)];
        let mut whole = Fold::default();
        let mut checkpoints = vec![whole.checkpoint()];
        for (offset, record) in (0..).zip(&records) {
            whole.step(offset, record).expect("readable");
            checkpoints.push(whole.checkpoint());
        }
        for (from, checkpoint) in (0..).zip(&checkpoints) {
            let mut resumed = Fold::resume(checkpoint);
            for (offset, record) in (from..).zip(&records[usize::try_from(from).expect("few")..]) {
                resumed.step(offset, record).expect("readable");
            }
            assert_eq!(resumed, whole, "from {from}");
        }
    }

    fn skip(offset: u64, record: &[u8]) -> Skip {
        let (by, reason) = ("ann".into(), "junk".into());
        Skip { offset, hash: crate::hash_of(record), by, reason, at_ms: 1 }
    }

    /// An event with a field that this version does not know.
    fn of_a_newer_version(mut record: Vec<u8>) -> Vec<u8> {
        record.extend([0xA0, 0x06, 0x01]); // field 100, varint 1
        record
    }

    #[test]
    fn what_is_skipped_counts_for_nobody_and_keeps_its_place() {
        let newer = of_a_newer_version(event(0, 1));
        let newer_fence = of_a_newer_version(fence());
        let records = [
            fence(),
            event(0, 0),
            b"junk".to_vec(),
            newer.clone(),
            event(0, 2),
            newer_fence.clone(),
            event(5, 0),
            encode_skip(skip(2, b"junk")),
            event(5, 1),
        ];
        let skips = [skip(2, b"junk"), skip(3, &newer), skip(5, &newer_fence)];
        let mut fold = Fold::default().honouring(skips.into_iter().collect());
        let mut counting = Vec::new();
        for (offset, record) in (0..).zip(&records) {
            let before = fold.history();
            match fold.step(offset, record).expect("readable, or skipped") {
                Folded::Event(_) => counting.push(offset),
                Folded::Skipped(skip) => assert_eq!(skip.offset, offset),
                Folded::Fence(_) | Folded::Void | Folded::Skip(_) => {}
            }
            assert_eq!(fold.history(), before.then(record), "what is skipped is part of it");
        }
        assert_eq!(counting, [1, 4, 6, 8]);
        assert_eq!(fold.checkpoint().fence_id, [7; 16]);
    }

    /// A skip is of one record, and holds for those that could be read as well.
    #[test]
    fn only_the_record_that_was_meant_is_skipped() {
        let mut fold = Fold::default().honouring([skip(0, b"other junk")].into_iter().collect());
        assert!(matches!(fold.step(0, b"junk"), Err(FoldError::Unreadable { offset: 0, .. })));
        fold = Fold::default().honouring([skip(0, &fence())].into_iter().collect());
        assert!(matches!(fold.step(0, &fence()), Ok(Folded::Skipped(_))));
        assert!(matches!(fold.step(1, &event(0, 0)), Ok(Folded::Event(_))));
    }

    #[test]
    fn a_gap_and_an_unreadable_record_stop_the_fold_where_it_is() {
        let mut fold = Fold::default();
        assert_eq!(fold.step(1, &fence()), Err(FoldError::Gap { expected: 0, found: 1 }));
        assert!(matches!(fold.step(0, b"junk"), Err(FoldError::Unreadable { offset: 0, .. })));
        assert_eq!(fold, Fold::default());
    }
}
