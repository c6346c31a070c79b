//! What becomes of the feed where the log has lost records: those who read it were told of coupons that the
//! log does not have any more. They stay in the feed, and it goes on with what the log has instead.

use std::collections::BTreeMap;

use seckill_log::{Folded, Log, Stretch, fold_from};
use seckill_proto::v1::{Checkpoint, Event, FedPartition, FeedLoss, event::Body};

use crate::FeedError;
use crate::progress::{is_lost, load, read_on, store};

/// What is granted: promotion, serial and customer.
type Granted = (String, u32, String);

/// Lets the feed go on after an operator has accepted that a partition has lost records: how many coupons in
/// the feed the log does not have any more. Where the feed itself has lost records, that is to be called for
/// every partition. Nobody else may write the log meanwhile.
///
/// # Errors
/// Log or feed cannot be read, or the progress of the feed cannot be written.
pub async fn accept_feed_loss(log: &dyn Log, partition: u32) -> Result<u64, FeedError> {
    let mut progress = load(log).await?;
    let (losses, mut fed) = (progress.losses.clone(), BTreeMap::new());
    let feed_end = read_on(log, 0, |at, coupon| {
        if coupon.partition == partition && !is_lost(&losses, at, &coupon) {
            let granted: Granted = (coupon.promotion_id, coupon.serial, coupon.customer_id);
            fed.insert(coupon.offset, granted);
        }
    })
    .await?;
    progress.feed_end = progress.feed_end.min(feed_end);
    let kept = kept(log, partition, &fed).await?;
    let lost = fed.range(kept..).count() as u64;
    if lost > 0 {
        progress.losses.push(FeedLoss { partition, end: kept, feed_end });
    }
    // The log is read from its beginning, and fed from where the feed does not have it.
    let partitions = log.partitions() as usize;
    progress.partitions.resize_with(partitions, FedPartition::default);
    progress.partitions[partition as usize] =
        FedPartition { checkpoint: Some(Checkpoint::default()), fed: kept };
    store(log, &progress).await?;
    Ok(lost)
}

/// After the last coupon up to which the feed has what the log has.
async fn kept(
    log: &dyn Log,
    partition: u32,
    fed: &BTreeMap<u64, Granted>,
) -> Result<u64, FeedError> {
    let mut fold = fold_from(log, partition, &Checkpoint::default()).await?;
    let mut stretch = Stretch::from(log, partition, 0).await?;
    let (mut coupons, mut kept) = (fed.iter(), 0);
    while fold.next_offset() < stretch.end() {
        for (offset, record) in stretch.next().await? {
            let Folded::Event(Event { promotion_id, body: Some(Body::Grabbed(grabbed)), .. }) =
                fold.step(offset, &record)?
            else {
                continue;
            };
            let granted = (promotion_id, grabbed.serial, grabbed.customer_id);
            if coupons.next() != Some((&offset, &granted)) {
                return Ok(kept);
            }
            kept = offset + 1;
        }
    }
    Ok(kept)
}
