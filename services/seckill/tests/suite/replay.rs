//! The log as lines and as a file.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::rebuild::commands;
use crate::system::crowd::RunningCrowd;
use crate::system::{Engines, System, run, text};

/// Two sold-out promotions, of which one was changed, and the positions of some grabs.
async fn sell(sale: &System) -> Vec<String> {
    let body =
        json!({"id": "later", "coupons": 9, "discount": 0.5, "starts_at": "2999-01-01T00:00:00Z"});
    assert_eq!(sale.post("/v1/promotions", body).await.status, 201);
    let change = json!({"coupons": 8, "name": "Later"});
    assert_eq!(sale.patch("/v1/promotions/later", change).await.status, 200);
    let mut positions = Vec::new();
    for promotion in ["spring", "summer"] {
        sale.offer(promotion, 3).await;
        for customer in ["ann", "bob", "cy"] {
            let grabbed = sale.grab(promotion, customer).await;
            positions.push(grabbed.json["position"].as_str().expect("a position").to_owned());
        }
    }
    positions
}

fn flags(sale: &System, more: &[&str]) -> Vec<String> {
    more.iter().map(|flag| (*flag).to_owned()).chain(sale.flags()).collect()
}

fn log_flags(sale: &System, more: &[&str]) -> Vec<String> {
    let mut flags = flags(sale, more);
    // The log alone; where it is embedded there is nothing else.
    if let Some(cql) = flags.iter().position(|flag| flag == "--cql") {
        flags.truncate(cql);
    }
    flags
}

