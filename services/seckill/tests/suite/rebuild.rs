//! `seckill rebuild` while a sale goes on, as docs/views.md tells it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::source::top;
use crate::system::crowd::RunningCrowd;
use crate::system::{Engines, System, eventually, run, text};

const COUPONS: u32 = 200_000;
const NOT_YET: &str = "urn:seckill:problem:not-yet-visible";
const PATIENCE: Duration = Duration::from_secs(90);

/// The commands that a document tells, without the program.
pub(crate) fn commands(document: &str) -> Vec<Vec<String>> {
    let document = std::fs::read_to_string(top().join(document)).expect("a document");
    let blocks = document.split("```sh").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter_map(|line| line.split('#').next());
    let commands = lines.filter_map(|line| line.trim().strip_prefix("cargo run --release -- "));
    commands.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// Runs a command on a running system.
async fn ask(sale: &System, command: Vec<String>) -> std::process::Output {
    let mut words = command.into_iter();
    let (verb, mut flags) = (words.next().expect("a verb"), words.collect::<Vec<_>>());
    match flags.iter().position(|flag| flag == "--target") {
        Some(at) => flags[at + 1] = sale.url(),
        None => flags.extend(["--target".to_owned(), sale.url()]),
    }
    tokio::task::spawn_blocking(move || run(&verb, &flags)).await.expect("it ends")
}

/// Reads a promotion, its timeline and its newest coupon again and again: no answer fails, and none shows
/// less than the one before. Where nobody answers the process is being started again.
fn read(sale: &System, promotion: &str, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    let (client, url, promotion) = (sale.client().clone(), sale.url(), promotion.to_owned());
    tokio::spawn(async move {
        let get = async |path: String| {
            let answer = client.get(format!("{url}/v1/promotions/{promotion}{path}")).send().await;
            let Ok(answer) = answer else { return None };
            let (status, body) = (answer.status().as_u16(), answer.json::<Value>().await.ok()?);
            // A view is waited for for two seconds; on a machine that does all of this at once that may end.
            let waited = path.starts_with("?after") && body["type"] == NOT_YET;
            let starting = body["type"] == "urn:seckill:problem:starting";
            assert!(status == 200 || starting || waited, "{path}: {status} {body}");
            (status == 200).then_some(body)
        };
        let (mut granted, mut total, mut reads) = (0, 0, 0);
        while !stop.load(Ordering::Relaxed) {
            if let Some(row) = get(String::new()).await {
                let now = u64::from(COUPONS) - row["remaining"].as_u64().expect("a number");
                assert!(now >= granted, "{granted} granted, then {now}");
                granted = now;
                // What was answered at a position is there at that position.
                let position = row["position"].as_str().expect("a position");
                let again = get(format!("?after={position}")).await;
                let again = again.and_then(|row| row["remaining"].as_u64());
                assert!(again.is_none_or(|left| u64::from(COUPONS) - left >= granted));
            }
            if let Some(page) = get("/timeline?limit=1000".to_owned()).await {
                let last = page["items"].as_array().and_then(|items| items.last());
                let now = last.map_or(0, |second| second["total"].as_u64().expect("a number"));
                assert!(now >= total, "{total} in the timeline, then {now}");
                (total, reads) = (now, reads + 1);
            }
        }
        reads
    })
}

async fn phase(sale: &System) -> String {
    let status = sale.get("/v1/rebuild").await.json;
    status["rebuild"]["phase"].as_str().unwrap_or("none").to_owned()
}

/// How far the partition is that is furthest.
async fn reached(sale: &System) -> u64 {
    let partitions = sale.get("/v1/rebuild").await.json["partitions"].clone();
    let partitions = partitions.as_array().cloned().unwrap_or_default();
    partitions.iter().filter_map(|part| part["next_offset"].as_u64()).max().unwrap_or(0)
}

async fn until(sale: &System, wanted: &str) {
    eventually(wanted, PATIENCE, async || phase(sale).await == wanted).await;
}

async fn rebuild_during_a_sale(engines: Engines) {
    let mut sale = System::open(engines).await;
    let crowd = RunningCrowd::come_at(&sale, COUPONS, 1_000).await;
    crowd.more(2_000, PATIENCE).await;
    let stop = Arc::new(AtomicBool::new(false));
    let reader = read(&sale, &crowd.promotion(), Arc::clone(&stop));

    let commands = commands("docs/views.md");
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        let output = ask(&sale, command.clone()).await;
        assert!(output.status.success(), "{command:?}: {}", text(&output));
    }

    // While it runs, as JSON.
    let verify = ask(&sale, ["verify", "--json"].map(str::to_owned).to_vec()).await;
    assert!(verify.status.success(), "{}", text(&verify));
    let report: Value = serde_json::from_slice(&verify.stdout).expect("one object");
    let coupons = report["counts"]["coupons_by_day"].as_u64().expect("a number");
    assert!(report["different"] == 0 && coupons > 2_000, "{report}");

    // Killed in the middle, it goes on where it was.
    let body = json!({"views": ["promotions", "coupons_by_day"], "rate": 2_000});
    assert_eq!(sale.post("/v1/rebuild", body).await.status, 202);
    until(&sale, "building").await;
    eventually("some of it is built", PATIENCE, async || reached(&sale).await > 500).await;
    let before = reached(&sale).await;
    sale.kill();
    sale.start().await;
    assert!(reached(&sale).await >= before && phase(&sale).await == "building");
    assert_eq!(sale.post("/v1/rebuild/pause", Value::Null).await.status, 202);
    until(&sale, "paused").await;
    assert_eq!(sale.post("/v1/rebuild/abort", Value::Null).await.status, 202);
    until(&sale, "none").await;

    stop.store(true, Ordering::Relaxed);
    crowd.leave().await;
    let reads = reader.await.expect("nothing that was shown is gone");
    assert!(reads > 20, "{reads} reads");
    sale.stop();
    sale.assert_verified();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_are_made_again_during_a_sale_on_the_embedded_engines() {
    rebuild_during_a_sale(Engines::Embedded).await;
}

#[cfg(feature = "real-engines")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_are_made_again_during_a_sale_on_kafka_and_cassandra() {
    rebuild_during_a_sale(Engines::real()).await;
}

