//! The conformance suite over a CQL database, and what only that engine does.
//!
//! Needs `SECKILL_TEST_CQL`, `host:port` of ScyllaDB or Cassandra, and fails without. Every test
//! has a keyspace of its own and drops it.

mod conformance;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use conformance::samples::{Engine, coupon, progress, promotion, write};
use conformance::{PARTITIONS, order, pages, progress as moves, reads, rebuild};
use futures::FutureExt;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use seckill_views::PromotionState::{Active, Finished};
use seckill_views::{Changes, CqlConfig, Progress, Views, ViewsError};

/// Views in a new keyspace, and a plain session to look behind them.
struct Keyspace {
    config: CqlConfig,
    session: Session,
}

impl Keyspace {
    async fn new() -> Self {
        let contact_point = std::env::var("SECKILL_TEST_CQL")
            .expect("SECKILL_TEST_CQL must be host:port of a CQL database");
        let builder = SessionBuilder::new().known_node(&contact_point);
        let builder = builder.connection_timeout(Duration::from_secs(5));
        let session = builder.build().await;
        let session = session
            .unwrap_or_else(|error| panic!("no CQL database answers at {contact_point}: {error}"));
        let keyspace = format!("seckill_test_{}", uuid::Uuid::new_v4().simple());
        let contact_points = vec![contact_point];
        Self { config: CqlConfig { contact_points, keyspace, ..CqlConfig::default() }, session }
    }

    async fn views(&self) -> Engine {
        Views::create_in_cql(&self.config, PARTITIONS).await.unwrap()
    }

    async fn execute(&self, statement: &str) {
        let statement = statement.replace("KS", &self.config.keyspace);
        self.session.query_unpaged(statement, ()).await.unwrap();
    }
}