fn replay(sale: &System, more: &[&str]) -> Vec<Value> {
    let output = run("replay", &log_flags(sale, more));
    assert!(output.status.success(), "{}", text(&output));
    lines(&String::from_utf8(output.stdout).expect("text"))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

const LIFE: [&str; 6] = [
    "promotion-scheduled",
    "promotion-started",
    "coupon-grabbed",
    "coupon-grabbed",
    "coupon-grabbed",
    "promotion-sold-out",
];

async fn replays(engines: Engines) {
    let mut sale = System::open(engines).await;
    let positions = sell(&sale).await;
    // While it runs, over the API.
    let answer = sale.get("/v1/events?promotion=summer").await;
    assert_eq!((answer.status, kinds(&lines(&answer.text))), (200, LIFE.to_vec()));
    // A part of it, with the fence that opens the partition.
    let answer = sale.get("/v1/events?promotion=summer&fences=true&limit=3").await;
    let part = lines(&answer.text);
    assert_eq!(kinds(&part), ["fence", LIFE[0], LIFE[1]]);
    assert!(part[0]["node"].as_str().is_some_and(|node| node.starts_with("up-")), "{part:?}");
    assert_eq!((&part[0]["position"], &part[0]["term"]), (&json!("2:0"), &json!(0)));
    let wrong =
        ["limit=0", "from=x", "to=99:1", "from=0:99999", "to=2999-01-01T00:00:00Z", "form=0:1"];
    for wrong in wrong.into_iter().chain(["follow=true&to=0:0"]) {
        let refused = sale.get(&format!("/v1/events?{wrong}")).await;
        assert_eq!(refused.status, 400, "{wrong}: {refused:?}");
    }
    sale.stop();

    let all = replay(&sale, &[]);
    assert_eq!(all.len(), 2 + 2 * LIFE.len());
    let at = |event: &Value| event["at"].as_str().expect("a time").parse::<jiff::Timestamp>();
    assert!(all.is_sorted_by_key(|event| at(event).expect("a time")));
    let spring = replay(&sale, &["--promotion", "spring"]);
    assert_eq!(kinds(&spring), LIFE);
    assert_eq!(spring[2]["customer_id"], "ann");
    assert_eq!((&spring[4]["serial"], &spring[4]["remaining"]), (&json!(3), &json!(0)));
    let between = ["--from", &positions[0], "--to", &positions[1], "--promotion", "spring"];
    assert_eq!(replay(&sale, &between), spring[2..4]);
    let from = spring[5]["at"].as_str().expect("a time");
    let later = replay(&sale, &["--from", from]);
    assert!(later.contains(&spring[5]) && later.len() < all.len());

    let refused = run("replay", &log_flags(&sale, &["--from", "0:99999"]));
    assert!(!refused.status.success() && text(&refused).contains("beyond the end"));
}

/// A promotion and its coupons, as they were at a place or a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_told() {
    let sale = System::open(Engines::Embedded).await;
    sell(&sale).await;
    let events = lines(&sale.get("/v1/events?promotion=spring").await.text);
    let position = |event: &Value| event["position"].as_str().expect("a position").to_owned();
    let positions: Vec<_> = events[2..5].iter().map(position).collect();
    let at = async |at: &str| sale.get(&format!("/v1/promotions/spring?at={at}")).await;
    let coupons = async |more: &str| {
        let page = sale.get(&format!("/v1/promotions/spring/coupons?{more}")).await.json;
        let rows = page["items"].as_array().expect("items").clone();
        (rows.iter().map(|row| row["serial"].clone()).collect::<Vec<_>>(), page["next"].clone())
    };
    for (position, remaining) in positions.iter().zip([2, 1, 0]) {
        let row = at(position).await.json;
        assert_eq!((&row["remaining"], &row["state"]), (&json!(remaining), &json!("active")));
        assert_eq!(row["position"], json!(position));
    }
    let second = format!("at={}", positions[1]);
    assert_eq!(coupons(&second).await, (vec![json!(1), json!(2)], Value::Null));
    let (first, next) = coupons(&format!("{second}&limit=1")).await;
    let next = next.as_str().expect("a cursor");
    assert_eq!(first, [1]);
    assert_eq!(
        coupons(&format!("{second}&limit=1&cursor={next}")).await,
        (vec![json!(2)], Value::Null)
    );
    // As it is now, and before it was there.
    let now = sale.get(&format!("/v1/promotions/spring?after={}", position(&events[5]))).await.json;
    let over = events[5]["at"].as_str().expect("a time");
    assert_eq!(at(over).await.json, now);
    assert_eq!(at("2020-01-01T00:00:00Z").await.status, 404);
    let (partition, offset) = positions[0].split_once(':').expect("a position");
    let elsewhere = (partition.parse::<u32>().expect("a number") + 1) % 4;
    let beyond = format!("{partition}:9999");
    for wrong in ["x", "2999-01-01T00:00:00Z", &format!("{elsewhere}:{offset}"), &beyond] {
        assert_eq!(at(wrong).await.status, 400, "{wrong}");
    }
}

/// The commands of docs/log.md, on a system like the one that they are told of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_document_tells_works() {
    let mut sale = System::open(Engines::Embedded).await;
    sell(&sale).await;
    let answer = sale.get("/v1/events?promotion=spring").await;
    assert_eq!(answer.status, 200);
    sale.stop();
    let other = System::closed(Engines::Embedded);
    let directory = tempfile::tempdir().expect("a directory");
    let commands = commands("docs/log.md");
    assert!(commands.len() > 4, "{commands:?}");
    for mut words in commands {
        words.truncate(words.iter().position(|word| word == "|").unwrap_or(words.len()));
        let on = if words[0] == "import" { &other } else { &sale };
        if let Some(data) = words.iter().position(|word| word == "--data") {
            words.truncate(data);
        }
        let file = |word: &String| word.replace("sale.export", &path(&directory));
        let flags: Vec<String> = words[1..].iter().map(file).chain(on.flags()).collect();
        let output = run(&words[0], &flags);
        assert!(output.status.success(), "{words:?}: {}", text(&output));
    }
}

fn path(directory: &tempfile::TempDir) -> String {
    directory.path().join("sale.export").display().to_string()
}

