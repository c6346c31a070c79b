//! What harms nobody's coupon but could stop the sale: a crowd above the limit of open files, a disk that
//! fills up, clients that never read, an end under load. On the embedded engines.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::alone;
use crate::system::crowd::RunningCrowd;
use crate::system::{Engines, System, binary, eventually, signal};

const TIMEOUT: Duration = Duration::from_secs(30);
/// As many machines have it.
const FEW_DESCRIPTORS: &str = "ulimit -n 1024";

/// A system whose data lies on a disk of so many megabytes.
fn on_small_disk(megabytes: u32, script: &str) -> System {
    let sale = System::closed(Engines::Embedded);
    let data = sale.data();
    std::fs::create_dir_all(&data).expect("a directory");
    let mount = format!("mount -t tmpfs -o size={megabytes}m tmpfs {}", data.display());
    sale.through(&format!("{script}{mount}"), &[])
}

/// A file on the disk that only the process sees.
fn filler(sale: &System) -> PathBuf {
    let data = sale.data();
    let below = data.strip_prefix("/").expect("absolute");
    PathBuf::from(format!("/proc/{}/root", sale.pid())).join(below).join("filler")
}

/// Writes until nothing more goes in.
fn fill(sale: &System) {
    let mut file = File::create(filler(sale)).expect("a file");
    let megabyte = vec![1; 1 << 20];
    while file.write_all(&megabyte).is_ok() {}
    while file.write_all(&megabyte[..512]).is_ok() {}
}

fn free(sale: &System) {
    std::fs::remove_file(filler(sale)).expect("removed");
}

