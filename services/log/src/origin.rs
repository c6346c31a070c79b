//! Tells one log from another.
//!
//! State kept beside a log is worth something only with that very log. Every fence has an id of its
//! own, so the fence under which a state was reached shows whether the log still is the same: one
//! that was made anew, or lost its end and grew again, has something else there.

use std::time::Duration;

use seckill_proto::decode_record;
use seckill_proto::v1::record;

use crate::{Log, LogError};

/// One read waits so long, and there are so many.
const STEP: Duration = Duration::from_millis(200);
const STEPS: u32 = 25;

/// The id of the fence at an offset; none where there is no fence, or no record at all.
///
/// # Errors
/// The log cannot be read now.
pub async fn fence_id_at(
    log: &dyn Log,
    partition: u32,
    offset: u64,
) -> Result<Option<Vec<u8>>, LogError> {
    if log.end(partition).await? <= offset {
        return Ok(None);
    }
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
