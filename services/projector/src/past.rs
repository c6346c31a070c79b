//! A promotion as it was: the log says so, up to any place or time.

use bytes::Bytes;
use seckill_edge::Bound;
use seckill_log::{Fold, FoldError, Folded, Log, Stretch, fold_from};
use seckill_proto::v1::{Checkpoint, Event};
use seckill_proto::{Position, partition_of};
use seckill_views::{Changes, CouponRow, Progress, PromotionRow};

use crate::projections::Projections;
use crate::verify::VerifyError;

/// A promotion and some of its coupons, as of some place or time.
#[derive(Debug, Default)]
pub struct Past {
    /// None where it was not scheduled yet.
    pub promotion: Option<PromotionRow>,
    /// By serial.
    pub coupons: Vec<CouponRow>,
}

/// What the views showed of a promotion once they had everything up to `at`, with up to `limit` coupons
/// after a serial. Reads its partition from the first record on.
///
/// # Errors
/// The log cannot be read or folded.
pub async fn as_of(
    log: &dyn Log,
    promotion_id: &str,
    at: Bound,
    (after, limit): (u32, usize),
) -> Result<Past, VerifyError> {
    let partition = partition_of(promotion_id, log.partitions());
    let mut stretch = Stretch::from(log, partition, 0).await?;
    let fold = fold_from(log, partition, &Checkpoint::default()).await?;
    let mut reading = Reading { promotion_id, partition, at, fold, ended: false };
    let (mut projections, mut past) = (Projections::default(), Past::default());
    while reading.fold.next_offset() < stretch.end() && !reading.ended {
        let events = reading.take(stretch.next().await?)?;
        // Only the rows count here, not how far they reach.
        let progress = Progress::at(partition, &Checkpoint::default(), None);
        let Changes { promotions, coupons, .. } = projections.changes(&events, progress)?;
        past.promotion = promotions.into_iter().next().or(past.promotion);
        let room = limit - past.coupons.len();
        past.coupons.extend(coupons.into_iter().filter(|row| row.serial > after).take(room));
    }
    Ok(past)
}

struct Reading<'a> {
    promotion_id: &'a str,
    partition: u32,
    at: Bound,
    fold: Fold,
    /// Whether the next event is later.
    ended: bool,
}

impl Reading<'_> {
    /// The promotion's events among some records.
    fn take(&mut self, records: Vec<(u64, Bytes)>) -> Result<Vec<(u64, Event)>, VerifyError> {
        let (partition, mut events) = (self.partition, Vec::new());
        for (offset, record) in records {
            if matches!(self.at, Bound::Position(bound) if bound.offset < offset) {
                self.ended = true;
                break;
            }
            let folded = match (self.fold.step(offset, &record), self.at) {
                (Ok(folded), _) => folded,
                // The views stand still there as well.
                (Err(FoldError::Unreadable { .. }), Bound::Time(_)) => {
                    self.ended = true;
                    break;
                }
                (Err(reason), _) => return Err(VerifyError::Fold { partition, reason }),
            };
            let Folded::Event(event) = folded else { continue };
            let is_later = self.at.is_before(Position { partition, offset }, event.at_ms);
            // Time may have been set back by an operator: only a place is an end.
            self.ended = is_later && matches!(self.at, Bound::Position(_));
            if self.ended {
                break;
            }
            if !is_later && event.promotion_id == self.promotion_id {
                events.push((offset, event));
            }
        }
        Ok(events)
    }
}
