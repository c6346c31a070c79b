//! Taking a partition over: does what the machine of the protocol says, on a log and a snapshot.

use std::time::Duration;

use bytes::Bytes;
use seckill_log::{
    Contradiction, Delivery, Effect, FoldError, Log, LogError, Next, Outcome, Owner, Reader,
    Settled, Takeover, Witness,
};
use seckill_promotion::{Book, Inconsistent};
use seckill_proto::v1::{Checkpoint, Event};

use tokio::time::Instant;

use crate::proof::{self, ViewsWitness};
use crate::random::Random;
use crate::snapshot::{self, Snapshot};

/// How long one read waits before it is asked again whether there is anything to wait for.
pub(crate) const STEP: Duration = Duration::from_millis(200);

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
    /// Told now and then how far it has folded, and where its fence is.
    pub(crate) progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl Attempt<'_> {
    /// One attempt. On success the owner serves, on exactly the returned state. What was in doubt is
    /// given to `settle` as soon as it is known. Nothing is written to a log that has lost records.
    pub(crate) async fn make<T: Send>(
        &self,
        owner: &mut Owner<T>,
        settle: &mut (dyn FnMut(Settled<T>) + Send),
    ) -> Result<Book, TakeoverError> {
        let Self { log, partition, identity, .. } = *self;
        let snapshots = snapshot::load(log, partition).await?;
        owner.honour(snapshots.newest.fold.skips());
        let mut known = snapshots.witnesses;
        known.push(Witness::new("this node", self.known.clone()));
        proof::examine(log, partition, self.views, known).await?;
        let Snapshot { mut book, fold } = snapshots.newest;
        let fence_id = identity.random.id();
        let Identity { node, endpoint, .. } = identity;
        let mut takeover = Takeover::new(fence_id, node, endpoint, fold);
        let mut reading = Reading { told: Instant::now(), reader: None };
        loop {
            match takeover.next(owner) {
                Next::LookAtEnd => takeover.ended(log.end(partition).await?),
                Next::Append(record) => {
                    let deliveries = log.append(partition, vec![record]).deliveries().await;
                    let delivery = deliveries.first().copied().unwrap_or(Delivery::Unknown);
                    takeover.delivered(owner, delivery);
                }
                Next::Read { from } => {
                    let records = self.read(&mut reading, from).await?;
                    if records.is_empty() {
                        takeover.ended(log.end(partition).await?);
                    }
                    self.tell(&mut reading, from, &takeover);
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

    /// Records from an offset on; none where none come for a while.
    async fn read(&self, reading: &mut Reading, from: u64) -> Result<Records, LogError> {
        let mut reader = match reading.reader.take() {
            Some((next, reader)) if next == from => reader,
            Some(_) | None => self.log.read(self.partition, from).await?,
        };
        let records = reader.next(STEP).await?;
        let next = records.last().map_or(from, |(offset, _)| offset + 1);
        reading.reader = Some((next, reader));
        Ok(records)
    }

    fn tell(&self, reading: &mut Reading, at: u64, takeover: &Takeover) {
        if let Some(fence) = takeover.fence().filter(|_| reading.told.elapsed() > TELL_EVERY) {
            (self.progress)(at, fence);
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
struct Reading {
    told: Instant,
    reader: Option<(u64, Box<dyn Reader>)>,
}

type Records = Vec<(u64, Bytes)>;

fn apply<T>(
    effect: Effect<T>,
    offset: u64,
    book: &mut Book,
    settle: &mut (dyn FnMut(Settled<T>) + Send),
) -> Result<(), TakeoverError> {
    match effect {
        Effect::Settled(settled) => settle(settled),
        Effect::Apply(event) => {
            let applied = book.apply(&event);
            applied.map_err(|reason| TakeoverError::inconsistent(offset, event, reason))?;
        }
        Effect::Fence(fence) => {
            fence.clock_ms.into_iter().for_each(|at_ms| book.reset_clock(at_ms));
        }
    }
    Ok(())
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
