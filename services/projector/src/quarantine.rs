//! Records that nobody can read: what they are, and an operator's word to pass over them.
//!
//! Such a record stops the views of its partition, and its sales, where it is; those of the others go on.
//! A program that can read it goes on by itself. A skip is for what nobody will ever read: it is written
//! into the log, and refused where somebody has read the record, or where what follows rests on it.

mod http;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use prost::Message;
use seckill_edge::timestamp;
use seckill_log::{
    COMMAND_MARK, Delivery, Fold, FoldError, Folded, Log, LogError, PROJECTOR_MARK, Skips, Stretch,
    Table, hash_of,
};
use seckill_promotion::{Book, Inconsistent};
use seckill_proto::v1::{Checkpoint, Skip, record};
use seckill_proto::{Position, Unreadable, decode_record, encode_skip};
use seckill_views::{Views, ViewsError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use http::routes;

/// Records of a partition that are listed; the rest are counted.
const SHOWN: usize = 100;
/// Records that one skip may be of.
const MOST: usize = 10_000;
/// Of a record that is shown.
const SHOWN_BYTES: usize = 4_096;

/// Why a record is not skipped, or not shown.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The views do not say how far they are.
    #[error(transparent)]
    Views(#[from] ViewsError),
    /// There is no such record.
    #[error("there is no record at {0}")]
    NotThere(Position),
    /// It can be read.
    #[error("the record at {0} can be read: there is nothing to skip")]
    Readable(Position),
    /// Another one comes first.
    #[error("the record at {0} cannot be read either, and comes first")]
    NotFirst(Position),
    /// It is skipped already.
    #[error("the record at {position} is skipped already, by {by}: {reason}")]
    Already {
        /// Where it is.
        position: Position,
        /// Who has said so.
        by: String,
        /// Why.
        reason: String,
    },
    /// A command node or a projector has read it.
    #[error(
        "{who} has read the record at {position}: a newer version has written it, and this one has to be \
         upgraded"
    )]
    ReadBy {
        /// Which kind of process.
        who: &'static str,
        /// Where it is.
        position: Position,
    },
    /// What follows would not fit.
    #[error(
        "what follows rests on what would be skipped: at {position} an event of promotion {promotion_id:?} \
         does not fit ({reason}). A newer version has written it, and this one has to be upgraded"
    )]
    RestsOnIt {
        /// Where the event is that would not fit.
        position: Position,
        /// Of which sale it is.
        promotion_id: String,
        /// What is wrong with it.
        reason: Inconsistent,
    },
    /// One skip is of so many records at most.
    #[error(
        "more than {MOST} records up to there cannot be read: nothing was skipped; `through` a nearer offset takes a \
         part of them"
    )]
    TooMany,
    /// Nobody knows whether it was written.
    #[error("the skip was not written for certain; ask for it again")]
    NotWritten,
}

/// A record that cannot be read, or that was skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quarantined {
    /// Where it is, as PARTITION:OFFSET.
    pub position: String,
    /// Why this version cannot read it; none where it can, or where it is not looked at.
    pub why: Option<String>,
    /// How long it is; none where it is not looked at.
    pub bytes: Option<u64>,
    /// Who has skipped it.
    pub skipped: Option<Skipped>,
    /// Its first bytes, where it is shown alone.
    pub content: Option<Content>,
}

/// The first bytes of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Content {
    /// In hexadecimal digits.
    pub hex: String,
    /// As text, with a replacement character for what is none.
    pub text: String,
}

/// An operator's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Skipped {
    /// Who said so.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, in RFC 3339.
    pub at: String,
}

impl Skipped {
    fn of(skip: &Skip) -> Self {
        let (by, reason, at) = (skip.by.clone(), skip.reason.clone(), timestamp(skip.at_ms));
        Self { by, reason, at: at.to_string() }
    }
}

/// What stands in the way of the partitions, and what was skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantineList {
    /// Records that cannot be read, where partitions have stopped.
    pub unreadable: u64,
    /// Records that were skipped.
    pub skipped: u64,
    /// Of each partition the first that cannot be read, up to a hundred; then as many that were skipped last.
    pub records: Vec<Quarantined>,
    /// The last record of each stopped partition that cannot be read, as PARTITION:OFFSET.
    pub last_unreadable: Vec<String>,
}

/// What is to be skipped.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSkip {
    /// Who says so.
    #[schema(min_length = 1, max_length = 1_000, pattern = r"\S")]
    pub by: String,
    /// Why.
    #[schema(min_length = 1, max_length = 1_000, pattern = r"\S")]
    pub reason: String,
    /// Also every other record of the partition that cannot be read, up to this offset.
    #[serde(default)]
    pub through: Option<u64>,
}

/// Looks after records that nobody can read.
#[derive(Clone)]
pub struct Quarantine {
    log: Arc<dyn Log>,
    views: Views,
}

