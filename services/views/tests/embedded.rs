//! The conformance suite over the embedded engine, and what only an engine on a directory does.

mod conformance;

use std::path::Path;

use conformance::samples::{Engine, Tables, coupon, dense, progress, promotion, write};
use conformance::{PARTITIONS, order, pages, progress as moves, reads, rebuild};
use seckill_views::PromotionState::Active;
use seckill_views::{Changes, Views, ViewsError};

async fn open(dir: &Path) -> Engine {
    Views::open_directory(dir, PARTITIONS).await.unwrap()
}

async fn run<F: Future<Output = ()>>(case: impl FnOnce(Engine) -> F) {
    let dir = tempfile::tempdir().unwrap();
    case(open(dir.path()).await).await;
}

#[tokio::test]
async fn nothing_is_there_at_first() {
    run(reads::nothing_is_there_at_first).await;
}

#[tokio::test]
async fn a_promotion_is_found_in_every_state() {
    run(reads::a_promotion_is_found_in_every_state).await;
}

#[tokio::test]
async fn a_promotion_goes_through_its_life() {
    run(reads::a_promotion_goes_through_its_life).await;
}

#[tokio::test]
async fn a_coupon_is_found_by_all_its_ids() {
    run(reads::a_coupon_is_found_by_all_its_ids).await;
}

#[tokio::test]
async fn a_customer_holds_coupons_of_two_promotions() {
    run(reads::a_customer_holds_coupons_of_two_promotions).await;
}

#[tokio::test]
async fn odd_ids_are_kept_apart() {
    run(reads::odd_ids_are_kept_apart).await;
}

#[tokio::test]
async fn numbers_go_to_their_limits() {
    run(reads::numbers_go_to_their_limits).await;
}

#[tokio::test]
async fn an_end_is_taken_away() {
    run(reads::an_end_is_taken_away).await;
}

#[tokio::test]
async fn scans_give_what_was_written() {
    run(reads::scans_give_what_was_written).await;
}

#[tokio::test]
async fn coupons_of_a_day_are_each_there_once() {
    run(reads::coupons_of_a_day_are_each_there_once).await;
}

#[tokio::test]
async fn a_timeline_tells_what_each_second_gave() {
    run(reads::a_timeline_tells_what_each_second_gave).await;
}

#[tokio::test]
async fn tables_are_made_beside_others_and_exchanged_with_them() {
    run(rebuild::tables_are_made_beside_others_and_exchanged_with_them).await;
}

#[tokio::test]
async fn of_several_who_start_a_rebuild_one_does() {
    run(rebuild::of_several_who_start_a_rebuild_one_does).await;
}

#[tokio::test]
async fn a_large_write_is_whole() {
    run(reads::a_large_write_is_whole).await;
}

#[tokio::test]
async fn promotions_page_to_the_end() {
    run(pages::promotions_page_to_the_end).await;
}

#[tokio::test]
async fn coupons_of_a_customer_page_to_the_end() {
    run(pages::coupons_of_a_customer_page_to_the_end).await;
}

#[tokio::test]
async fn coupons_of_a_promotion_page_to_the_end() {
    run(pages::coupons_of_a_promotion_page_to_the_end).await;
}

#[tokio::test]
async fn a_list_ends_where_its_storage_is_cut() {
    run(pages::a_list_ends_where_its_storage_is_cut).await;
}

#[tokio::test]
async fn a_gap_does_not_end_a_list() {
    run(pages::a_gap_does_not_end_a_list).await;
}

#[tokio::test]
async fn a_rare_state_is_found_behind_many_others() {
    run(pages::a_rare_state_is_found_behind_many_others).await;
}

#[tokio::test]
async fn limits_are_kept_between_one_and_the_greatest() {
    run(pages::limits_are_kept_between_one_and_the_greatest).await;
}

#[tokio::test]
async fn foreign_cursors_are_refused() {
    run(pages::foreign_cursors_are_refused).await;
}

#[tokio::test]
async fn a_cursor_outlives_its_row() {
    run(pages::a_cursor_outlives_its_row).await;
}

#[tokio::test]
async fn an_older_promotion_changes_nothing() {
    run(order::an_older_promotion_changes_nothing).await;
}

#[tokio::test]
async fn an_older_coupon_changes_nothing() {
    run(order::an_older_coupon_changes_nothing).await;
}

#[tokio::test]
async fn a_finished_promotion_is_never_revived() {
    run(order::a_finished_promotion_is_never_revived).await;
}

#[tokio::test]
async fn any_order_ends_in_the_same_rows() {
    run(order::any_order_ends_in_the_same_rows).await;
}

#[tokio::test]
async fn writers_beside_each_other_end_in_the_same_rows() {
    run(order::writers_beside_each_other_end_in_the_same_rows).await;
}

#[tokio::test]
async fn progress_goes_forward_only() {
    run(moves::progress_goes_forward_only).await;
}

