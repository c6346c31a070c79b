//! Every read gives back what was written, whatever the ids and numbers.

use std::slice::from_ref;

use seckill_proto::CouponId;
use seckill_views::PromotionState::{Active, Finished, Scheduled};

use super::PARTITIONS;
use super::samples::{
    Engine, Rows, Tables, active, at, by_key, by_promotion, coupon, coupons_of_customer,
    coupons_of_promotion, dense, pages, place, progress, promotion, promotions, seconds_of, write,
};

pub(crate) async fn nothing_is_there_at_first(views: Engine) {
    views.check().await.unwrap();
    assert_eq!(views.promotion("p").await.unwrap(), None);
    assert_eq!(active(&views).await, []);
    assert_eq!(promotions(&views, None, 10).await, []);
    assert_eq!(promotions(&views, Some(Active), 10).await, []);
    assert_eq!(coupons_of_promotion(&views, "p", 10).await, []);
    assert_eq!(coupons_of_customer(&views, "c", 10).await, []);
    let id = CouponId { promotion_id: "p".into(), serial: 1 };
    assert_eq!(views.coupon(&id).await.unwrap(), None);
    for partition in 0..PARTITIONS {
        assert_eq!(views.progress(partition).await.unwrap(), None);
    }
}

pub(crate) async fn a_promotion_is_found_in_every_state(views: Engine) {
    let mut rows =
        vec![promotion("s", 4, Scheduled), promotion("a", 5, Active), promotion("f", 6, Finished)];
    write(&views, &rows, &[]).await;
    for row in &rows {
        assert_eq!(views.promotion(&row.id).await.unwrap().as_ref(), Some(row));
        assert_eq!(promotions(&views, Some(row.state), 10).await, from_ref(row));
    }
    assert_eq!(active(&views).await, [rows[1].clone()]);
    by_key(&mut rows);
    assert_eq!(promotions(&views, None, 10).await, rows);
}

pub(crate) async fn a_promotion_goes_through_its_life(views: Engine) {
    for (offset, state) in [(2, Scheduled), (3, Scheduled), (4, Active), (5, Active)] {
        let row = promotion("p", offset, state);
        write(&views, from_ref(&row), &[]).await;
        assert_eq!(views.promotion("p").await.unwrap(), Some(row.clone()));
        let on_sale = if state == Active { vec![row] } else { vec![] };
        assert_eq!(active(&views).await, on_sale);
    }
    write(&views, &[promotion("p", 6, Finished)], &[]).await;
    assert_eq!(active(&views).await, []);
    assert_eq!(views.promotion("p").await.unwrap(), Some(promotion("p", 6, Finished)));
}

pub(crate) async fn a_coupon_is_found_by_all_its_ids(views: Engine) {
    let row = coupon("spring-sale", 12, "ann", 7);
    write(&views, &[], from_ref(&row)).await;
    let found = views.coupon(&"spring-sale-12".parse().unwrap()).await.unwrap();
    assert_eq!(found.as_ref(), Some(&row));
    assert_eq!(views.coupon(&"spring-sale-11".parse().unwrap()).await.unwrap(), None);
    assert_eq!(coupons_of_promotion(&views, "spring-sale", 10).await, from_ref(&row));
    assert_eq!(coupons_of_customer(&views, "ann", 10).await, [row]);
    assert_eq!(coupons_of_customer(&views, "an", 10).await, []);
}

pub(crate) async fn a_customer_holds_coupons_of_two_promotions(views: Engine) {
    let rows = [coupon("a", 1, "ann", 1), coupon("a", 3, "ann", 9), coupon("b", 2, "ann", 4)];
    write(&views, &[], &[rows.as_slice(), &[coupon("a", 2, "bob", 8)]].concat()).await;
    assert_eq!(coupons_of_customer(&views, "ann", 10).await, rows);
    assert_eq!(coupons_of_customer(&views, "ann", 1).await, rows);
    assert_eq!(coupons_of_promotion(&views, "b", 10).await, [rows[2].clone()]);
}

/// Ids that a separator, a quote or a prefix could confuse, up to the longest there are.
fn odd_ids() -> Vec<String> {
    let short =
        ["a", "a b", "ab", "a-1", "a-1-1", "a/b", "../..", "'; DROP", "\"a\"", "%00", "\\x"];
    let mut ids: Vec<_> = short.iter().map(ToString::to_string).collect();
    ids.extend(["🎟".repeat(32), "é".repeat(64), "-".repeat(128), format!("{}/", "春".repeat(42))]);
    ids
}

pub(crate) async fn odd_ids_are_kept_apart(views: Engine) {
    let ids = odd_ids();
    let offsets = 1_u64..;
    let rows: Vec<_> =
        ids.iter().zip(offsets).map(|(id, offset)| promotion(id, offset, Active)).collect();
    let coupons: Vec<_> = ids
        .iter()
        .flat_map(|promotion_id| {
            (1..).zip(&ids).map(|(serial, id)| coupon(promotion_id, serial, id, 50))
        })
        .collect();
    write(&views, &rows, &coupons).await;
    for (row, serial) in rows.iter().zip(1..) {
        assert_eq!(views.promotion(&row.id).await.unwrap().as_ref(), Some(row));
        let mut mine: Vec<_> = coupons.clone();
        mine.retain(|coupon| coupon.customer_id == row.id);
        by_promotion(&mut mine);
        assert_eq!(coupons_of_customer(&views, &row.id, 4).await, mine);
        mine.retain(|coupon| coupon.serial == serial && coupon.promotion_id == row.id);
        let found = views.coupon(&mine[0].id.parse().unwrap()).await.unwrap();
        assert_eq!(found.as_ref(), Some(&mine[0]));
    }
}

