//! Taking a partition over: does what the machine of the protocol says, on a log and a snapshot.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use seckill_log::{
    Contradiction, Delivery, Effect, Entries, Fold, FoldError, Folded, Log, LogError, Next,
    Outcome, Owner, Reader, Settled, Skips, Table, Takeover,
};
use seckill_promotion::{Book, Inconsistent};
use seckill_proto::v1::{Checkpoint, Event, Fence, OwnerHint};

use tokio::time::Instant;

use crate::forward::Peers;
use crate::neighbours::Neighbours;
use crate::proof::{self, ViewsWitness};
use crate::random::Random;
use crate::snapshot::Snapshot;
use crate::standby::Warm;

/// How long one read waits before it is asked again whether there is anything to wait for.
pub(crate) const STEP: Duration = Duration::from_millis(200);

/// How long who serves a partition may take to give it up.
const RELEASED_WITHIN: Duration = Duration::from_millis(300);
/// Nobody writes so many records while a fence is written.
const NEAR: u64 = 1_000;
/// How often what has been written meanwhile is read before that; an owner may write faster than this node reads.
const ROUNDS: usize = 4;

/// How often a long takeover says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Why a partition could not be taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeoverError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// An event that counts and cannot be.
    #[error("offset {offset}: an event of promotion {promotion_id:?} does not fit: {reason}")]
    Inconsistent { offset: u64, promotion_id: String, reason: Inconsistent },
    /// The log has lost records.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// Somebody else has fenced, or the own fence is not where it was said to be.
    #[error("another node has taken the partition")]
    Deposed,
    #[error("the fence was not written for certain")]
    NotFenced,
}

impl TakeoverError {
    pub(crate) fn inconsistent(offset: u64, event: Event, reason: Inconsistent) -> Self {
        Self::Inconsistent { offset, promotion_id: event.promotion_id, reason }
    }

    /// Whether the next attempt may go better without anybody's doing.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Log(error) => error.is_retryable(),
            Self::Deposed | Self::NotFenced => true,
            Self::Fold(_) | Self::Inconsistent { .. } | Self::Contradiction(_) => false,
        }
    }
}

/// How the node signs its fences.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) random: Random,
    pub(crate) node: String,
    pub(crate) endpoint: String,
    pub(crate) url: String,
}

/// What taking a partition over needs.
pub(crate) struct Attempt<'a> {
    pub(crate) log: &'a dyn Log,
    pub(crate) partition: u32,
    pub(crate) identity: &'a Identity,
    pub(crate) views: Option<&'a ViewsWitness>,
    /// How far this node itself has seen the log confirmed.
    pub(crate) known: &'a Checkpoint,
    /// Told now and then how far it has folded, and how far it is going to.
    pub(crate) progress: &'a (dyn Fn(u64, u64) + Sync),
    /// The way to who serves the partition now.
    pub(crate) peers: &'a dyn Peers,
    pub(crate) neighbours: &'a Neighbours,
    /// Has commands wait here from now on.
    pub(crate) let_in: &'a (dyn Fn() + Sync),
}

