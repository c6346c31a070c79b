//! The original's load script over its compatible routes.

use seckill_load::{Report, Verdict};

use crate::shop::{Fault, Lie, Shop};
use crate::{load, rules};

const OPTIONS: &str = "--model original --clients 20 --coupons 30 --open-every 200ms \
                       --duration 500ms --request-timeout 200ms --give-up 3s";

/// At most three promotions fit; on a slow machine it may be fewer.
fn offered(report: &Report) -> u64 {
    assert!((1..=3).contains(&report.promotions.len()));
    30 * report.promotions.len() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn coupons_taken_are_coupons_offered() {
    let (verdict, report) = load(Shop::honest(), OPTIONS).await;
    assert_eq!((verdict, rules(&report)), (Verdict::Passed, vec![]));
    let offered = offered(&report);
    assert_eq!(report.grabs.granted, offered);
    assert!(report.latency.list.is_some_and(|list| list.count > offered));
    assert!(report.latency.own_coupons.is_some_and(|own| own.count >= offered));
    assert_eq!(report.audit.unwrap().coupons_read, offered);
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_in_spite_of_unknown_outcomes() {
    let fault = |request| match request % 8 {
        1 => Fault::Unavailable,
        3 => Fault::TimedOut,
        5 => Fault::Broken,
        7 => Fault::Overloaded,
        _ => Fault::None,
    };
    let (verdict, report) = load(Shop::unreliable(fault), OPTIONS).await;
    assert_eq!((verdict, rules(&report)), (Verdict::Passed, vec![]));
    assert_eq!(report.grabs.granted + report.grabs.already_yours, offered(&report));
    assert!(report.grabs.already_yours > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_kept_back_is_noticed() {
    let (verdict, report) = load(Shop::lying(Lie::KeepsOneBack), OPTIONS).await;
    assert_eq!((verdict, rules(&report)), (Verdict::Failed, vec!["undersold"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_coupon_is_noticed() {
    let (verdict, report) = load(Shop::lying(Lie::LosesACoupon), OPTIONS).await;
    assert_eq!(verdict, Verdict::Failed);
    assert!(rules(&report).contains(&"missing"), "{:?}", rules(&report));
}
