//! Projectors come, go, are killed and stand still beside their successors, while a sale goes on: the views
//! end as the log says, and never show less than before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::alone;
use crate::system::engine::Engine;
use crate::system::role::Role;
use crate::system::{Engines, System, eventually, fresh_name, run, text};

/// Kafka's own tools.
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const COUPONS: u64 = 500_000;
const PATIENCE: Duration = Duration::from_secs(120);
/// As long as the group takes to give a paused member up, and then some.
const STANDSTILL: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(3);

/// Reads the promotion from its gateway until told to stop: what was sold once stays sold.
fn watch(gateway: &Role, id: &str, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    let url = format!("{}/v1/promotions/{id}", gateway.url());
    tokio::spawn(async move {
        let (mut sold, mut reads) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let answer = reqwest::get(&url).await.expect("an answer");
            assert_eq!(answer.status(), 200);
            let row: Value = answer.json().await.expect("a row");
            let now = COUPONS - row["remaining"].as_u64().expect("a number");
            assert!(now >= sold, "{sold} sold, then {now}");
            (sold, reads) = (now, reads + 1);
        }
        reads
    })
}

async fn progress(projector: &Role) -> Vec<Value> {
    let answer = reqwest::get(format!("{}/v1/progress", projector.url())).await.expect("an answer");
    answer.json().await.expect("a list")
}

/// Waits until the views have all that is in the log now.
async fn caught_up(projector: &Role) {
    let ends: Vec<u64> = progress(projector).await.iter().map(|p| number(p, "end")).collect();
    eventually("the views catch up", PATIENCE, async || {
        let now = progress(projector).await;
        now.iter().zip(&ends).all(|(now, end)| number(now, "next_offset") >= *end)
    })
    .await;
}

fn number(row: &Value, field: &str) -> u64 {
    row[field].as_u64().expect("a number")
}

/// Load that goes on until it is stopped, and is then audited.
struct Load(std::process::Child);