impl Attempt<'_> {
    /// One attempt. On success the owner serves, on exactly the returned state. What was in doubt is
    /// given to `settle` as soon as it is known. Nothing is written to a log that has lost records, nor
    /// before all is read that is there: who serves now serves until then.
    pub(crate) async fn make<T: Send>(
        &self,
        owner: &mut Owner<T>,
        warm: Option<Warm>,
        settle: &mut (dyn FnMut(Settled<T>) + Send),
    ) -> Result<Book, TakeoverError> {
        let Self { log, partition, .. } = *self;
        let entries = log.scan(Table::Owners, partition).await?;
        let mut warm = self.gather(&entries, warm).await?;
        // To look may have taken long.
        self.read_what_is_there(&mut warm).await?;
        let Warm { state: Snapshot { mut book, fold }, mut reading, served_by, .. } = warm;
        owner.honour(fold.skips());
        if owner.read_back_from().is_none() {
            self.ask_to_release(served_by).await;
        }
        let mut takeover = self.takeover(fold);
        loop {
            match takeover.next(owner) {
                Next::LookAtEnd => takeover.ended(log.end(partition).await?),
                Next::Append(record) => {
                    let deliveries = log.append(partition, vec![record]).deliveries().await;
                    let delivery = deliveries.first().copied().unwrap_or(Delivery::Unknown);
                    takeover.delivered(owner, delivery);
                }
                Next::Read { from } => {
                    let records = self.read_on(&mut reading, from, &mut takeover).await?;
                    for (offset, record) in records {
                        for effect in takeover.record(owner, offset, &record)? {
                            apply(effect, offset, &mut book, settle)?;
                        }
                    }
                    tokio::task::yield_now().await;
                }
                Next::Done(outcome) => return self.ended(outcome).map(|()| book),
            }
        }
    }

    /// Gives what is in doubt to `settle`, as far as the log tells, and writes nothing.
    pub(crate) async fn read_back<T: Send>(
        &self,
        owner: &mut Owner<T>,
        settle: &mut (dyn FnMut(Settled<T>) + Send),
    ) -> Result<(), TakeoverError> {
        let Self { log, partition, .. } = *self;
        owner.honour(&Skips::load(log, partition).await?);
        let (mut takeover, mut reading) = (self.takeover(Fold::default()), Reading::default());
        loop {
            match takeover.next(owner) {
                Next::LookAtEnd => takeover.ended(log.end(partition).await?),
                Next::Read { from } => {
                    let records = self.read_on(&mut reading, from, &mut takeover).await?;
                    for (offset, record) in records {
                        let effects = takeover.record(owner, offset, &record)?;
                        effects.into_iter().for_each(|effect| {
                            if let Effect::Settled(settled) = effect {
                                settle(settled);
                            }
                        });
                    }
                }
                Next::Append(_) | Next::Done(_) => return Ok(()),
            }
        }
    }

    fn takeover(&self, from: Fold) -> Takeover {
        let Identity { random, node, endpoint, .. } = self.identity;
        Takeover::new(random.id(), node, endpoint, from)
    }

    /// Puts the state together from snapshot and log, where it is not known already, and finds who serves now; while
    /// it is looked whether the log is the one that it was.
    async fn gather(&self, entries: &Entries, warm: Option<Warm>) -> Result<Warm, TakeoverError> {
        let Self { log, partition, .. } = *self;
        // Somebody may have skipped a record that it has folded.
        let skips = Skips::among(partition, entries)?;
        let warm = warm.filter(|warm| *warm.state.fold.skips() == skips);
        let seen = warm.as_ref().map(|warm| warm.state.fold.checkpoint());
        let gathering = async {
            let mut warm = match warm {
                Some(warm) => warm,
                None => Warm::load(log, partition, entries).await?,
            };
            self.read_what_is_there(&mut warm).await?;
            Ok::<_, TakeoverError>(warm)
        };
        let of_node = [Some(self.known.clone()), seen].into_iter().flatten();
        let examining = proof::examine(log, partition, entries, self.views, of_node);
        let (mut gathering, mut examining) = (pin!(gathering), pin!(examining));
        // A log that has lost records is told so, whatever else is wrong with it.
        tokio::select! {
            biased;
            examined = &mut examining => {
                examined?;
                gathering.await
            }
            gathered = &mut gathering => {
                examining.await?;
                gathered
            }
        }
    }

    /// Who serves the partition now lets in nobody more, and answers those who are in: nothing of it is on its way to
    /// the log then. Whoever does not answer soon is deposed without.
    async fn ask_to_release(&self, served_by: Option<OwnerHint>) {
        let Identity { endpoint: own, .. } = self.identity;
        let Some(owner) = served_by.filter(|owner| owner.endpoint != *own) else { return };
        let endpoint = &owner.endpoint;
        // The other node sends commands here as soon as it takes none any more.
        (self.let_in)();
        if self.neighbours.has_adopted(self.partition) && !self.neighbours.reaches(endpoint) {
            return; // it is gone
        }
        let asking = self.peers.release(self.partition, &owner, own);
        match tokio::time::timeout(RELEASED_WITHIN, asking).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::debug!(?failure, endpoint, "it is not released"),
            Err(_) => tracing::debug!(endpoint, "it is not released in time"),
        }
    }

    /// Folds what the log has, while somebody may write on; close to the end that is enough.
    async fn read_what_is_there(&self, warm: &mut Warm) -> Result<(), TakeoverError> {
        let Self { log, partition, .. } = *self;
        for _ in 0..ROUNDS {
            let (begin, end) = (warm.state.fold.next_offset(), log.end(partition).await?);
            while warm.state.fold.next_offset() < end {
                let from = warm.state.fold.next_offset();
                let records = warm.reading.next(log, partition, from).await?;
                assert_there(log, partition, from, records.is_empty()).await?;
                self.tell(&mut warm.reading, from, end);
                warm.fold(records)?;
                tokio::task::yield_now().await;
            }
            if end.saturating_sub(begin) < NEAR {
                break;
            }
        }
        Ok(())
    }

    /// Records from an offset on. Where none come for a while, the machine is told where the log ends.
    async fn read_on(
        &self,
        reading: &mut Reading,
        from: u64,
        takeover: &mut Takeover,
    ) -> Result<Records, LogError> {
        let records = reading.next(self.log, self.partition, from).await?;
        if records.is_empty() {
            takeover.ended(self.log.end(self.partition).await?);
        }
        takeover.fence().into_iter().for_each(|fence| self.tell(reading, from, fence));
        Ok(records)
    }

    fn tell(&self, reading: &mut Reading, at: u64, end: u64) {
        if reading.told.elapsed() > TELL_EVERY {
            (self.progress)(at, end);
            reading.told = Instant::now();
        }
    }

    fn ended(&self, outcome: Outcome) -> Result<(), TakeoverError> {
        match outcome {
            Outcome::Serving => Ok(()),
            Outcome::Deposed => Err(TakeoverError::Deposed),
            Outcome::NotFenced => Err(TakeoverError::NotFenced),
            Outcome::Lost => {
                let partition = self.partition;
                let what = format!("partition {partition} ends before records that were confirmed");
                Err(LogError::Unavailable(what).into())
            }
        }
    }
}

