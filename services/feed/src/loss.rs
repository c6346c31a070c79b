//! What becomes of the feed where the log has lost records, or the feed itself. Those who read it were told of
//! coupons that the log does not have any more: they stay in the feed, and it goes on with what the log has
//! instead.

use std::collections::BTreeMap;

use seckill_log::{Folded, Log, Stretch, fold_from};
use seckill_proto::v1::{Checkpoint, Event, FedPartition, FeedLoss, FeedProgress, event::Body};

use crate::FeedError;
use crate::progress::{is_lost, load, read_on, store};

/// What is granted: promotion, serial and customer.
type Granted = (String, u32, String);

/// Records that the feed has lost, by what is known of it.
///
/// # Errors
/// Log or feed cannot be read.
pub async fn lost_of_feed(log: &dyn Log) -> Result<u64, FeedError> {
    Ok(load(log).await?.feed_end.saturating_sub(log.feed().end().await?))
}

/// Lets the feed go on after an operator has accepted that it, or the log, has lost records: how many coupons
/// in it the log does not have any more. What is missing in it is fed again. Nobody else may write the log
/// meanwhile.
///
/// # Errors
/// Log or feed cannot be read, or the progress of the feed cannot be written.
pub async fn accept_feed_loss(log: &dyn Log) -> Result<u64, FeedError> {
    // What an earlier writer has left open is settled by that.
    let _writer = log.feed().take_over().await?;
    let before = load(log).await?;
    let mut fed = vec![BTreeMap::new(); log.partitions() as usize];
    let feed_end = read_on(log, 0, |at, coupon| {
        let of_partition = fed.get_mut(coupon.partition as usize);
        if let Some(fed) = of_partition.filter(|_| !is_lost(&before.losses, at, &coupon)) {
            let granted: Granted = (coupon.promotion_id, coupon.serial, coupon.customer_id);
            fed.insert(coupon.offset, granted);
        }
    })
    .await?
    .end;
    let mut now = FeedProgress { feed_end, partitions: Vec::new(), losses: before.losses };
    let mut lost = 0;
    for (partition, fed) in (0..).zip(&fed) {
        let kept = kept(log, partition, fed).await?;
        let gone = fed.range(kept..).count() as u64;
        if gone > 0 {
            now.losses.push(FeedLoss { partition, end: kept, feed_end });
        }
        lost += gone;
        // The log is read from its beginning, and fed from where the feed does not have it.
        let checkpoint = Some(Checkpoint::default());
        now.partitions.push(FedPartition { checkpoint, fed: kept });
    }
    store(log, &now).await?;
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
