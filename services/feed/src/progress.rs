//! How far the feed is, and what is in it.

use bytes::Bytes;
use prost::Message;
use seckill_log::{Contradiction, FoldError, Log, LogError, Table};
use seckill_proto::v1::{Coupon, FeedLoss, FeedProgress};
use seckill_proto::{Position, decode_strictly};
use seckill_views::ViewsError;

/// Where it is kept: in the table of owners of the first partition.
const KEY: &str = "feed";
const FIRST: u32 = 0;
/// Records of the feed that are read at once.
const READ: usize = 10_000;

/// Why the feed does not go on, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The log cannot be read, or the feed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The views cannot be asked for a promotion.
    #[error(transparent)]
    Views(#[from] ViewsError),
    /// The log cannot be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The log has lost what was fed.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// The feed has lost records.
    #[error(
        "the feed ends at {end}, and was seen up to {seen}. Put it back from a copy, or see `seckill repair \
         --help`"
    )]
    Lost {
        /// Where it ends.
        end: u64,
        /// How far it was seen.
        seen: u64,
    },
    /// The feed was written from another log.
    #[error(
        "the feed has a coupon of {0} that the log has not: it is the feed of another log; delete the feed with \
         its log, or see `seckill repair`"
    )]
    OtherLog(Position),
    /// A newer version has kept it.
    #[error("the progress of the feed in the table of owners cannot be read")]
    Progress,
    /// They will have it soon.
    #[error("the views do not have promotion {0:?} yet")]
    Unknown(String),
}

/// What was kept last.
pub(crate) async fn load(log: &dyn Log) -> Result<FeedProgress, FeedError> {
    let entries = log.scan(Table::Owners, FIRST).await?;
    let found = entries.into_iter().find(|(key, _)| key == KEY);
    let value = found.map(|(_, value)| value).unwrap_or_default();
    decode_strictly(&value).map_err(|_| FeedError::Progress)
}

pub(crate) async fn store(log: &dyn Log, progress: &FeedProgress) -> Result<(), LogError> {
    let entry = (KEY.to_owned(), Bytes::from(progress.encode_to_vec()));
    log.put(Table::Owners, FIRST, vec![entry]).await
}

/// What was found in the feed.
pub(crate) struct Read {
    /// After the last record.
    pub(crate) end: u64,
    /// Offsets of records that are no coupons: somebody else has written them, and they are passed over.
    pub(crate) foreign: Vec<u64>,
}

/// Hands on the coupons of the feed from an offset on, with theirs.
pub(crate) async fn read_on(
    log: &dyn Log,
    from: u64,
    mut take: impl FnMut(u64, Coupon),
) -> Result<Read, FeedError> {
    let (feed, mut foreign, mut next) = (log.feed(), Vec::new(), from);
    let end = feed.end().await?;
    if end < from {
        return Err(FeedError::Lost { end, seen: from });
    }
    loop {
        let records = feed.read(next, READ).await?;
        let Some((last, _)) = records.last() else { return Ok(Read { end: next, foreign }) };
        next = last + 1;
        for (offset, record) in records {
            match coupon_of(record) {
                Some(coupon) => take(offset, coupon),
                None => foreign.push(offset),
            }
        }
    }
}

/// None where it is something else.
pub(crate) fn coupon_of(record: Bytes) -> Option<Coupon> {
    let coupon = Coupon::decode(record).ok()?;
    (!coupon.promotion_id.is_empty() && coupon.serial > 0).then_some(coupon)
}

/// Whether an operator has accepted that the log lost a coupon, which is at this offset of the feed.
pub(crate) fn is_lost(losses: &[FeedLoss], at: u64, coupon: &Coupon) -> bool {
    losses.iter().any(|loss| {
        loss.partition == coupon.partition && at < loss.feed_end && coupon.offset >= loss.end
    })
}
