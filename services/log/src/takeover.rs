//! Taking a partition over: what to do next, and what follows from what came of it.
//!
//! No I/O and no clock: whoever drives it does what [`Takeover::next`] says, and reports back. The
//! simulation drives the same machine as a command node.
//!
//! ```text
//!   in doubt: LookAtEnd, Read to there ── foreign fence ──► Deposed
//!        │ none found
//!        ▼
//!   Append the fence ── delivery unknown ──► NotFenced
//!        │ at f
//!        ▼
//!   Read through f: first what is still in doubt, then from the snapshot ── another fence at f ──► Deposed
//!        │ the own fence, at f
//!        ▼
//!     Serving
//! ```
//!
//! In doubt is what an owner appended and never saw confirmed. It is settled before anything new is
//! written, so that those who wait know as soon as it can be known.

use seckill_proto::v1::{Event, Fence};

use crate::Delivery;
use crate::fold::{Fold, FoldError};
use crate::owner::{CaughtUp, Owner, Phase, Settled};

/// What must be done before anything else can follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Ask where the log ends, and report it to [`Takeover::ended`].
    LookAtEnd,
    /// Append this record, and report its delivery to [`Takeover::delivered`].
    Append(Vec<u8>),
    /// Report the records from this offset on to [`Takeover::record`], one by one, until something else
    /// is to be done. Where none comes, look at the end.
    Read {
        /// The offset of the first.
        from: u64,
    },
    /// It is over.
    Done(Outcome),
}

/// How a takeover ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The owner serves, on exactly the state that was given out.
    Serving,
    /// Somebody else has fenced, or the own fence is not where it was said to be.
    Deposed,
    /// Nobody knows whether the fence was written.
    NotFenced,
    /// The log ends before records that were confirmed.
    Lost,
}

/// What a record does.
#[derive(Debug, PartialEq)]
pub enum Effect<T> {
    /// This is what became of something that was in doubt.
    Settled(Settled<T>),
    /// Apply this to the state.
    Apply(Event),
    /// A fence before the own one; it may carry an operator's word.
    Fence(Fence),
}

/// One attempt to take a partition over.
#[derive(Debug)]
pub struct Takeover {
    fence_id: [u8; 16],
    node: String,
    endpoint: String,
    /// Where the snapshot ends, until catching up begins.
    from: Option<Fold>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begin,
    /// Reading back what is in doubt, up to here.
    ReadBack {
        end: u64,
    },
    Append,
    /// The own fence is said to be there: what is in doubt first, then the state.
    Fenced {
        fence: u64,
    },
    CatchUp {
        fence: u64,
        next: u64,
    },
    Done(Outcome),
}

impl Takeover {
    /// An attempt with a fresh fence id, on a state that is folded up to `from`.
    #[must_use]
    pub fn new(fence_id: [u8; 16], node: &str, endpoint: &str, from: Fold) -> Self {
        let (node, endpoint) = (node.to_owned(), endpoint.to_owned());
        Self { fence_id, node, endpoint, from: Some(from), stage: Stage::Begin }
    }

    /// What is to be done now. Asking again gives the same.
    pub fn next<T>(&mut self, owner: &mut Owner<T>) -> Next {
        let doubt = owner.read_back_from();
        match self.stage {
            Stage::Begin if doubt.is_some() => Next::LookAtEnd,
            Stage::ReadBack { end } => match doubt {
                None => self.done(Outcome::Deposed),
                Some(from) if from < end => Next::Read { from },
                Some(_) => self.append(owner),
            },
            Stage::Begin | Stage::Append => self.append(owner),
            Stage::Fenced { fence } => match doubt {
                Some(from) if from <= fence => Next::Read { from },
                Some(_) | None => self.begin_catch_up(owner, fence),
            },
            Stage::CatchUp { next, .. } => Next::Read { from: next },
            Stage::Done(outcome) => Next::Done(outcome),
        }
    }

    fn done(&mut self, outcome: Outcome) -> Next {
        self.stage = Stage::Done(outcome);
        Next::Done(outcome)
    }

    fn append<T>(&mut self, owner: &mut Owner<T>) -> Next {
        self.stage = Stage::Append;
        Next::Append(owner.fence(self.fence_id, &self.node, &self.endpoint))
    }

    fn begin_catch_up<T>(&mut self, owner: &mut Owner<T>, fence: u64) -> Next {
        match self.from.take() {
            // Of a snapshot by somebody who came later.
            Some(from) if from.next_offset() > fence => self.done(Outcome::Deposed),
            Some(from) if owner.read_back_from().is_none() => {
                let next = from.next_offset();
                owner.begin_catch_up(from);
                self.stage = Stage::CatchUp { fence, next };
                Next::Read { from: next }
            }
            // The own fence had to end all doubt, and was not there.
            Some(_) | None => self.done(Outcome::Deposed),
        }
    }