pub(crate) async fn numbers_go_to_their_limits(views: Engine) {
    let offset = (1 << 40) - 2;
    let row = seckill_views::PromotionRow {
        coupons: u32::MAX,
        remaining: u32::MAX,
        limit_per_customer: u32::MAX,
        discount: f64::MIN_POSITIVE,
        starts_at: "1970-01-01T00:00:00Z".parse().unwrap(),
        finishes_at: Some("9999-12-30T22:00:00Z".parse().unwrap()),
        created: place("p", offset - 1),
        ..promotion("p", offset, Active)
    };
    let last = coupon("p", u32::MAX, "ann", offset);
    write(&views, from_ref(&row), from_ref(&last)).await;
    assert_eq!(views.promotion("p").await.unwrap(), Some(row));
    let id = CouponId { promotion_id: "p".into(), serial: u32::MAX };
    assert_eq!(views.coupon(&id).await.unwrap(), Some(last.clone()));
    assert_eq!(coupons_of_customer(&views, "ann", 1).await, from_ref(&last));
    assert_eq!(Tables::scan(&views).await.coupons_by_promotion, from_ref(&last));
    let partition = last.position.partition;
    let reached = views.progress(partition).await.unwrap();
    assert_eq!(reached, Some(progress(partition, offset + 1)));
}

/// The end of a sale that was taken back leaves no trace in the column.
pub(crate) async fn an_end_is_taken_away(views: Engine) {
    let mut row = promotion("p", 2, Scheduled);
    row.finishes_at = Some(at(900));
    write(&views, from_ref(&row), &[]).await;
    let open = seckill_views::PromotionRow { finishes_at: None, ..promotion("p", 3, Scheduled) };
    write(&views, from_ref(&open), &[]).await;
    write(&views, &[row], &[]).await;
    assert_eq!(views.promotion("p").await.unwrap(), Some(open));
}

pub(crate) async fn scans_give_what_was_written(views: Engine) {
    let finished = vec![promotion("z", 3, Finished)];
    let mut rows = vec![promotion("x", 1, Scheduled), finished[0].clone()];
    rows.extend((0..40).map(|number| promotion(&format!("active {number}"), 2, Active)));
    let coupons = [dense("x", 700), dense("y", 800)].concat();
    write(&views, &rows, &coupons).await;
    let open = (0..PARTITIONS).flat_map(|partition| {
        let mut of_partition = rows.clone();
        of_partition.retain(|row| row.position.partition == partition);
        let mut open = Rows::default();
        open.follow(&of_partition);
        open.all().collect::<Vec<_>>()
    });
    let mut tables = Tables {
        open_promotions: open.collect(),
        promotions: rows.clone(),
        finished_promotions: finished,
        coupons_by_promotion: coupons.clone(),
        coupons_by_customer: coupons.clone(),
        grabs_per_second: seconds_of(&coupons),
        coupons_by_day: coupons,
    };
    by_key(&mut tables.promotions);
    assert_eq!(Tables::scan(&views).await, tables);
}

pub(crate) async fn a_large_write_is_whole(views: Engine) {
    let long = "L".repeat(128);
    let coupons = dense(&long, 5_000);
    let shared: Vec<_> = coupons
        .iter()
        .map(|row| seckill_views::CouponRow { customer_id: "one".into(), ..row.clone() })
        .collect();
    write(&views, &[promotion(&long, 5_001, Active)], &shared).await;
    assert_eq!(coupons_of_promotion(&views, &long, 1_000).await, shared);
    assert_eq!(coupons_of_customer(&views, "one", 1_000).await, shared);
    let partition = place(&long, 0).partition;
    assert_eq!(views.progress(partition).await.unwrap(), Some(progress(partition, 5_002)));
}

/// A day, page by page, and the next day apart.
pub(crate) async fn coupons_of_a_day_are_each_there_once(views: Engine) {
    let mut coupons = [dense("x", 300), dense("y", 90)].concat();
    let mut next = coupon("x", 301, "late", 301);
    next.grabbed_at += jiff::SignedDuration::from_hours(24);
    write(&views, &[], &[coupons.clone(), vec![next.clone()]].concat()).await;
    let day =
        |row: &seckill_views::CouponRow| jiff::tz::TimeZone::UTC.to_datetime(row.grabbed_at).date();
    let list = async |day, limit| {
        pages(limit, async |cursor| views.coupons_of_day(day, cursor, limit).await).await
    };
    by_promotion(&mut coupons);
    for limit in [7, 1_000] {
        let mut listed = list(day(&coupons[0]), limit).await;
        by_promotion(&mut listed);
        assert_eq!(listed, coupons);
    }
    assert_eq!(list(day(&next), 5).await, [next]);
}

/// What each second gave adds up, across pages too.
pub(crate) async fn a_timeline_tells_what_each_second_gave(views: Engine) {
    let (mut coupons, mut given) = (Vec::new(), std::collections::BTreeMap::new());
    for serial in 1..=500_u32 {
        let second = i64::from(serial.isqrt() * 2);
        let mut row = coupon("p", serial, &format!("c{serial}"), serial.into());
        row.grabbed_at = jiff::Timestamp::from_second(1_794_391_200 + second).unwrap();
        *given.entry(row.grabbed_at).or_insert(0) += 1;
        coupons.push(row);
    }
    write(&views, &[], &coupons).await;
    for limit in [1, 4, 1_000] {
        let seconds = pages(limit, async |cursor| views.timeline("p", cursor, limit).await).await;
        let told: Vec<_> = seconds.iter().map(|second| (second.second, second.granted)).collect();
        assert_eq!(told, given.clone().into_iter().collect::<Vec<_>>());
        assert_eq!(seconds.last().unwrap().total, 500);
    }
    assert!(views.timeline("q", None, 5).await.unwrap().items.is_empty());
}