/// Runs a test with a keyspace, and drops that whether or not the test passes.
async fn with_keyspace<F: Future<Output = ()>>(test: impl FnOnce(Arc<Keyspace>) -> F) {
    let keyspace = Arc::new(Keyspace::new().await);
    let outcome = AssertUnwindSafe(test(Arc::clone(&keyspace))).catch_unwind().await;
    keyspace.execute("DROP KEYSPACE IF EXISTS KS").await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

async fn run<F: Future<Output = ()>>(case: impl FnOnce(Engine) -> F) {
    with_keyspace(|keyspace| async move { case(keyspace.views().await).await }).await;
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
async fn processes_may_start_at_once() {
    with_keyspace(|keyspace| async move {
        let all = [keyspace.views(), keyspace.views(), keyspace.views(), keyspace.views()];
        let all = futures::future::join_all(all).await;
        write(&all[0], &[promotion("p", 1, Active)], &[]).await;
        for views in all {
            assert_eq!(views.promotion("p").await.unwrap(), Some(promotion("p", 1, Active)));
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_there_is_told_with_the_contact_point() {
    let config = CqlConfig {
        contact_points: vec!["127.0.0.1:1".into()],
        connect_within: Duration::from_millis(600),
        ..CqlConfig::default()
    };
    let error = Views::create_in_cql(&config, PARTITIONS).await.err().unwrap();
    assert!(matches!(error, ViewsError::Setup { .. }), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn a_keyspace_is_not_a_place_for_statements() {
    for keyspace in ["", "1a", "a; DROP KEYSPACE b", "Seckill", &"a".repeat(49)] {
        let config = CqlConfig { keyspace: keyspace.into(), ..CqlConfig::default() };
        let error = Views::create_in_cql(&config, PARTITIONS).await.err().unwrap();
        assert!(matches!(error, ViewsError::Setup { .. }), "{keyspace}: {error:?}");
    }
}

#[tokio::test]
async fn views_of_a_log_with_other_partitions_are_refused() {
    with_keyspace(|keyspace| async move {
        drop(keyspace.views().await);
        let refused = Views::create_in_cql(&keyspace.config, PARTITIONS + 1).await.err().unwrap();
        assert!(matches!(refused, ViewsError::OtherPartitions { .. }), "{refused:?}");
        drop(keyspace.views().await);
    })
    .await;
}

/// What stands in the tables when a process takes over from another.
#[tokio::test]
async fn a_successor_clears_what_its_predecessor_stopped_for() {
    with_keyspace(|keyspace| async move {
        let stopped = |reason: Option<&str>| reason.map(Into::into);
        let at = |reason| Changes::none(Progress { stopped: stopped(reason), ..progress(1, 7) });
        let mut last = None;
        for reason in [None, Some("why"), None, Some("again"), Some("again"), None] {
            let successor = keyspace.views().await;
            assert_eq!(successor.progress(1).await.unwrap(), last);
            successor.write(at(reason)).await.unwrap();
            last = Some(at(reason).progress);
        }
        assert_eq!(keyspace.views().await.progress(1).await.unwrap(), last);
    })
    .await;
}

#[tokio::test]
async fn write_times_are_log_positions() {
    with_keyspace(|keyspace| async move {
        let views = keyspace.views().await;
        write(&views, &[promotion("p", 41, Finished)], &[coupon("p", 1, "ann", 40)]).await;
        let times = [
            ("promotions", "name", 42),
            ("open_promotions", "active", 42),
            ("finished_promotions", "name", 42),
            ("coupons_by_promotion", "customer_id", 41),
            ("coupons_by_customer", "discount", 41),
        ];
        for (view, column, time) in times {
            let table = format!("{view}_g4");
            assert_eq!(keyspace.write_time(&table, column).await, time, "{view}");
        }
        assert_eq!(keyspace.write_time("progress", "next_offset").await, 43);
    })
    .await;
}

impl Keyspace {
    async fn write_time(&self, table: &str, column: &str) -> i64 {
        let keyspace = &self.config.keyspace;
        let statement = format!("SELECT WRITETIME({column}) FROM {keyspace}.{table}");
        let result = self.session.query_unpaged(statement, ()).await.unwrap();
        let result = result.into_rows_result().unwrap();
        let rows = result.rows::<(i64,)>().unwrap();
        rows.map(|row| row.unwrap().0).max().unwrap()
    }
}

#[tokio::test]
async fn a_corrupt_row_is_named() {
    with_keyspace(|keyspace| async move {
        let views = keyspace.views().await;
        let row = promotion("p", 1, Finished);
        let partition = row.position.partition;
        write(&views, &[row], &[coupon("p", 1, "ann", 1)]).await;
        for column in ["coupons = -1", "state = 'sold'", "discount = null"] {
            let statement = format!(
                "UPDATE KS.promotions_g4 SET {column} WHERE partition = {partition} AND id = 'p'"
            );
            keyspace.execute(&statement).await;
            let error = views.promotion("p").await.unwrap_err();
            let ViewsError::Corrupt { table, key, .. } = &error else { panic!("{error:?}") };
            assert!(
                table.ends_with(".promotions_g4") && *key == format!("{partition}/p"),
                "{error}"
            );
            keyspace.execute(&statement.replace(column, "coupons = 1, state = 'active'")).await;
        }
    })
    .await;
}

/// A database that keeps a mark for every row deleted warns at 1,000 of them, and fails at 100,000.
#[tokio::test]
async fn promotions_that_are_over_cost_the_list_of_others_nothing() {
    with_keyspace(|keyspace| async move {
        let views = keyspace.views().await;
        for round in 0..30 {
            for (offset, state) in [(1, Active), (2, Finished)] {
                let rows: Vec<_> = (0..100)
                    .map(|number| {
                        promotion(&format!("p{round} {number}"), offset + round * 2, state)
                    })
                    .collect();
                write(&views, &rows, &[]).await;
            }
        }
        write(&views, &[promotion("last", 99, Active)], &[]).await;
        assert_eq!(views.promotions(Some(Active), None, 5).await.unwrap().items.len(), 1);
        let trace = format!("SELECT * FROM {}.open_promotions_g4", keyspace.config.keyspace);
        let mut statement = scylla::statement::Statement::new(trace);
        statement.set_tracing(true);
        let result = keyspace.session.query_unpaged(statement, ()).await.unwrap();
        let trace = keyspace.session.get_tracing_info(&result.tracing_id().unwrap()).await.unwrap();
        let cells: Vec<_> =
            trace.events.iter().filter_map(|event| event.activity.as_ref()).collect();
        let read = |text: &&&String| text.contains("tombstone");
        let read: Vec<_> = cells.iter().filter(read).collect();
        assert!(!read.is_empty(), "{cells:?}");
        assert!(read.iter().all(|text| text.contains(" 0 tombstone")), "{read:?}");
    })
    .await;
}

/// The database has lost the table: no retry brings it back, and the caller is told so.
#[tokio::test]
async fn a_refusal_is_not_retried() {
    with_keyspace(|keyspace| async move {
        let views = keyspace.views().await;
        keyspace.execute("DROP TABLE KS.promotions_g4").await;
        let error = views.promotion("p").await.unwrap_err();
        assert!(!error.is_retryable(), "{error:?}");
    })
    .await;
}