    /// Where the own fence is said to be, once it is.
    #[must_use]
    pub fn fence(&self) -> Option<u64> {
        match self.stage {
            Stage::Fenced { fence } | Stage::CatchUp { fence, .. } => Some(fence),
            Stage::Begin | Stage::ReadBack { .. } | Stage::Append | Stage::Done(_) => None,
        }
    }

    /// Where the log ends: asked for, or looked at because no record came.
    pub fn ended(&mut self, end: u64) {
        match self.stage {
            Stage::Begin => self.stage = Stage::ReadBack { end },
            Stage::ReadBack { end: before } if end < before => {
                self.stage = Stage::Done(Outcome::Lost);
            }
            Stage::Fenced { fence } | Stage::CatchUp { fence, .. } if end <= fence => {
                self.stage = Stage::Done(Outcome::Deposed);
            }
            Stage::ReadBack { .. }
            | Stage::Append
            | Stage::Fenced { .. }
            | Stage::CatchUp { .. }
            | Stage::Done(_) => {}
        }
    }

    /// Where the fence went.
    pub fn delivered<T>(&mut self, owner: &mut Owner<T>, delivery: Delivery) {
        owner.fenced(delivery);
        self.stage = match owner.phase() {
            Phase::CatchingUp { fence } => Stage::Fenced { fence },
            Phase::Idle | Phase::Fencing | Phase::Serving { .. } | Phase::Suspect => {
                Stage::Done(Outcome::NotFenced)
            }
        };
    }

    /// What the next record does. One that is not wanted any more does nothing.
    ///
    /// # Errors
    /// The log cannot be folded: nobody can own this partition.
    pub fn record<T>(
        &mut self,
        owner: &mut Owner<T>,
        offset: u64,
        record: &[u8],
    ) -> Result<Vec<Effect<T>>, FoldError> {
        match self.stage {
            Stage::ReadBack { .. } | Stage::Fenced { .. } if owner.read_back_from().is_some() => {
                let settled = owner.read_back(offset, record)?;
                Ok(settled.into_iter().map(Effect::Settled).collect())
            }
            Stage::CatchUp { fence, .. } => {
                self.stage = Stage::CatchUp { fence, next: offset + 1 };
                Ok(match owner.catch_up(offset, record)? {
                    CaughtUp::Apply(event) => vec![Effect::Apply(event)],
                    CaughtUp::Fence(fence) => vec![Effect::Fence(fence)],
                    CaughtUp::Void => Vec::new(),
                    CaughtUp::Serving => self.end(Outcome::Serving),
                    CaughtUp::Deposed => self.end(Outcome::Deposed),
                })
            }
            Stage::Begin
            | Stage::ReadBack { .. }
            | Stage::Append
            | Stage::Fenced { .. }
            | Stage::Done(_) => Ok(Vec::new()),
        }
    }

    fn end<T>(&mut self, outcome: Outcome) -> Vec<Effect<T>> {
        self.stage = Stage::Done(outcome);
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens step by step is in `tests/takeover`.
    #[test]
    fn where_its_fence_is_said_to_be_is_known_until_it_is_over() {
        let mut owner = Owner::<()>::default();
        let mut takeover = Takeover::new([7; 16], "node", "", Fold::default());
        assert!(matches!(takeover.next(&mut owner), Next::Append(_)));
        assert_eq!(takeover.fence(), None);
        takeover.delivered(&mut owner, Delivery::At(3));
        assert_eq!(takeover.fence(), Some(3));
        assert_eq!(takeover.record(&mut owner, 1, b"not wanted yet"), Ok(Vec::new()));
        assert_eq!(takeover.next(&mut owner), Next::Read { from: 0 });
        takeover.ended(4); // the fence is there: more is to come
        assert_eq!(takeover.next(&mut owner), Next::Read { from: 0 });
        assert_eq!(takeover.fence(), Some(3));
        takeover.ended(3);
        assert_eq!(takeover.next(&mut owner), Next::Done(Outcome::Deposed));
        assert_eq!(takeover.fence(), None);
    }

    /// Looking again while reading back finds as much as before, or the log has lost records.
    #[test]
    fn a_log_that_ends_before_what_was_there_is_lost() {
        let mut owner = Owner::default();
        let fence = owner.fence([7; 16], "node", "");
        owner.fenced(Delivery::At(0));
        owner.begin_catch_up(Fold::default());
        assert_eq!(owner.catch_up(0, &fence), Ok(CaughtUp::Serving));
        owner.submit(vec![Event::default()], "grab");
        owner.suspect();
        let mut takeover = Takeover::new([8; 16], "node", "", Fold::default());
        assert_eq!(takeover.next(&mut owner), Next::LookAtEnd);
        takeover.ended(2);
        for end in [2, 3, 2] {
            assert_eq!(takeover.next(&mut owner), Next::Read { from: 1 });
            takeover.ended(end);
        }
        takeover.ended(1);
        assert_eq!(takeover.next(&mut owner), Next::Done(Outcome::Lost));
    }
}