#[tokio::test]
async fn what_cannot_be_rebuilt_is_refused_and_nothing_changes() {
    let sale = System::open(Engines::Embedded).await;
    let unknown = sale.post("/v1/rebuild", json!({"views": ["promotion"]})).await;
    assert_eq!(unknown.status, 400);
    let said = unknown.json["detail"].as_str().expect("a detail");
    assert!(said.contains("\"promotion\"") && said.contains("coupons_by_day"), "{said}");
    for body in [json!({"rate": 0}), json!({"switch": "never"}), json!({"view": []})] {
        assert_eq!(sale.post("/v1/rebuild", body.clone()).await.status, 400, "{body}");
    }
    for step in ["pause", "resume", "switch", "undo", "drop", "abort"] {
        let refused = sale.post(&format!("/v1/rebuild/{step}"), Value::Null).await;
        assert_eq!(refused.status, 409, "{step}: {refused:?}");
        assert_eq!(refused.json["type"], "urn:seckill:problem:wrong-phase");
    }
    assert_eq!(sale.post("/v1/rebuild/created", Value::Null).await.status, 404);
    assert_eq!(phase(&sale).await, "none");
    let beside = ask(&sale, vec!["verify".into(), "--beside".into()]).await;
    assert!(
        !beside.status.success() && text(&beside).contains("no such tables"),
        "{}",
        text(&beside)
    );

    let begun = sale.post("/v1/rebuild", json!({"switch": "manual"})).await;
    assert_eq!(begun.status, 202);
    let second = ask(&sale, vec!["rebuild".into(), "--view".into(), "promotions".into()]).await;
    assert!(!second.status.success() && text(&second).contains("is there"), "{}", text(&second));
    until(&sale, "built").await;
    let undo = ask(&sale, vec!["rebuild".into(), "undo".into()]).await;
    assert!(text(&undo).contains("undo is for one that is switched"), "{}", text(&undo));
}

/// How far the views are, in records and seconds.
#[tokio::test]
async fn progress_is_told() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("p", 5).await;
    let grabbed = sale.grab("p", "ann").await;
    let position = grabbed.json["position"].as_str().expect("a position");
    let (partition, offset) = position.split_once(':').expect("a position");
    assert_eq!(sale.get(&format!("/v1/promotions/p?after={position}")).await.status, 200);
    let progress = sale.get("/v1/progress").await;
    let partition: usize = partition.parse().expect("a number");
    let told = &progress.json[partition];
    assert_eq!(told["next_offset"], offset.parse::<u64>().expect("a number") + 1, "{progress:?}");
    assert_eq!((&told["lag_records"], &told["lag_seconds"]), (&json!(0), &json!(0.0)));
}
