//! Everybody grabs once, over the native routes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use seckill_load::{Verdict, run_until};
use tokio_util::sync::CancellationToken;

use crate::shop::{Fault, Lie, Shop};
use crate::{args, load, load_until, rules};

/// Every way the contract allows an answer not to be one.
fn every_fault(request: u64) -> Fault {
    match request % 16 {
        1 => Fault::Unavailable,
        3 => Fault::Overloaded,
        5 => Fault::TimedOut,
        7 => Fault::TimedOutUndecided,
        9 => Fault::Broken,
        11 => Fault::Silent,
        13 => Fault::Failed,
        _ => Fault::None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_buys_everything_and_the_rest_is_refused() {
    let (verdict, report) =
        load(Shop::honest().behind(3), "--clients 8 --customers 500 --coupons 100").await;
    assert_eq!((verdict, rules(&report)), (Verdict::Passed, vec![]));
    assert_eq!((report.grabs.sent, report.grabs.requests), (500, 500));
    assert_eq!((report.grabs.granted, report.grabs.refused.sold_out), (100, 400));
    assert_eq!((report.latency.all.count, report.latency.granted.count), (500, 100));
    let audit = report.audit.unwrap();
    assert_eq!((audit.coupons_read, audit.customers_looked_up), (100, 150));
    assert_eq!(audit.not_judged, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn coupons_nobody_wanted_are_left() {
    let (verdict, report) = load(Shop::honest(), "--customers 20 --coupons 100").await;
    assert_eq!((verdict, rules(&report)), (Verdict::Passed, vec![]));
    assert_eq!(report.grabs.granted, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_arrive_by_themselves() {
    let options = "--rate 1000 --duration 500ms --coupons 100 --arrivals uniform";
    let (verdict, report) = load(Shop::honest(), options).await;
    assert_eq!((verdict, rules(&report)), (Verdict::Passed, vec![]));
    assert!((499..=501).contains(&report.grabs.sent), "{}", report.grabs.sent);
    assert!(report.elapsed_seconds > 0.49, "{}", report.elapsed_seconds);
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_are_spread_over_promotions() {
    let options = "--promotions 3 --customers 300 --coupons 50";
    let (verdict, report) = load(Shop::honest(), options).await;
    assert_eq!((verdict, rules(&report)), (Verdict::Passed, vec![]));
    assert_eq!((report.promotions.len(), report.grabs.granted), (3, 150));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_not_definite_is_asked_again() {
    let options = "--clients 20 --customers 400 --coupons 300 --request-timeout 200ms";
    let (verdict, report) = load(Shop::unreliable(every_fault), options).await;
    assert_eq!((verdict, rules(&report)), (Verdict::Passed, vec![]));
    let grabs = report.grabs;
    assert_eq!(grabs.granted + grabs.already_yours, 300);
    assert_eq!((grabs.refused.sold_out, grabs.gave_up), (100, 0));
    for count in [
        grabs.already_yours,
        grabs.unavailable,
        grabs.overloaded,
        grabs.unknown_timed_out,
        grabs.unknown_connection_lost,
        grabs.unknown_unexpected,
    ] {
        assert!(count > 0, "{count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_who_ask_together_are_each_told_their_own() {
    let options = "--clients 100 --customers 500 --coupons 300 --batch 40 --request-timeout 200ms";
    let (verdict, report) = load(Shop::unreliable(every_fault), options).await;
    assert_eq!((verdict, rules(&report)), (Verdict::Passed, vec![]));
    let grabs = report.grabs;
    assert_eq!(grabs.granted + grabs.already_yours, 300);
    assert_eq!((grabs.refused.sold_out, grabs.gave_up), (200, 0));
    assert!(grabs.already_yours > 0 && grabs.unavailable > 0, "{grabs:?}");
    let (verdict, report) =
        load(Shop::lying(Lie::TellsTwice), "--batch 10 --customers 50 --coupons 20").await;
    assert_eq!((verdict, rules(&report).is_empty()), (Verdict::Failed, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_model_asks_again_too() {
    let options = "--rate 400 --duration 1s --coupons 100 --request-timeout 200ms --seed 3";
    let (verdict, report) = load(Shop::unreliable(every_fault), options).await;
    assert_eq!((verdict, rules(&report)), (Verdict::Passed, vec![]));
    assert_eq!(report.grabs.granted + report.grabs.already_yours, 100);
    assert_eq!(report.seed, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_customer_who_was_given_a_coupon_is_asked_for() {
    let options = "--clients 8 --customers 300 --coupons 200";
    let (verdict, report) = load(Shop::lying(Lie::HidesOneOwnCoupon), options).await;
    assert_eq!((verdict, rules(&report)), (Verdict::Failed, vec!["own-coupons"]));
    assert_eq!(report.audit.unwrap().customers_looked_up, 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_is_noticed() {
    for (lie, expected) in [
        (Lie::LosesACoupon, vec!["missing", "serial-gap", "undersold", "remaining", "own-coupons"]),
        (Lie::LosesACouponAndItsCount, vec!["missing", "serial-gap", "undersold", "own-coupons"]),
        (Lie::SwapsHolders, vec!["different", "own-coupons"]),
        (Lie::Oversells, vec!["oversold", "remaining"]),
        (Lie::KeepsOneBack, vec!["undersold"]),
        (Lie::TellsTwice, vec!["different", "told-twice", "own-coupons"]),
        (Lie::RefusesAHolder, vec!["refused-holds", "own-coupons"]),
        (Lie::AnswersSomethingElse, vec!["contradiction"]),
        (Lie::RefusesNowhere, vec!["contradiction"]),
        (Lie::CountsWrong, vec!["remaining"]),
        (Lie::HidesOwnCoupons, vec!["own-coupons"]),
        (Lie::NeverCatchesUp, vec!["views-behind"]),
    ] {
        let options = "--clients 1 --customers 30 --coupons 20";
        let (verdict, report) = load(Shop::lying(lie), options).await;
        assert_eq!((verdict, rules(&report)), (Verdict::Failed, expected), "{lie:?}");
        assert!(report.audit.unwrap().findings.iter().all(|f| !f.evidence.is_empty()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_promotion_is_judged_by_weaker_rules() {
    let shop = Shop::honest().with_promotion("spring / sale", 50, 1, 20);
    let url = shop.open().await;
    let directory = tempfile::tempdir().unwrap();
    let mut args = args(&url, "--customers 100", &directory.path().join("report.json"));
    args.promotion = vec![String::from("spring / sale")];
    args.json = None;
    let verdict = run_until(args, CancellationToken::new()).await.unwrap();
    assert_eq!(verdict, Verdict::Passed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grab_of_several_is_keyed_so_that_asking_again_is_safe() {
    let shop = Shop::unreliable(every_fault).with_promotion("p", 300, 5, 10);
    let options = "--promotion p --clients 20 --customers 200 --request-timeout 200ms";
    let (verdict, report) = load(shop, options).await;
    assert_eq!((verdict, rules(&report)), (Verdict::Passed, vec![]));
    assert_eq!(report.grabs.granted + report.grabs.already_yours, 200);
    assert!(report.grabs.already_yours > 0);
    assert!(report.audit.unwrap().not_judged.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answered_is_no_success() {
    let shop = Shop::unreliable(|_| Fault::Unavailable);
    let options = "--clients 5 --customers 10 --give-up 300ms --no-audit";
    let (verdict, report) = load(shop, options).await;
    assert_eq!(verdict, Verdict::Failed);
    assert_eq!((report.grabs.gave_up, report.audit), (10, None));
    assert!(report.grabs.unavailable >= 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gave_up_in_doubt_may_hold_a_coupon() {
    let shop = Shop::unreliable(|_| Fault::TimedOut);
    let options = "--clients 5 --customers 10 --coupons 5 --give-up 300ms";
    let (verdict, report) = load(shop, options).await;
    assert_eq!((verdict, rules(&report)), (Verdict::Failed, vec![]), "nobody was answered");
    assert_eq!((report.grabs.gave_up, report.audit.unwrap().coupons_read), (10, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_is_in_the_latency_of_everybody_it_kept_waiting() {
    let shop = Shop::unreliable(|request| if request == 0 { Fault::Slow } else { Fault::None });
    let most_inside = Arc::clone(&shop.most_inside);
    let options = "--rate 200 --duration 400ms --arrivals uniform --max-outstanding 1";
    let (verdict, report) = load(shop, options).await;
    assert_eq!((verdict, rules(&report)), (Verdict::Passed, vec![]));
    assert_eq!(most_inside.load(Ordering::SeqCst), 1);
    let p50_ms = report.latency.all.p50_ms;
    assert!(p50_ms > 50.0, "half the customers came during the stall: {p50_ms} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_nothing_more_but_drains_and_audits() {
    let shop = Shop::unreliable(|_| Fault::Slow);
    let inside = Arc::clone(&shop.inside);
    let stop = CancellationToken::new();
    let press = async {
        while inside.load(Ordering::SeqCst) < 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.cancel();
    };
    let running = load_until(shop, "--clients 4 --customers 1000", stop.clone());
    let ((verdict, report), ()) = tokio::join!(running, press);
    assert_eq!((verdict, rules(&report)), (Verdict::Passed, vec![]));
    assert!(report.interrupted);
    assert!((4..=8).contains(&report.grabs.granted), "{}", report.grabs.granted);
    assert_eq!(report.grabs.granted, report.grabs.sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_closes_the_open_model_too() {
    let shop = Shop::honest();
    let most_inside = Arc::clone(&shop.most_inside);
    let stop = CancellationToken::new();
    let press = async {
        while most_inside.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.cancel();
    };
    let running = load_until(shop, "--rate 100 --duration 1h", stop.clone());
    let ((verdict, report), ()) = tokio::join!(running, press);
    assert_eq!((verdict, rules(&report)), (Verdict::Passed, vec![]));
    assert!(report.interrupted);
}

#[tokio::test]
async fn nobody_there_is_an_error_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("unwritten.json");
    let begun = std::time::Instant::now();
    let args = args("http://127.0.0.1:1", "--give-up 60s", &path);
    let error = run_until(args, CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("nobody answers at 127.0.0.1:1"), "{error:#}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(1) && !path.exists());
}

#[tokio::test]
async fn a_report_that_cannot_be_written_is_an_error_before_anybody_comes() {
    let path = Path::new("/nowhere/at all/report.json");
    let args = args("http://127.0.0.1:1", "--give-up 60s", path);
    let error = run_until(args, CancellationToken::new()).await.unwrap_err();
    assert!(format!("{error:#}").contains("--json: /nowhere/at all/report.json"), "{error:#}");
}
