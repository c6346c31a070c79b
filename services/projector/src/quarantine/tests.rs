//! What is not skipped.

use seckill_log::embedded::EmbeddedLog;
use seckill_proto::v1::{
    CouponGrabbed, Event, Fence, PromotionScheduled, PromotionStarted, Terms, event::Body,
};
use seckill_proto::{encode_event, encode_fence};
use tempfile::TempDir;

use super::*;

fn event(seq: u64, body: Body) -> Vec<u8> {
    let promotion_id = "spring".to_owned();
    encode_event(Event { seq, promotion_id, body: Some(body), ..Event::default() })
}

fn grabbed(seq: u64, serial: u32) -> Vec<u8> {
    let customer_id = format!("c{serial}");
    let grabbed =
        CouponGrabbed { serial, customer_id, remaining: 9 - serial, ..CouponGrabbed::default() };
    event(seq, Body::Grabbed(grabbed))
}

/// With a field that this version does not know.
fn of_a_newer_version(mut record: Vec<u8>) -> Vec<u8> {
    record.extend([0xA0, 0x06, 0x01]); // field 100, varint 1
    record
}

/// A sale that has begun, and what follows.
async fn sale(what_follows: Vec<Vec<u8>>) -> (TempDir, Quarantine) {
    let directory = tempfile::tempdir().expect("a directory");
    let log = EmbeddedLog::open(&directory.path().join("log"), Some(1)).expect("a log");
    let terms = Terms { coupons: 9, discount: 0.5, limit_per_customer: 1, ..Terms::default() };
    let mut records = vec![
        encode_fence(Fence { fence_id: vec![7; 16], ..Fence::default() }),
        event(0, Body::Scheduled(PromotionScheduled { terms: Some(terms) })),
        event(1, Body::Started(PromotionStarted {})),
    ];
    records.extend(what_follows);
    log.append(0, records).deliveries().await;
    let views = Views::open_directory(&directory.path().join("views"), 1).await.expect("views");
    (directory, Quarantine::new(Arc::new(log), views))
}

async fn skip(quarantine: &Quarantine, offset: u64) -> Result<Vec<Quarantined>, String> {
    let new = NewSkip { by: "ann".into(), reason: "junk".into(), through: None };
    let skipped = quarantine.skip(Position { partition: 0, offset }, new, 7).await;
    skipped.map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_others_rest_on_is_not_skipped() {
    let newer = of_a_newer_version(grabbed(2, 1));
    let (_directory, quarantine) = sale(vec![newer, grabbed(3, 2)]).await;
    let refused = skip(&quarantine, 3).await.expect_err("serial 2 follows serial 1");
    assert!(refused.contains("0:4") && refused.contains("upgraded"), "{refused}");
    assert_eq!(quarantine.log.end(0).await.expect("an end"), 5, "nothing was written");
}

/// Skipped one by one, the last of them would be found to be needed too late.
#[tokio::test]
async fn what_others_rest_on_is_not_skipped_one_by_one_either() {
    let newer = [grabbed(2, 1), grabbed(3, 2)].map(of_a_newer_version);
    let [first, second] = newer;
    let (_directory, quarantine) = sale(vec![first, second, grabbed(4, 3)]).await;
    let refused = skip(&quarantine, 3).await.expect_err("serial 3 follows both");
    assert!(refused.contains("0:5") && refused.contains("upgraded"), "{refused}");
    let refused = skip(&quarantine, 4).await.expect_err("it is not the first");
    assert!(refused.contains("0:3") && refused.contains("comes first"), "{refused}");
    assert_eq!(quarantine.log.end(0).await.expect("an end"), 6, "nothing was written");
}

/// What is in the log is made known again, and not written again.
#[tokio::test]
async fn a_skip_that_readers_do_not_know_of_is_published() {
    let (_directory, quarantine) = sale(vec![b"junk".to_vec()]).await;
    skip(&quarantine, 3).await.expect("it is skipped");
    let keys = vec![format!("skip/{:020}", 3)];
    quarantine.log.delete(Table::Owners, 0, keys).await.expect("it is forgotten");
    let checkpoint = Checkpoint { next_offset: 5, ..Checkpoint::default() };
    let mark = vec![(PROJECTOR_MARK.to_owned(), checkpoint.encode_to_vec().into())];
    quarantine.log.put(Table::Owners, 0, mark).await.expect("it is written");
    skip(&quarantine, 3).await.expect("it is known again");
    let skips = Skips::load(&*quarantine.log, 0).await.expect("the table");
    assert_eq!(skips.len(), 1);
    assert_eq!(quarantine.log.end(0).await.expect("an end"), 5);
}

#[tokio::test]
async fn what_a_newer_version_did_last_can_be_given_up() {
    let newer = of_a_newer_version(grabbed(2, 1));
    let (_directory, quarantine) = sale(vec![newer, b"junk".to_vec()]).await;
    let skipped = skip(&quarantine, 3).await.expect("nothing rests on it");
    assert_eq!(skipped[0].position, "0:3");
    let skips = Skips::load(&*quarantine.log, 0).await.expect("the table");
    assert_eq!(skips.iter().map(|skip| skip.offset).collect::<Vec<_>>(), [3]);
    assert_eq!(quarantine.log.end(0).await.expect("an end"), 6, "the skip is a record");
}

#[tokio::test]
async fn what_somebody_has_read_is_not_skipped() {
    let newer = of_a_newer_version(grabbed(2, 1));
    let (_directory, quarantine) = sale(vec![newer]).await;
    let mark = |next_offset| {
        let checkpoint = Checkpoint { next_offset, ..Checkpoint::default() };
        vec![(PROJECTOR_MARK.to_owned(), checkpoint.encode_to_vec().into())]
    };
    quarantine.log.put(Table::Owners, 0, mark(4)).await.expect("it is written");
    let refused = skip(&quarantine, 3).await.expect_err("a projector was there");
    assert!(refused.contains("a projector has read"), "{refused}");
    quarantine.log.put(Table::Owners, 0, mark(3)).await.expect("it is written");
    skip(&quarantine, 3).await.expect("nobody was there");
}