impl Load {
    fn start(command: &Role, query: &Role, admin: &Role) -> Self {
        let child = std::process::Command::new(crate::system::binary())
            .args(["load", "--quiet", "--rate", "1500", "--duration", "10m", "--promotion", "sale"])
            .args(["--target", &command.url(), "--query", &query.url(), "--admin", &admin.url()])
            .args(["--audit-timeout", "120s"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn();
        Self(child.expect("it starts"))
    }

    fn stop(self) {
        crate::system::signal("INT", self.0.id());
        let output = self.0.wait_with_output().expect("it ends");
        let said = text(&output);
        assert!(said.contains("audit passed"), "{said}");
    }
}

/// Every role in a process of its own, and a sale under load.
struct Sale {
    system: System,
    roles: [Role; 3],
    load: Load,
    stop: Arc<AtomicBool>,
    watching: JoinHandle<u64>,
}

impl Sale {
    /// With one projector.
    async fn open() -> (Self, Role) {
        let system = System::closed(Engines::real());
        let [command, admin, query] =
            ["command", "admin", "query"].map(|role| Role::start(role, &system));
        let first = Role::start("projector", &system);
        for role in [&command, &admin, &query, &first] {
            role.ready().await;
        }
        let sale = json!({"id": "sale", "coupons": COUPONS, "discount": 0.5});
        let url = format!("{}/v1/promotions", admin.url());
        let offer = reqwest::Client::new().post(url).json(&sale);
        assert_eq!(offer.send().await.expect("an answer").status(), 201);
        eventually("the sale is on", PATIENCE, async || {
            let answer = reqwest::get(format!("{}/v1/promotions/sale", query.url())).await;
            answer.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        let load = Load::start(&command, &query, &admin);
        let stop = Arc::new(AtomicBool::new(false));
        let watching = watch(&query, "sale", Arc::clone(&stop));
        caught_up(&first).await;
        (Self { system, roles: [command, admin, query], load, stop, watching }, first)
    }

    /// Ends the load, and holds the views and the feed against the log.
    async fn close(self, projectors: Vec<Role>) {
        let Self { system, roles, load, stop, watching } = self;
        let audited = tokio::task::spawn_blocking(move || load.stop());
        audited.await.expect("the audit passed");
        stop.store(true, Ordering::Relaxed);
        let reads = watching.await.expect("nothing that was shown is gone");
        assert!(reads > 100, "{reads} reads");
        for projector in &projectors {
            caught_up(projector).await;
        }
        for role in roles.into_iter().chain(projectors) {
            role.stop();
        }
        let verified = system.verify();
        let said = text(&verified);
        assert!(verified.status.success(), "{said}");
        assert!(said.contains(" 0  coupons not in the feed yet"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_three_and_two_projectors_with_one_killed_and_one_paused() {
    let _alone = alone().await;
    let (sale, first) = Sale::open().await;
    let second = Role::start("projector", &sale.system);
    let third = Role::start("projector", &sale.system);
    second.ready().await;
    third.ready().await;
    tokio::time::sleep(PAUSE).await;
    caught_up(&first).await;

    drop(second); // kill -9: somewhere between a write and the next
    caught_up(&first).await;

    third.signal("STOP");
    tokio::time::sleep(STANDSTILL).await;
    third.signal("CONT"); // it goes on writing, beside whoever has its partitions now
    tokio::time::sleep(PAUSE).await;
    caught_up(&first).await;

    sale.close(vec![first, third]).await;
}

/// Who writes the feed stands still, comes back beside a successor, and is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_changes_hands() {
    let _alone = alone().await;
    let (sale, mut first) = Sale::open().await;
    for _ in 0..2 {
        // It has all partitions, and so the feed.
        let second = Role::start("projector", &sale.system);
        second.ready().await;
        first.signal("STOP");
        tokio::time::sleep(STANDSTILL).await;
        first.signal("CONT");
        tokio::time::sleep(PAUSE).await;
        caught_up(&second).await;
        drop(first); // kill -9
        caught_up(&second).await;
        first = second;
    }
    sale.close(vec![first]).await;
}

/// What Kafka's own tool tells of the group is where the views are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_has_committed_where_the_views_are() {
    let _alone = alone().await;
    let broker = Engine::kafka(19_692);
    let name = fresh_name();
    let engines = Engines::Kafka { kafka: broker.address(), name: name.clone() };
    let mut system = System::open(engines).await;
    let load = ["--target", &system.url(), "--quiet", "--coupons", "300", "--customers", "500"];
    let load = run("load", &load.map(str::to_owned));
    assert!(load.status.success(), "{}", text(&load));
    // Topic, partition, where the group is, where the topic ends, and how far that is apart.
    let group = format!("{name}.projector");
    let tell = || broker.tool(GROUPS, &["--describe", "--group", &group]);
    let behind = |line: &str| line.split_whitespace().nth(5) != Some("0");
    let topic = format!("{name}.events");
    eventually("the group has committed all", PATIENCE, async || {
        let told = tell();
        let mut lines = told.lines().filter(|line| line.contains(&topic));
        lines.clone().count() == 8 && !lines.any(behind)
    })
    .await;
    let told = tell();
    let rows = told.lines().filter(|line| line.contains(&topic));
    let rows: Vec<Vec<&str>> = rows.map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 8, "{told}");
    assert!(rows.iter().any(|row| row[3].parse::<u64>().is_ok_and(|at| at > 300)), "{told}");

    // And what a stock client reads of the feed, as docs/feed.md tells it.
    let topic = format!("{name}.coupons");
    let mut flags = vec!["--topic", &topic, "--from-beginning", "--max-messages", "300"];
    flags.extend(["--isolation-level", "read_committed", "--timeout-ms", "60000"]);
    flags.extend(["--formatter-property", "print.key=true"]);
    flags.extend(["--formatter-property", "print.headers=true"]);
    let told = broker.tool(CONSUMER, &flags);
    assert_eq!(told.matches("promotion:load-").count(), 300, "{told}");
    assert_eq!(told.matches(",position:").count(), 300, "{told}");
    system.stop();
}