impl Quarantine {
    /// Of a log, and of the views that stop at such records.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, views: Views) -> Self {
        Self { log, views }
    }

    /// What is in the way, and what was skipped.
    ///
    /// # Errors
    /// Log or views cannot be read.
    pub async fn list(&self) -> Result<QuarantineList, QuarantineError> {
        let (mut list, mut skipped) = (QuarantineList::default(), Vec::new());
        for partition in 0..self.log.partitions() {
            let skips = Skips::load(&*self.log, partition).await?;
            let (unreadable, first, last_unreadable) = self.in_the_way(partition, &skips).await?;
            list.unreadable += unreadable;
            list.skipped += skips.len() as u64;
            list.records.extend(first);
            list.last_unreadable.extend(last_unreadable);
            let last = skips.len().saturating_sub(SHOWN);
            skipped.extend(skips.iter().skip(last).map(|skip| {
                let position = Position { partition, offset: skip.offset };
                quarantined(position, None, Some(skip))
            }));
        }
        list.records.append(&mut skipped);
        Ok(list)
    }

    /// From where the views have stopped: how many, the first of them, and where the last one is.
    async fn in_the_way(
        &self,
        partition: u32,
        skips: &Skips,
    ) -> Result<(u64, Vec<Quarantined>, Option<String>), QuarantineError> {
        let progress = self.views.progress(partition).await?;
        let stopped = progress.filter(|progress| progress.stopped.is_some());
        let Some(from) = stopped.map(|progress| progress.next_offset) else {
            return Ok((0, Vec::new(), None));
        };
        let (mut count, mut first, mut last) = (0, Vec::new(), None);
        let end = self.log.end(partition).await?;
        self.each(partition, (from, end), |offset, record| {
            if decode_record(record).is_err() && skips.of(offset, record).is_none() {
                count += 1;
                last = Some(Position { partition, offset }.to_string());
                if first.len() < SHOWN {
                    first.push(quarantined(Position { partition, offset }, Some(record), None));
                }
            }
            Ok(())
        })
        .await?;
        Ok((count, first, last))
    }

    async fn show(&self, position: Position) -> Result<Quarantined, QuarantineError> {
        let Position { partition, offset } = position;
        let end = self.end(position).await?;
        let skips = Skips::load(&*self.log, partition).await?;
        let mut shown = None;
        self.each(partition, (offset, end.min(offset + 1)), |_, record| {
            let quarantined = quarantined(position, Some(record), skips.of(offset, record));
            let first = &record[..record.len().min(SHOWN_BYTES)];
            let hex = first.iter().map(|byte| format!("{byte:02x}")).collect();
            let text = String::from_utf8_lossy(first).into_owned();
            shown = Some(Quarantined { content: Some(Content { hex, text }), ..quarantined });
            Ok(())
        })
        .await?;
        shown.ok_or(QuarantineError::NotThere(position))
    }

    /// Where the partition ends, which has this position.
    async fn end(&self, position: Position) -> Result<u64, QuarantineError> {
        if position.partition >= self.log.partitions() {
            return Err(QuarantineError::NotThere(position));
        }
        let end = self.log.end(position.partition).await?;
        if position.offset < end { Ok(end) } else { Err(QuarantineError::NotThere(position)) }
    }

    /// Skips a record, and others that cannot be read through an offset. Nothing is written where one of
    /// them must not be skipped.
    ///
    /// # Errors
    /// It is not skipped, or not for certain.
    pub async fn skip(
        &self,
        position: Position,
        asked: NewSkip,
        now_ms: i64,
    ) -> Result<Vec<Quarantined>, QuarantineError> {
        let Position { partition, offset } = position;
        let end = self.end(position).await?;
        let known = Skips::load(&*self.log, partition).await?;
        let logged = self.logged(position, end).await?;
        let through = asked.through.unwrap_or(offset).min(end - 1);
        let NewSkip { by, reason, .. } = asked;
        let skip = Skip { by, reason, at_ms: now_ms, ..Skip::default() };
        let new = self.to_skip(position, through, (&known, &logged), &skip).await?;
        let unlogged = |skip: &&Skip| logged.iter().all(|logged| logged != *skip);
        let records: Vec<_> =
            new.iter().filter(unlogged).map(|skip| encode_skip(skip.clone())).collect();
        if !records.is_empty() {
            let mut skips = known;
            new.iter().for_each(|skip| skips.add(skip.clone()));
            self.try_out(position, end, skips).await?;
            self.assert_unread(position).await?;
            let deliveries = self.log.append(partition, records).deliveries().await;
            if deliveries.contains(&Delivery::Unknown) {
                return Err(QuarantineError::NotWritten);
            }
        }
        Skips::from_iter(new.iter().cloned()).publish(&*self.log, partition).await?;
        let done = new
            .iter()
            .map(|skip| quarantined(Position { partition, offset: skip.offset }, None, Some(skip)));
        Ok(done.collect())
    }

    /// Skips that are in the log from a record on: the table may have lost them, or never have had them.
    async fn logged(&self, position: Position, end: u64) -> Result<Skips, QuarantineError> {
        let Position { partition, offset } = position;
        let mut logged = Skips::default();
        self.each(partition, (offset, end), |_, record| {
            if let Ok(record::Kind::Skip(skip)) = decode_record(record) {
                logged.add(skip);
            }
            Ok(())
        })
        .await?;
        Ok(logged)
    }

    /// The skips of a stretch that readers do not know of yet: as they are in the log, or new.
    async fn to_skip(
        &self,
        position: Position,
        through: u64,
        (known, logged): (&Skips, &Skips),
        skip: &Skip,
    ) -> Result<Vec<Skip>, QuarantineError> {
        let Position { partition, offset } = position;
        let mut new = Vec::new();
        self.each(partition, (offset, through + 1), |at, record| {
            let is_it = at == offset;
            match (known.of(at, record), logged.of(at, record), decode_record(record)) {
                (Some(Skip { by, reason, .. }), _, _) if is_it => {
                    let (by, reason) = (by.clone(), reason.clone());
                    return Err(QuarantineError::Already { position, by, reason });
                }
                (None, None, Ok(_)) if is_it => return Err(QuarantineError::Readable(position)),
                (None, Some(skip), _) => new.push(skip.clone()),
                (None, None, Err(_)) => {
                    new.push(Skip { offset: at, hash: hash_of(record), ..skip.clone() });
                }
                (Some(_), _, _) | (None, None, Ok(_)) => {}
            }
            if new.len() > MOST { Err(QuarantineError::TooMany) } else { Ok(()) }
        })
        .await?;
        Ok(new)
    }

    /// Refuses what somebody could read and has gone past.
    async fn assert_unread(&self, position: Position) -> Result<(), QuarantineError> {
        let Position { partition, offset } = position;
        let entries = self.log.scan(Table::Owners, partition).await?;
        let reached = |mark: &str| {
            let (_, value) = entries.iter().find(|(key, _)| key == mark)?;
            Some(Checkpoint::decode(&value[..]).ok()?.next_offset)
        };
        let views = self.views.progress(partition).await?;
        let readers = [
            ("a command node", reached(COMMAND_MARK)),
            ("a projector", reached(PROJECTOR_MARK)),
            ("a projector", views.map(|progress| progress.next_offset)),
        ];
        let past = readers.into_iter().find(|(_, reached)| reached.is_some_and(|at| at > offset));
        past.map_or(Ok(()), |(who, _)| Err(QuarantineError::ReadBy { who, position }))
    }

    /// Folds the partition as it would count then, and if whatever else cannot be read were skipped too.
    async fn try_out(
        &self,
        position: Position,
        end: u64,
        mut skips: Skips,
    ) -> Result<(), QuarantineError> {
        let partition = position.partition;
        let (mut fold, mut book) = (Fold::default().honouring(skips.clone()), Book::default());
        self.each(partition, (0, end), |offset, record| {
            let at = Position { partition, offset };
            let mut folded = fold.step(offset, record);
            if let Err(FoldError::Unreadable { .. }) = folded {
                if offset < position.offset {
                    return Err(QuarantineError::NotFirst(at));
                }
                skips.add(Skip { offset, hash: hash_of(record), ..Skip::default() });
                fold = fold.clone().honouring(skips.clone());
                folded = fold.step(offset, record);
            }
            match folded.map_err(|error| LogError::Broken(error.to_string()))? {
                Folded::Event(event) => {
                    let applied = book.apply(&event);
                    applied.map_err(|reason| QuarantineError::RestsOnIt {
                        position: at,
                        promotion_id: event.promotion_id,
                        reason,
                    })?;
                }
                Folded::Fence(fence) => {
                    fence.clock_ms.into_iter().for_each(|at_ms| book.reset_clock(at_ms));
                }
                Folded::Void | Folded::Skipped(_) | Folded::Skip(_) => {}
            }
            Ok(())
        })
        .await
    }

    /// Hands on the records of a range.
    async fn each(
        &self,
        partition: u32,
        (from, end): (u64, u64),
        mut take: impl FnMut(u64, &[u8]) -> Result<(), QuarantineError> + Send,
    ) -> Result<(), QuarantineError> {
        let mut stretch = Stretch::between(&*self.log, partition, from, end).await?;
        loop {
            let records = stretch.next().await?;
            if records.is_empty() {
                return Ok(());
            }
            records.iter().try_for_each(|(offset, record)| take(*offset, record))?;
        }
    }
}

fn quarantined(position: Position, record: Option<&[u8]>, skip: Option<&Skip>) -> Quarantined {
    let why = record.and_then(|record| decode_record(record).err());
    Quarantined {
        position: position.to_string(),
        why: why.map(|why: Unreadable| why.to_string()),
        bytes: record.map(|record| record.len() as u64),
        skipped: skip.map(Skipped::of),
        content: None,
    }
}
