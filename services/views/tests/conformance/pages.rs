//! Lists page to their end with any limit, and take no cursor but their own.

use seckill_views::PromotionState::{self, Active, Finished, Scheduled};
use seckill_views::{MAX_PAGE, ViewsError};

use super::samples::{
    Engine, active, by_key, coupon, coupons_of_customer, coupons_of_promotion, dense, promotion,
    promotions, write,
};

pub(crate) async fn promotions_page_to_the_end(views: Engine) {
    let states = [Scheduled, Active, Finished, Finished];
    let rows = states.iter().cycle().take(50).zip(0_u64..);
    let mut rows: Vec<_> =
        rows.map(|(state, number)| promotion(&format!("p{number}"), number + 1, *state)).collect();
    write(&views, &rows, &[]).await;
    by_key(&mut rows);
    let of = |state: PromotionState| {
        rows.iter().filter(|row| row.state == state).cloned().collect::<Vec<_>>()
    };
    for limit in [1, 2, 7, 49, 50, 51] {
        assert_eq!(promotions(&views, None, limit).await, rows, "limit {limit}");
        for state in [Scheduled, Active, Finished] {
            let listed = promotions(&views, Some(state), limit).await;
            assert_eq!(listed, of(state), "limit {limit}, {state:?}");
        }
    }
    assert_eq!(active(&views).await, of(Active));
}

/// Each partition holds more of another state than is read at a time.
pub(crate) async fn a_rare_state_is_found_behind_many_others(views: Engine) {
    let many = (0..4_800).map(|number| promotion(&format!("a{number}"), number + 1, Finished));
    let mut rare: Vec<_> = ["y", "z"].map(|id| promotion(id, 4_900, Scheduled)).to_vec();
    let rows: Vec<_> = many.chain(rare.clone()).collect();
    write(&views, &rows, &[]).await;
    by_key(&mut rare);
    for limit in [1, 5] {
        assert_eq!(promotions(&views, Some(Scheduled), limit).await, rare, "limit {limit}");
    }
    assert_eq!(promotions(&views, Some(Finished), MAX_PAGE).await.len(), 4_800);
}

pub(crate) async fn coupons_of_a_customer_page_to_the_end(views: Engine) {
    let mut rows = Vec::new();
    for promotion_id in ["a", "a b", "ab", "b"] {
        rows.extend((1..=6).map(|serial| coupon(promotion_id, serial * 1_000, "ann", 3)));
    }
    let others = [coupon("a", 1, "an", 1), coupon("a", 2, "ann ", 1), coupon("a", 3, "anna", 1)];
    write(&views, &[], &[rows.as_slice(), &others].concat()).await;
    for limit in [1, 5, 6, 23, 24, 25] {
        assert_eq!(coupons_of_customer(&views, "ann", limit).await, rows, "limit {limit}");
    }
}

/// 819 and 512 end a page at serial 4095 and 4096, on both sides of where storage may be cut.
pub(crate) async fn coupons_of_a_promotion_page_to_the_end(views: Engine) {
    let rows = dense("p", 8_200);
    let (first, second) = rows.split_at(4_097);
    write(&views, &[], first).await;
    write(&views, &[], second).await;
    write(&views, &[], &dense("q", 10)).await;
    for limit in [241, 512, 819, 1_000] {
        assert_eq!(coupons_of_promotion(&views, "p", limit).await, rows, "limit {limit}");
    }
}

pub(crate) async fn a_list_ends_where_its_storage_is_cut(views: Engine) {
    let count = [4_095, 4_096, 4_097];
    for (id, count) in ["p", "q", "r"].into_iter().zip(count) {
        let rows = dense(id, count);
        write(&views, &[], &rows).await;
        for limit in [819, 512] {
            assert_eq!(coupons_of_promotion(&views, id, limit).await, rows, "{count}, {limit}");
        }
    }
}

/// A lost coupon, or one not written yet, does not hide those after it.
pub(crate) async fn a_gap_does_not_end_a_list(views: Engine) {
    let present = dense("p", 4_200);
    let present: Vec<_> =
        present.into_iter().filter(|row| !(11..4_096).contains(&row.serial)).collect();
    write(&views, &[], &present).await;
    for limit in [5, 10, 11, 200] {
        assert_eq!(coupons_of_promotion(&views, "p", limit).await, present, "limit {limit}");
    }
}

pub(crate) async fn limits_are_kept_between_one_and_the_greatest(views: Engine) {
    let rows = dense("p", u32::try_from(MAX_PAGE).unwrap() + 1);
    let active = [promotion("p", 1, Active), promotion("q", 1, Active)];
    write(&views, &active, &rows).await;
    let greatest = views.coupons_of_promotion("p", None, usize::MAX).await.unwrap();
    assert_eq!(greatest.items, rows[..MAX_PAGE]);
    assert!(greatest.next.is_some());
    let least = views.coupons_of_promotion("p", None, 0).await.unwrap();
    assert_eq!(least.items, rows[..1]);
    for state in [None, Some(Active)] {
        assert_eq!(views.promotions(state, None, 0).await.unwrap().items.len(), 1);
    }
}

pub(crate) async fn foreign_cursors_are_refused(views: Engine) {
    write(&views, &[promotion("p", 1, Active), promotion("q", 1, Active)], &dense("p", 2)).await;
    let more = [coupon("p", 3, "ann", 3), coupon("q", 1, "ann", 3)];
    write(&views, &[], &more).await;
    let of_promotions = views.promotions(None, None, 1).await.unwrap().next.unwrap();
    let of_promotion = views.coupons_of_promotion("p", None, 1).await.unwrap().next.unwrap();
    let of_customer = views.coupons_of_customer("ann", None, 1).await.unwrap().next.unwrap();
    for cursor in ["", "x", "1", "p0", "'; DROP TABLE", &of_promotion, &of_customer] {
        let refused = views.promotions(None, Some(cursor), 5).await;
        assert!(matches!(refused, Err(ViewsError::InvalidCursor)), "{cursor}: {refused:?}");
    }
    for cursor in ["", "s", "s01", "s0000000001", &of_promotions, &of_customer] {
        let refused = views.coupons_of_promotion("p", Some(cursor), 5).await;
        assert!(matches!(refused, Err(ViewsError::InvalidCursor)), "{cursor}: {refused:?}");
    }
    for cursor in ["", "c", "c61", "cé", &of_promotions, &of_promotion] {
        let refused = views.coupons_of_customer("ann", Some(cursor), 5).await;
        assert!(matches!(refused, Err(ViewsError::InvalidCursor)), "{cursor}: {refused:?}");
    }
    let error = views.promotions(None, Some("x"), 5).await.unwrap_err();
    assert!(!error.is_retryable());
}

/// A page goes on after its last row even when that row is gone from the list since.
pub(crate) async fn a_cursor_outlives_its_row(views: Engine) {
    let rows = ["p0", "p1", "p2", "p3"].map(|id| promotion(id, 1, Active));
    write(&views, &rows, &[]).await;
    let all = active(&views).await;
    let page = views.promotions(Some(Active), None, 2).await.unwrap();
    write(&views, &[promotion(&all[1].id, 2, Finished)], &[]).await;
    let rest = views.promotions(Some(Active), page.next.as_deref(), 5).await.unwrap();
    assert_eq!(rest.items, all[2..]);
}
