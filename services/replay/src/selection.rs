//! Which events are wanted.

use jiff::Timestamp;
use seckill_edge::Bound;
use seckill_log::{Log, LogError};
use seckill_proto::Position;

/// Which events are wanted; both bounds are included.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The first; a position leaves all other partitions out.
    pub from: Option<Bound>,
    /// The last; a position leaves all other partitions out.
    pub to: Option<Bound>,
    /// Only of this promotion.
    pub promotion_id: Option<String>,
    /// Those that do not count too.
    pub void: bool,
    /// Fences and skips too, which are no events.
    pub fences: bool,
    /// Those that come later too.
    pub follow: bool,
    /// At most so many.
    pub limit: Option<u64>,
}

/// Why a selection is of no log like this one.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The log has no such partition.
    #[error("{0}: the log has no such partition")]
    NoPartition(Position),
    /// The log is not that long.
    #[error("{position} is beyond the end of its partition, which is {end}")]
    BeyondEnd {
        /// The position.
        position: Position,
        /// First offset that is not there.
        end: u64,
    },
    /// Not yet.
    #[error("{0} is in the future")]
    Future(Timestamp),
    /// One partition is named at the beginning and another at the end.
    #[error("{0} and {1} are of two partitions")]
    TwoPartitions(Position, Position),
    /// Events that come later have no end.
    #[error("what is followed has no end: leave out one of to and follow")]
    FollowTo,
    /// The log could not be asked.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Selection {
    /// Sees to it that the bounds are of this log and of the past.
    ///
    /// # Errors
    /// Says which is not.
    pub async fn check(&self, log: &dyn Log, now_ms: i64) -> Result<(), Refused> {
        if self.follow && self.to.is_some() {
            return Err(Refused::FollowTo);
        }
        for bound in [self.from, self.to].into_iter().flatten() {
            match bound {
                Bound::Position(position) => self.check_position(log, position).await?,
                Bound::Time(ms) if ms > now_ms => {
                    return Err(Refused::Future(seckill_edge::timestamp(ms)));
                }
                Bound::Time(_) => {}
            }
        }
        match (self.from, self.to) {
            (Some(Bound::Position(from)), Some(Bound::Position(to)))
                if from.partition != to.partition =>
            {
                Err(Refused::TwoPartitions(from, to))
            }
            _ => Ok(()),
        }
    }

    /// Whether a partition may have such events.
    pub(crate) fn reads(&self, partition: u32, partitions: u32) -> bool {
        let of = |bound: Option<Bound>| match bound {
            Some(Bound::Position(position)) => position.partition == partition,
            Some(Bound::Time(_)) | None => true,
        };
        let promotion = self.promotion_id.as_ref();
        let of_promotion = |id: &String| seckill_proto::partition_of(id, partitions) == partition;
        of(self.from) && of(self.to) && promotion.is_none_or(of_promotion)
    }

    /// Whether an event at this place and time is not too early.
    pub(crate) fn has_begun(&self, position: Position, at_ms: i64) -> bool {
        match self.from {
            Some(Bound::Position(from)) => position.offset >= from.offset,
            Some(Bound::Time(from_ms)) => at_ms >= from_ms,
            None => true,
        }
    }

    /// Whether an event at this place and time is too late.
    pub(crate) fn is_after(&self, position: Position, at_ms: i64) -> bool {
        self.to.is_some_and(|to| to.is_before(position, at_ms))
    }

    /// Whether nothing wanted follows this place. Time may have been set back by an operator: only a
    /// place is an end.
    pub(crate) fn has_ended(&self, position: Position) -> bool {
        matches!(self.to, Some(Bound::Position(to)) if to.offset < position.offset)
    }

    async fn check_position(&self, log: &dyn Log, position: Position) -> Result<(), Refused> {
        if position.partition >= log.partitions() {
            return Err(Refused::NoPartition(position));
        }
        let end = log.end(position.partition).await?;
        // Who follows may have seen all that is there.
        let last = if self.follow { end } else { end.saturating_sub(1) };
        let is_there = position.offset <= last && (self.follow || end > 0);
        if is_there { Ok(()) } else { Err(Refused::BeyondEnd { position, end }) }
    }
}
