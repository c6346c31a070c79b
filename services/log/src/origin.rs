//! Tells one log from another.
//!
//! State kept beside a log is worth something only with that very log. Every fence has an id of its
//! own, so the fence under which a state was reached shows whether the log still is the same: one
//! that was made anew, or lost its end and grew again, has something else there.

use std::time::Duration;

use seckill_proto::decode_record;
use seckill_proto::v1::record;

use crate::{Fold, Log, LogError};

/// One read waits so long, and there are so many.
const STEP: Duration = Duration::from_millis(200);
const STEPS: u32 = 25;

/// Whether a state that was folded so far, under a fence with an id that `is_its_fence` knows, is
/// of this log.
///
/// # Errors
/// The log cannot be read now.
pub async fn is_of_this_log(
    log: &dyn Log,
    partition: u32,
    fold: &Fold,
    is_its_fence: impl FnOnce(&[u8]) -> bool + Send,
) -> Result<bool, LogError> {
    let reached = fold.next_offset().max(fold.term().map_or(0, |term| term + 1));
    if log.end(partition).await? < reached {
        return Ok(false);
    }
    let Some(term) = fold.term() else { return Ok(true) };
    Ok(fence_id_at(log, partition, term).await?.is_some_and(|fence_id| is_its_fence(&fence_id)))
}

/// The id of the fence at an offset before the end; none where something else is.
async fn fence_id_at(
    log: &dyn Log,
    partition: u32,
    offset: u64,
) -> Result<Option<Vec<u8>>, LogError> {
    let mut reader = log.read(partition, offset).await?;
    for _ in 0..STEPS {
        if let Some((found, bytes)) = reader.next(STEP).await?.into_iter().next() {
            return Ok(match decode_record(&bytes) {
                Ok(record::Kind::Fence(fence)) if found == offset => Some(fence.fence_id),
                Ok(record::Kind::Fence(_) | record::Kind::Event(_)) | Err(_) => None,
            });
        }
    }
    Err(LogError::Unavailable(format!("offset {offset} of partition {partition} does not come")))
}
