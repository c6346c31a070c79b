//! A log that has lost its end, and what an operator can do: on the embedded engines.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::system::{Engines, System, eventually, run, text};
use reqwest::Method;
use seckill_log::embedded::EmbeddedLog;

const TIMEOUT: Duration = Duration::from_secs(20);
const GRABS: usize = 40;

/// A sale that was killed, and where its records are.
async fn killed() -> (System, PathBuf) {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("sale", 1_000).await;
    let mut position = String::new();
    for number in 0..GRABS {
        let answer = sale.grab("sale", &format!("customer {number}")).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        position = answer.json["position"].as_str().expect("a position").to_owned();
    }
    let path = format!("/v1/promotions/sale?after={position}");
    assert_eq!(sale.get(&path).await.status, 200);
    sale.kill();
    let partition: u32 = position.split(':').next().expect("one").parse().expect("a number");
    let segment = format!("log/partition-{partition:04}/00000000000000000000.segment");
    let segment = sale.data().join(segment);
    (sale, segment)
}

fn written(segment: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(segment).expect("bytes");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("records") + 1;
    bytes.truncate(end);
    bytes
}

fn repair(sale: &System, flag: Option<&str>) -> (bool, String) {
    let mut flags = sale.flags();
    flags.extend(flag.map(str::to_owned));
    let output = run("repair", &flags);
    (output.status.success(), text(&output))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_log_is_refused_shown_and_accepted_only_by_an_operator() {
    let (mut sale, segment) = killed().await;
    let bytes = written(&segment);
    std::fs::write(&segment, &bytes[..bytes.len() - 10]).expect("cut");

    let refused =
        run("up", &[sale.flags(), vec!["--listen".into(), "127.0.0.1:0".into()]].concat());
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let named = [segment.to_str().expect("text"), "byte", "missing", "seckill repair"];
    assert!(named.iter().all(|word| said.contains(word)), "{said}");

    let (whole, shown) = repair(&sale, None);
    assert!(!whole && shown.contains("Nothing was changed"), "{shown}");
    assert!(shown.contains("1 coupons are in the views and not in the log"), "{shown}");
    assert!(shown.contains("sale-40 of \"customer 39\""), "{shown}");
    assert_eq!(written(&segment).len(), bytes.len() - 10, "nothing was changed");

    let (whole, shown) = repair(&sale, Some("--accept-loss"));
    assert!(whole && shown.contains("ACCEPTED"), "{shown}");
    sale.start().await;
    let again = sale.grab("sale", "customer 3").await;
    assert_eq!((again.status, again.json["serial"].as_u64()), (200, Some(4)), "{again:?}");
    let new = sale.grab("sale", "a new customer").await;
    assert_eq!((new.status, new.json["serial"].as_u64()), (201, Some(40)), "{new:?}");
    sale.stop();
    let verified = sale.verify();
    assert!(verified.status.success(), "{}", text(&verified));
    assert!(text(&verified).contains("a loss was accepted"), "{}", text(&verified));
}

/// The whole log is gone, and the views know better.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_of_a_log_that_is_gone_stop_the_sale() {
    let (mut sale, _) = killed().await;
    std::fs::remove_dir_all(sale.data().join("log")).expect("removed");
    let refused =
        run("up", &[sale.flags(), vec!["--listen".into(), "127.0.0.1:0".into()]].concat());
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("is gone, and") && said.contains("from a copy"), "{said}");
    assert!(!sale.data().join("log").exists(), "nothing is made in its place");
    // Somebody has made another one there.
    drop(EmbeddedLog::open(&sale.data().join("log"), Some(4)).expect("a log"));
    sale.spawn();
    eventually("it says what is lost", TIMEOUT, async || {
        let answer = sale.request(Method::GET, "/readyz", None).await;
        answer.is_ok_and(|answer| answer.text.contains("the views followed it to offset"))
    })
    .await;
    assert_eq!(sale.grab("sale", "a new customer").await.status, 503);
}