/// A reader, and the offset that it comes to next.
pub(crate) struct Reading {
    told: Instant,
    reader: Option<(u64, Box<dyn Reader>)>,
}

impl Default for Reading {
    fn default() -> Self {
        Self { told: Instant::now(), reader: None }
    }
}

impl Reading {
    /// Records from an offset on; none where none come for a while.
    pub(crate) async fn next(
        &mut self,
        log: &dyn Log,
        partition: u32,
        from: u64,
    ) -> Result<Records, LogError> {
        let (next, reader) = match &mut self.reader {
            Some((next, reader)) if *next == from => (next, reader),
            other => {
                let (next, reader) = other.insert((from, log.read(partition, from).await?));
                (next, reader)
            }
        };
        let records = reader.next(STEP).await?;
        *next = records.last().map_or(from, |(offset, _)| offset + 1);
        Ok(records)
    }
}

pub(crate) type Records = Vec<(u64, Bytes)>;

fn apply<T>(
    effect: Effect<T>,
    offset: u64,
    book: &mut Book,
    settle: &mut (dyn FnMut(Settled<T>) + Send),
) -> Result<(), TakeoverError> {
    match effect {
        Effect::Settled(settled) => settle(settled),
        Effect::Apply(event) => apply_event(event, offset, book)?,
        Effect::Fence(fence) => heed(&fence, book),
    }
    Ok(())
}

fn apply_event(event: Event, offset: u64, book: &mut Book) -> Result<(), TakeoverError> {
    let applied = book.apply(&event);
    applied.map_err(|reason| TakeoverError::inconsistent(offset, event, reason))
}

/// A fence may carry an operator's word.
fn heed(fence: &Fence, book: &mut Book) {
    fence.clock_ms.into_iter().for_each(|at_ms| book.reset_clock(at_ms));
}

impl Snapshot {
    /// Takes in the next record of the log; gives it back where it is a fence.
    pub(crate) fn step(
        &mut self,
        offset: u64,
        record: &[u8],
    ) -> Result<Option<Fence>, TakeoverError> {
        match self.fold.step(offset, record)? {
            Folded::Event(event) => apply_event(event, offset, &mut self.book)?,
            Folded::Fence(fence) => {
                heed(&fence, &mut self.book);
                return Ok(Some(fence));
            }
            Folded::Void | Folded::Skipped(_) | Folded::Skip(_) => {}
        }
        Ok(None)
    }
}

/// Waits 200 to 500 ms: two nodes that both want a partition must not depose each other in step.
pub(crate) async fn back_off(random: &Random) {
    let wait_ms = 200 + random.below(300);
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
}

/// A reader to whom nothing comes waits in vain where the log has become shorter.
pub(crate) async fn assert_there(
    log: &dyn Log,
    partition: u32,
    next: u64,
    nothing_came: bool,
) -> Result<(), LogError> {
    if nothing_came && log.end(partition).await? <= next {
        return Err(LogError::Unavailable(format!(
            "partition {partition} ends before offset {next}"
        )));
    }
    Ok(())
}