#[tokio::test]
async fn a_partition_has_no_term_before_its_first_fence() {
    run(moves::a_partition_has_no_term_before_its_first_fence).await;
}

#[tokio::test]
async fn a_reason_is_set_and_cleared_at_one_offset() {
    run(moves::a_reason_is_set_and_cleared_at_one_offset).await;
}

#[tokio::test]
async fn a_reason_goes_when_the_partition_moves_on() {
    run(moves::a_reason_goes_when_the_partition_moves_on).await;
}

#[tokio::test]
async fn an_empty_reason_is_none() {
    run(moves::an_empty_reason_is_none).await;
}

#[tokio::test]
async fn rows_are_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let views = open(dir.path()).await;
    write(&views, &[promotion("p", 2_001, Active)], &dense("p", 2_000)).await;
    let before = Tables::scan(&views).await;
    drop(views);
    let views = open(dir.path()).await;
    assert_eq!(Tables::scan(&views).await, before);
    let partition = before.promotions[0].position.partition;
    assert_eq!(views.progress(partition).await.unwrap(), Some(progress(partition, 2_002)));
}

/// The journal still has writes to tables that were deleted.
#[tokio::test]
async fn rows_are_there_after_tables_were_deleted_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let views = open(dir.path()).await;
    write(&views, &[promotion("p", 301, Active)], &dense("p", 300)).await;
    rebuild::tables_are_made_beside_others_and_exchanged_with_them(views.clone()).await;
    write(&views, &[], &[coupon("q", 1, "ann", 1)]).await;
    let before = Tables::scan(&views).await;
    drop(views);
    let views = open(dir.path()).await;
    assert_eq!(Tables::scan(&views).await, before);
    assert_eq!(before.coupons_by_day.len(), 301);
}

#[tokio::test]
async fn tables_from_before_the_catalog_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    {
        let database = fjall::Database::builder(dir.path()).open().unwrap();
        for name in ["promotions_g3", "progress_g3"] {
            let table = database.keyspace(name, Default::default).unwrap();
            table.insert("a", "b").unwrap();
        }
    }
    drop(open(dir.path()).await);
    let database = fjall::Database::builder(dir.path()).open().unwrap();
    let names: Vec<_> = database.list_keyspace_names().iter().map(ToString::to_string).collect();
    assert!(names.iter().all(|name| !name.ends_with("_g3")), "{names:?}");
    assert!(names.contains(&"promotions_g4".to_owned()), "{names:?}");
}

#[tokio::test]
async fn a_second_open_is_told_that_the_directory_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let views = open(dir.path()).await;
    let refused = Views::open_directory(dir.path(), PARTITIONS).await.err().unwrap();
    assert!(matches!(&refused, ViewsError::Locked { directory } if directory == dir.path()));
    assert!(refused.to_string().contains(&dir.path().display().to_string()), "{refused}");
    views.check().await.unwrap();
}

#[tokio::test]
async fn a_directory_that_cannot_be_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = Views::open_directory(file.path(), PARTITIONS).await.err().unwrap();
    assert!(matches!(refused, ViewsError::Setup { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&file.path().display().to_string()), "{refused}");
}

#[tokio::test]
async fn views_of_a_log_with_other_partitions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).await);
    let refused = Views::open_directory(dir.path(), PARTITIONS + 1).await.err().unwrap();
    assert!(matches!(refused, ViewsError::OtherPartitions { .. }), "{refused:?}");
    drop(open(dir.path()).await);
}

#[tokio::test]
async fn a_corrupt_row_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let row = coupon("p", 1, "ann", 4);
    write(&open(dir.path()).await, &[], std::slice::from_ref(&row)).await;
    spoil(dir.path(), "coupons_by_promotion_g4");
    let error = open(dir.path()).await.coupon(&row.id.parse().unwrap()).await.unwrap_err();
    let ViewsError::Corrupt { table, key, .. } = &error else { panic!("{error:?}") };
    assert_eq!((table.as_str(), key.as_str()), ("coupons_by_promotion_g4", "p/0/1"));
    assert!(!error.is_retryable());
}

/// Cuts the end off every value of a table.
fn spoil(dir: &Path, table: &str) {
    let database = fjall::Database::builder(dir).open().unwrap();
    let keyspace = database.keyspace(table, Default::default).unwrap();
    for pair in keyspace.iter() {
        let (key, value) = pair.into_inner().unwrap();
        keyspace.insert(key, &value[..value.len() - 1]).unwrap();
    }
}

#[tokio::test]
#[should_panic(expected = "is not of partition")]
async fn a_row_of_another_partition_is_a_bug() {
    let dir = tempfile::tempdir().unwrap();
    let row = promotion("p", 1, Active);
    let elsewhere = (row.position.partition + 1) % PARTITIONS;
    let none = Changes::none(progress(elsewhere, 2));
    let changes = Changes { promotions: vec![row], ..none };
    let _ = open(dir.path()).await.write(changes).await;
}