/// A log goes into a file and out of it: the same records at the same places, and the same views.
async fn moves(from: Engines, mut to: System) {
    let mut sale = System::open(from).await;
    sell(&sale).await;
    sale.stop();
    let file = sale.data().with_file_name("log.export");
    let path = file.to_str().expect("a path");
    let exported = run("export", &log_flags(&sale, &[path]));
    assert!(exported.status.success(), "{}", text(&exported));
    let again = run("export", &log_flags(&sale, &[path]));
    assert!(!again.status.success() && text(&again).contains("cannot be written"));

    assert_damage_is_refused(&file, &to);
    let imported = run("import", &log_flags(&to, &[path]));
    assert!(imported.status.success(), "{}", text(&imported));
    assert_eq!(replay(&to, &[]), replay(&sale, &[]));
    let twice = run("import", &log_flags(&to, &[path]));
    assert!(!twice.status.success(), "{}", text(&twice));

    to.start().await;
    assert_eq!(to.grab("spring", "dan").await.json["type"], "urn:seckill:problem:sold-out");
    assert_eq!(to.grab("spring", "ann").await.json["serial"], 1);
    assert_eq!(to.get("/v1/promotions/later").await.json["coupons"], 8);
    to.stop();
    to.assert_verified();
}

fn assert_damage_is_refused(file: &Path, to: &System) {
    let whole = std::fs::read(file).expect("the export");
    let damaged = file.with_extension("damaged");
    let path = damaged.to_str().expect("a path");
    let mut cases = vec![(whole[..whole.len() - 1].to_vec(), "ends early"), (vec![], "no export")];
    cases.push((whole[..whole.len() - 16].to_vec(), "ends early"));
    cases.push(([whole.as_slice(), b"x"].concat(), "more than was exported"));
    for at in [whole.len() / 2, whole.len() - 40] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        cases.push((changed, "damaged"));
    }
    for (bytes, expected) in cases {
        std::fs::write(&damaged, bytes).expect("a file");
        let refused = run("import", &log_flags(to, &[path]));
        let said = text(&refused);
        assert!(!refused.status.success() && said.contains(expected), "{expected}: {said}");
        assert!(said.contains("nothing was imported") && !to.data().join("log").exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_replayed_from_the_embedded_log() {
    replays(Engines::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_log_moves_through_a_file() {
    moves(Engines::Embedded, System::closed(Engines::Embedded)).await;
}

#[cfg(feature = "real-engines")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_replayed_from_kafka() {
    replays(Engines::real()).await;
}

#[cfg(feature = "real-engines")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_log_moves_to_kafka() {
    moves(Engines::Embedded, System::closed(Engines::real())).await;
}

/// Events come as they happen, and the end of the process ends the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_followed_over_the_api() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("spring", 3).await;
    // Whatever else happens while it begins.
    let crowd = RunningCrowd::come(&sale, 20_000).await;
    crowd.more(500, Duration::from_secs(20)).await;
    let url = format!("{}/v1/events?promotion=spring&follow=true", sale.url());
    let all = format!("{}/v1/events?follow=true", sale.url());
    let mut all = sale.client().get(all).send().await.expect("an answer");
    let mut answer = sale.client().get(url).send().await.expect("an answer");
    let mut said = String::new();
    for customer in ["ann", "bob"] {
        sale.grab("spring", customer).await;
        while !said.contains(customer) {
            let chunk = answer.chunk().await.expect("it goes on").expect("more");
            said += std::str::from_utf8(&chunk).expect("text");
        }
    }
    assert_eq!(kinds(&lines(&said)), LIFE[..4]);
    crowd.sold_out().await;
    sale.grab("spring", "cy").await;
    let mut last = String::new();
    while !last.contains("\"cy\"") {
        let chunk = all.chunk().await.expect("it goes on").expect("more");
        last = last.split_off(last.len().saturating_sub(9))
            + std::str::from_utf8(&chunk).expect("text");
    }
    sale.stop();
    while answer.chunk().await.expect("it ends in good order").is_some() {}
}