/// A log that was made anew with other partitions: nobody has seen some of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_of_a_log_with_other_partitions_stop_the_sale() {
    let (sale, _) = killed().await;
    std::fs::remove_dir_all(sale.data().join("log")).expect("removed");
    drop(EmbeddedLog::open(&sale.data().join("log"), Some(8)).expect("a log"));
    let flags = ["--listen", "127.0.0.1:0"].map(str::to_owned);
    let refused = run("up", &[sale.flags(), flags.to_vec()].concat());
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("with 4 partitions, and this log has 8"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_else_has_seen_is_accepted_as_a_loss_too_and_nothing_is_written_before() {
    let (mut sale, segment) = killed().await;
    std::fs::remove_dir_all(sale.data().join("views")).expect("removed");
    std::fs::remove_dir_all(sale.data().join("log/tables")).expect("removed");
    let bytes = written(&segment);
    std::fs::write(&segment, &bytes[..bytes.len() - 10]).expect("cut");
    let (whole, shown) = repair(&sale, Some("--reset-clock"));
    assert!(!whole && !shown.contains("RESET"), "{shown}");
    assert_eq!(written(&segment).len(), bytes.len() - 10, "nothing was written");
    let (whole, shown) = repair(&sale, Some("--accept-loss"));
    assert!(whole && shown.contains("ACCEPTED"), "{shown}");
    sale.start().await;
    sale.stop();
    let verified = sale.verify();
    assert!(verified.status.success(), "{}", text(&verified));
    assert!(text(&verified).contains("a loss was accepted"), "{}", text(&verified));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_deleted_ends_the_process_with_the_cause() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("sale", 1_000).await;
    assert_eq!(sale.grab("sale", "before").await.status, 201);
    std::fs::remove_dir_all(sale.data()).expect("removed");
    let answer = sale.request(
        Method::POST,
        "/v1/promotions/sale/grabs",
        Some(serde_json::json!({"customer_id": "after"})),
    );
    let told = answer.await.map(|answer| answer.status);
    assert!(told.as_ref().map_or(true, |status| [503, 504].contains(status)), "{told:?}");
    let status = sale.process().wait().expect("it ends");
    assert_eq!(status.code(), Some(1));
    let log = sale.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: ") && last.contains("was deleted or replaced"), "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_changes_nothing_and_makes_nothing() {
    let (sale, segment) = killed().await;
    let files = || {
        let (mut found, mut folders) = (Vec::new(), vec![sale.data()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push((path.clone(), std::fs::read(path).expect("bytes")));
                }
            }
        }
        found.sort();
        found
    };
    let before = files();
    assert!(sale.verify().status.success());
    assert!(files() == before, "verify changed files");
    let mut bytes = std::fs::read(&segment).expect("bytes");
    bytes[200] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    let before = files();
    let refused = sale.verify();
    assert!(!refused.status.success() && text(&refused).contains("byte "), "{}", text(&refused));
    assert!(files() == before, "verify changed a damaged log");
    let nowhere = sale.data().join("nowhere");
    let absent = run("verify", &["--data".into(), nowhere.display().to_string()]);
    assert!(!absent.status.success() && !nowhere.exists(), "{}", text(&absent));
}

/// The feed of other programs is gone, though it was seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_is_gone_is_told_and_fed_again_when_an_operator_says_so() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("sale", 100).await;
    for number in 0..5 {
        sale.grab("sale", &format!("customer {number}")).await;
    }
    let fed = async |sale: &System| {
        let told = sale.get("/sync/0").await.json;
        told.as_array().map_or(0, Vec::len)
    };
    eventually("they are fed", TIMEOUT, async || fed(&sale).await == 5).await;
    sale.stop();
    std::fs::remove_dir_all(sale.data().join("log/feed")).expect("removed");
    let verified = sale.verify();
    assert!(!verified.status.success(), "{}", text(&verified));
    assert!(text(&verified).contains("was seen up to 5"), "{}", text(&verified));
    let (whole, shown) = repair(&sale, None);
    assert!(!whole && shown.contains("ends 5 records before"), "{shown}");
    let (whole, shown) = repair(&sale, Some("--accept-loss"));
    assert!(whole && shown.contains("has to begin again"), "{shown}");
    sale.start().await;
    eventually("they are fed again", TIMEOUT, async || fed(&sale).await == 5).await;
    sale.grab("sale", "customer 9").await;
    eventually("and those after them", TIMEOUT, async || fed(&sale).await == 6).await;
    sale.stop();
    sale.assert_verified();
}
