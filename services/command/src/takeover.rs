//! Taking a partition over: settle what is in doubt, fence, and fold up to the own fence.

use std::time::Duration;

use rand::RngExt;
use seckill_log::{
    CaughtUp, Contradiction, Delivery, FoldError, Log, LogError, Owner, Phase, Settled, Witness,
};
use seckill_promotion::{Book, Inconsistent};
use seckill_proto::v1::Checkpoint;

use tokio::time::Instant;

use crate::proof::{self, ViewsWitness};
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
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
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
    /// Whether the next attempt may go better without anybody's doing.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Log(error) => error.is_retryable(),
            Self::Deposed | Self::NotFenced => true,
            Self::Fold(_) | Self::Inconsistent(_) | Self::Contradiction(_) => false,
        }
    }
}

/// How the node signs its fences.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(crate) node: String,
    pub(crate) endpoint: String,
}

/// What taking a partition over needs.
pub(crate) struct Attempt<'a> {
    pub(crate) log: &'a dyn Log,
    pub(crate) partition: u32,
    pub(crate) signature: &'a Signature,
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
        let Self { log, partition, signature, .. } = *self;
        let snapshots = snapshot::load(log, partition).await?;
        let mut known = snapshots.witnesses;
        known.push(Witness::new("this node", self.known.clone()));
        proof::examine(log, partition, self.views, known).await?;
        if owner.read_back_from().is_some() {
            let end = log.end(partition).await?;
            read_back(log, partition, owner, end, settle).await?;
            if owner.read_back_from().is_none() {
                return Err(TakeoverError::Deposed);
            }
        }
        let fence = fence(log, partition, signature, owner).await?;
        read_back(log, partition, owner, fence + 1, settle).await?;
        self.catch_up(owner, fence, snapshots.newest).await
    }

    async fn catch_up<T: Send>(
        &self,
        owner: &mut Owner<T>,
        fence: u64,
        snapshot: Snapshot,
    ) -> Result<Book, TakeoverError> {
        let Self { log, partition, .. } = *self;
        let mut told = Instant::now();
        let Snapshot { mut book, fold, .. } = snapshot;
        if fold.next_offset() > fence {
            return Err(TakeoverError::Deposed); // a snapshot by somebody who came later
        }
        let mut reader = log.read(partition, fold.next_offset()).await?;
        owner.begin_catch_up(fold);
        loop {
            let batch = reader.next(STEP).await?;
            if batch.is_empty() && log.end(partition).await? <= fence {
                return Err(TakeoverError::Deposed); // the fence is not where it was said to be
            }
            if told.elapsed() > TELL_EVERY {
                (self.progress)(batch.first().map_or(0, |(offset, _)| *offset), fence);
                told = Instant::now();
            }
            for (offset, record) in batch {
                match owner.catch_up(offset, &record)? {
                    CaughtUp::Apply(event) => book.apply(&event)?,
                    CaughtUp::Fence(fence) => {
                        fence.clock_ms.into_iter().for_each(|at_ms| book.reset_clock(at_ms));
                    }
                    CaughtUp::Void => {}
                    CaughtUp::Serving => return Ok(book),
                    CaughtUp::Deposed => return Err(TakeoverError::Deposed),
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Waits 200 to 500 ms: two nodes that both want a partition must not depose each other in step.
pub(crate) async fn back_off() {
    let wait_ms = rand::rng().random_range(200..500);
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
}

/// Reads what follows the last confirmed record, up to `end` or the first fence.
async fn read_back<T: Send>(
    log: &dyn Log,
    partition: u32,
    owner: &mut Owner<T>,
    end: u64,
    settle: &mut (dyn FnMut(Settled<T>) + Send),
) -> Result<(), TakeoverError> {
    let Some(from) = owner.read_back_from() else { return Ok(()) };
    let mut reader = log.read(partition, from).await?;
    while let Some(next) = owner.read_back_from().filter(|next| *next < end) {
        let records = reader.next(STEP).await?;
        assert_there(log, partition, next, records.is_empty()).await?;
        for (offset, record) in records {
            if owner.read_back_from().is_none() {
                break;
            }
            owner.read_back(offset, &record)?.into_iter().for_each(&mut *settle);
        }
    }
    Ok(())
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

async fn fence<T: Send>(
    log: &dyn Log,
    partition: u32,
    signature: &Signature,
    owner: &mut Owner<T>,
) -> Result<u64, TakeoverError> {
    let fence_id = *uuid::Uuid::new_v4().as_bytes();
    let record = owner.fence(fence_id, &signature.node, &signature.endpoint);
    let deliveries = log.append(partition, vec![record]).deliveries().await;
    owner.fenced(deliveries.first().copied().unwrap_or(Delivery::Unknown));
    match owner.phase() {
        Phase::CatchingUp { fence } => Ok(fence),
        Phase::Idle | Phase::Fencing | Phase::Serving { .. } | Phase::Suspect => {
            Err(TakeoverError::NotFenced)
        }
    }
}