fn load(sale: &System, more: &[&str]) -> std::process::Child {
    Command::new(binary())
        .args(["load", "--target", &sale.url(), "--quiet"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

#[track_caller]
fn assert_passed(load: std::process::Child) {
    let output = load.wait_with_output().expect("it ends");
    let said = crate::system::text(&output);
    assert!(output.status.success() && said.contains("audit passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_above_the_limit_of_open_files_leaves_the_engines_theirs() {
    let _alone = alone().await;
    let mut sale = System::closed(Engines::Embedded).through(FEW_DESCRIPTORS, &[]);
    sale.start().await;
    let more = ["--clients", "1500", "--customers", "20000", "--coupons", "5000"];
    assert_passed(load(&sale, &more));
    assert!(sale.is_ready().await);
    let metrics = sale.get("/metrics").await.text;
    let refused = metrics.lines().find(|line| line.starts_with("seckill_http_connections_refused"));
    assert!(refused.is_some(), "the crowd was below the limit");
    sale.stop();
    sale.assert_verified();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_stops_decisions_with_its_cause_and_no_longer_than_it_is_full() {
    let _alone = alone().await;
    let mut sale = on_small_disk(160, "");
    sale.start().await;
    let crowd = RunningCrowd::come(&sale, 10_000_000).await;
    let path = format!("/v1/promotions/{}", crowd.promotion());
    for _ in 0..3 {
        crowd.more(500, TIMEOUT).await;
        fill(&sale);
        crowd.one_more_turned_away(TIMEOUT).await;
        eventually("every partition names the cause", Duration::from_secs(1), async || {
            let text = sale.get("/readyz").await.text;
            let named = |partition| {
                text.contains(&format!("\"command/partition/{partition}\":\"no space left in"))
            };
            (0..4).all(named)
        })
        .await;
        let row = sale.get(&path).await;
        assert!(matches!(row.status, 200 | 503), "{row:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        free(&sale);
        crowd.more(500, TIMEOUT).await;
    }
    sale.ready(TIMEOUT).await;
    crowd.leave().await;
    sale.stop();
}

/// Clients that ask for a lot and read nothing.
fn who_never_read(sale: &System, clients: usize, path: &str) -> Vec<TcpStream> {
    let address = sale.url().replace("http://", "");
    let asked = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(100);
    let connect = |_| {
        let mut stream = TcpStream::connect(&address).expect("a connection");
        stream.set_nonblocking(true).expect("set");
        let _ = stream.write(asked.as_bytes()); // what is taken is enough
        stream
    };
    (0..clients).map(connect).collect()
}

fn resident_mb(sale: &System) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sale.pid())).expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a line");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") >> 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_reads_holds_little_and_not_for_long() {
    let _alone = alone().await;
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("sale", 1_000).await;
    for number in 0..1_000 {
        assert_eq!(sale.grab("sale", &format!("customer {number}")).await.status, 201);
    }
    let before = resident_mb(&sale);
    let path = "/v1/promotions/sale/coupons?limit=1000";
    let clients = who_never_read(&sale, 200, path);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let held = resident_mb(&sale).saturating_sub(before);
    assert!(held < 200, "{held} MB for 200 clients");
    eventually("they are dropped", Duration::from_secs(20), async || {
        let metrics = sale.get("/metrics").await.text;
        metrics.lines().any(|line| {
            let open = line.strip_prefix("seckill_http_connections ");
            open.is_some_and(|open| open.parse::<f64>().expect("a number") < 10.0)
        })
    })
    .await;
    drop(clients);
    sale.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_resets_nobody_who_keeps_asking() {
    let _alone = alone().await;
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("sale", 1_000_000).await;
    let address = sale.url().replace("http://", "");
    let client = |number: usize| {
        let address = address.clone();
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address).expect("a connection");
            stream.set_read_timeout(Some(TIMEOUT)).expect("set");
            for grab in 0.. {
                let body = format!("{{\"customer_id\":\"{number} {grab}\"}}");
                let head = "POST /v1/promotions/sale/grabs HTTP/1.1\r\nhost: x\r\n";
                let kind = "content-type: application/json\r\n";
                let length = body.len();
                let request = format!("{head}{kind}content-length: {length}\r\n\r\n{body}");
                stream.write_all(request.as_bytes()).expect("taken");
                let mut answer = vec![0; 4_096];
                let read = stream.read(&mut answer).expect("an answer, not a reset");
                let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
                assert!(answer.starts_with("HTTP/1.1 201"), "{answer:?}");
                if answer.contains("connection: close") {
                    return;
                }
            }
        })
    };
    let clients: Vec<_> = (0..100).map(client).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    signal("HUP", sale.pid());
    tokio::time::sleep(Duration::from_millis(200)).await;
    sale.stop();
    for client in clients {
        client.join().expect("nobody was reset");
    }
    assert!(sale.log().contains("SIGHUP"), "{}", sale.last_lines());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_waits_answers_at_once_and_says_little() {
    let _alone = alone().await;
    let engines = Engines::Kafka { kafka: "127.0.0.1:1".into(), name: "nobody".into() };
    let mut sale = System::closed(engines);
    let begun = Instant::now();
    sale.spawn();
    eventually("/healthz answers", Duration::from_secs(1), async || {
        let asked = sale.client().get(format!("{}/healthz", sale.url())).send().await;
        asked.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    let ready = sale.get("/readyz").await;
    assert_eq!(
        (ready.status, ready.json["not_ready"]["log"].as_str()),
        (503, Some("being opened"))
    );
    assert_eq!(sale.get("/metrics").await.status, 200);
    let early = sale.get("/v1/promotions").await;
    assert_eq!(early.json["type"], "urn:seckill:problem:starting", "{early:?}");
    tokio::time::sleep(Duration::from_secs(8)).await;
    let lines = sale.log().lines().count();
    assert!(lines <= 4, "{lines} lines:\n{}", sale.log());
    sale.kill();
}

fn held_in_memory(metrics: &str) -> f64 {
    let values = metrics.lines().filter(|line| line.starts_with("seckill_held_in_memory{"));
    values
        .map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()))
        .sum::<Option<f64>>()
        .expect("numbers")
}

async fn archived(engines: Engines) {
    let mut sale = System::closed(engines).through("true", &["--retain", "1s"]);
    sale.start().await;
    sale.offer("over", 300).await;
    sale.offer("on sale", 300).await;
    for number in 0..300 {
        assert_eq!(sale.grab("over", &format!("customer {number}")).await.status, 201);
    }
    assert_eq!(sale.grab("on sale", "customer 7").await.status, 201);
    for _ in 0..2 {
        eventually("what is over has left the memory", TIMEOUT, async || {
            held_in_memory(&sale.get("/metrics").await.text) == 3.0
        })
        .await;
        let again = sale.grab("over", "customer 7").await;
        assert_eq!((again.status, again.json["serial"].as_u64()), (200, Some(8)), "{again:?}");
        let late = sale.grab("over", "customer 300").await;
        assert_eq!(late.json["type"], "urn:seckill:problem:sold-out", "{late:?}");
        let elsewhere = sale.grab("on sale", "customer 7").await;
        assert_eq!((elsewhere.status, elsewhere.json["serial"].as_u64()), (200, Some(1)));
        let body = serde_json::json!({"id": "over", "name": "over", "coupons": 9, "discount": 0.7});
        assert_eq!(sale.post("/v1/promotions", body).await.status, 409);
        sale.kill();
        sale.start().await;
    }
    sale.stop();
    sale.assert_verified();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_left_the_memory_is_answered_from_the_views() {
    let _alone = alone().await;
    archived(Engines::Embedded).await;
}

#[cfg(feature = "real-engines")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_left_the_memory_is_answered_from_cassandra() {
    let _alone = alone().await;
    archived(Engines::real()).await;
}

/// Everything at once, for `SECKILL_SOAK_SECONDS`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soak_ends_with_the_audit_passed_and_the_process_serving() {
    let _alone = alone().await;
    let seconds = std::env::var("SECKILL_SOAK_SECONDS");
    let seconds: u64 = seconds.map_or(20, |seconds| seconds.parse().expect("a number"));
    // Room for what so long a run writes; the rest of the disk comes and goes.
    let megabytes = 600 + u32::try_from(seconds).expect("not so long") * 8;
    let mut sale = on_small_disk(megabytes, "ulimit -n 1024; ");
    sale.start().await;
    let duration = format!("{seconds}s");
    let clients = if seconds > 60 { "3000" } else { "1200" };
    let crowd = load(
        &sale,
        &[
            "--clients",
            clients,
            "--customers",
            "10000000",
            "--coupons",
            "10000000",
            "--duration",
            &duration,
        ],
    );
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut starts = 1;
    while Instant::now() < end {
        let silent = who_never_read(&sale, 300, "/v1/promotions?limit=1000");
        tokio::time::sleep(Duration::from_secs(4)).await;
        fill(&sale);
        tokio::time::sleep(Duration::from_secs(2)).await;
        free(&sale);
        drop(silent);
        if sale.process().try_wait().expect("a state").is_some() {
            starts += 1;
            sale.start().await; // as a supervisor would; the disk is a new one, so never here
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_passed(crowd);
    assert_eq!(starts, 1, "it ended");
    sale.ready(TIMEOUT).await;
    println!("{} MB resident at the end", resident_mb(&sale));
    sale.stop();
}
