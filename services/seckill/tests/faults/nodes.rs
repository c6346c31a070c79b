//! Several command nodes: any takes any grab, each says who decides, and they can be restarted one by one under a
//! crowd.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use reqwest::{Client, Response};
use seckill_checker::{Attempt, Outcome, read_history};
use serde_json::{Value, json};

use crate::system::role::{READY_TIMEOUT, Role, flags_of};
use crate::system::{Engines, System, eventually, run, text};
use crate::{Started, alone};

const NODES: usize = 3;
const PARTITIONS: usize = 8;
/// How old the table of owners may be when it is told.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Within which all nodes know who serves, and the group has shared everything out.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// Tries for a group in which a member joins, and no other one stands still for so long that it is left out.
const TRIES: usize = 3;

/// Command nodes, and one process of each other role.
struct Cluster {
    system: System,
    nodes: Vec<Role>,
    others: [Role; 3],
}

impl Cluster {
    async fn start() -> Self {
        let system = System::closed(Engines::real());
        let nodes: Vec<_> = (0..NODES).map(|_| Role::start("command", &system)).collect();
        let others = ["admin", "projector", "query"].map(|role| Role::start(role, &system));
        for role in nodes.iter().chain(&others) {
            role.ready().await;
        }
        let cluster = Self { system, nodes, others };
        cluster.settled().await;
        cluster
    }

    /// Flags of a crowd that goes to all nodes.
    fn crowd(&self) -> Vec<String> {
        let [admin, _, query] = &self.others;
        let mut flags = vec!["--query".to_owned(), query.url(), "--admin".to_owned(), admin.url()];
        flags.extend(self.nodes.iter().flat_map(|node| ["--target".to_owned(), node.url()]));
        flags.extend(["--quiet", "--history"].map(str::to_owned));
        flags.push(self.system.history().display().to_string());
        flags
    }

    async fn get(&self, path: &str) -> Value {
        let answer =
            reqwest::get(format!("{}{path}", self.nodes[0].url())).await.expect("an answer");
        answer.json().await.expect("JSON")
    }

    /// By partition, where its owner is reached, and its term.
    async fn owners(&self) -> Vec<(String, u64)> {
        let owners = self.get("/v1/owners").await;
        let of = |of: &Value| Some((of["url"].as_str()?.to_owned(), of["term"].as_u64()?));
        owners.as_array().into_iter().flatten().filter_map(of).collect()
    }

    /// Waits until the nodes share all partitions, and for some time still do: who owns what.
    async fn settled(&self) -> Vec<(String, u64)> {
        let deadline = Instant::now() + SETTLES_WITHIN;
        let urls: Vec<_> = self.nodes.iter().map(Role::url).collect();
        let mut before = self.owners().await;
        while Instant::now() < deadline {
            tokio::time::sleep(TOLD_WITHIN).await;
            let owners = self.owners().await;
            let shares = urls.iter().map(|url| owners.iter().filter(|(of, _)| of == url).count());
            let shared_out = shares.clone().sum::<usize>() == PARTITIONS && shares.min() >= Some(2);
            if shared_out && owners == before {
                return owners;
            }
            before = owners;
        }
        panic!("partitions still move: {before:?}");
    }

    /// One node more, and one fewer again: which partitions moved from one of the others to another of them.
    async fn joined_for_a_while(&self) -> Vec<(String, u64)> {
        let before = self.settled().await;
        let more = Role::start("command", &self.system);
        more.ready().await;
        eventually("it has some", READY_TIMEOUT, async || {
            self.owners().await.iter().any(|(url, _)| *url == more.url())
        })
        .await;
        tokio::time::sleep(TOLD_WITHIN).await;
        let after = self.owners().await;
        assert_eq!((before.len(), after.len()), (PARTITIONS, PARTITIONS));
        let of_it = more.url();
        tokio::task::block_in_place(|| more.stop());
        self.settled().await;
        let moved = before.iter().zip(after).filter(|(before, after)| *before != after);
        moved.map(|(_, after)| after).filter(|(url, _)| *url != of_it).collect()
    }

    fn stop(self) {
        let Self { system, nodes, others } = self;
        nodes.into_iter().chain(others).for_each(Role::stop);
        system.assert_kept_its_word();
    }
}

async fn offer(cluster: &Cluster, id: &str) {
    let offer = json!({"id": id, "name": id, "coupons": 100, "discount": 0.5});
    let url = format!("{}/v1/promotions", cluster.others[0].url());
    let answer = Client::new().post(url).json(&offer).send().await.expect("an answer");
    assert_eq!(answer.status(), 201);
}

async fn grab(node: &str, id: &str, forward: Option<&str>) -> Response {
    let url = format!("{node}/v1/promotions/{id}/grabs");
    let mut request = Client::new().post(url).json(&json!({"customer_id": "ann"}));
    if let Some(forward) = forward {
        request = request.header("Seckill-Forward", forward);
    }
    request.send().await.expect("an answer")
}

/// Asks a node for coupons for two customers, who have come before or not: what each is told.
async fn grab_both(node: &str, id: &str, customers: [&str; 2]) -> [u64; 2] {
    let grabs = customers.map(|customer| json!({"customer_id": customer}));
    let url = format!("{node}/v1/promotions/{id}/grabs:batch");
    let request = Client::new().post(url).json(&json!({"grabs": grabs}));
    let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    [0, 1].map(|of| answer["answers"][of]["status"].as_u64().unwrap_or_default())
}

/// Asks every node for a coupon that none is to pass on: which one decides.
async fn decides(cluster: &Cluster, id: &str) -> String {
    let (mut deciding, mut named) = (Vec::new(), Vec::new());
    for node in &cluster.nodes {
        let answer = grab(&node.url(), id, Some("never")).await;
        match answer.status().as_u16() {
            200 | 201 => deciding.push(node.url()),
            421 => {
                let problem: Value = answer.json().await.expect("a problem");
                assert_eq!(problem["type"], "urn:seckill:problem:not-owner");
                named.push(problem["url"].as_str().expect("a URL").to_owned());
            }
            status => panic!("{status} of {id}"),
        }
    }
    assert_eq!(deciding.len(), 1, "{deciding:?}");
    assert!(named.len() == NODES - 1 && named.iter().all(|url| *url == deciding[0]), "{named:?}");
    deciding.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_takes_any_grab_and_tells_who_decides() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    for number in 0..4 {
        let id = format!("sale-{number}");
        offer(&cluster, &id).await;
        let owner = decides(&cluster, &id).await;
        let owners = cluster.get("/v1/owners").await;
        let listed =
            owners.as_array().expect("owners").iter().any(|of| of["url"] == owner.as_str());
        assert!(listed, "{owner} in {owners}");
        for node in &cluster.nodes {
            assert_eq!(grab(&node.url(), &id, None).await.status(), 200, "passed on");
        }
        for (number, node) in cluster.nodes.iter().enumerate() {
            let both = ["ann", &format!("bob-{number}")];
            assert_eq!(grab_both(&node.url(), &id, both).await, [200, 201], "passed on together");
        }
        let refused = grab(&cluster.nodes[0].url(), &id, Some("always")).await;
        assert_eq!(refused.status(), 400);
    }
    let flags = ["--direct", "--promotions", "8", "--coupons", "200", "--customers", "2000"];
    let flags = [cluster.crowd(), flags.map(str::to_owned).to_vec()].concat();
    let loaded = tokio::task::block_in_place(|| run("load", &flags));
    assert!(loaded.status.success(), "{}", text(&loaded));
    // A node that is asked for each promotion first, and once told, nobody else.
    let attempts = read_history(&cluster.system.history()).expect("a history");
    let turned_away = attempts.iter().filter(|of| of.outcome == Outcome::NotAccepted).count();
    assert_eq!((attempts.len(), turned_away), (2_000, 0), "{}", text(&loaded));
    cluster.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_name_is_taken_does_not_start() {
    let _alone = alone().await;
    let cluster = Cluster::start().await;
    let owners = cluster.get("/v1/owners").await;
    let name = owners[0]["node"].as_str().expect("a name").to_owned();
    let flags = ["--listen", "127.0.0.1:0", "--name", &name].map(str::to_owned);
    let flags = [flags_of("command", &cluster.system), flags.to_vec()].concat();
    let mut node = Started::run("command", &flags);
    eventually("it ends", READY_TIMEOUT, async || node.has_ended()).await;
    let refused = node.output();
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("too: give this one another name with --name"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_restarted_one_by_one_under_a_crowd() {
    let _alone = alone().await;
    let mut cluster = Cluster::start().await;
    let flags = ["--rate", "200", "--duration", "10m", "--promotions", "8", "--coupons", "1000000"];
    let flags = [&flags[..], &["--audit-timeout", "120s"]].concat();
    let flags = flags.into_iter().map(str::to_owned).collect();
    let crowd = Started::run("load", &[cluster.crowd(), flags].concat());
    tokio::time::sleep(Duration::from_secs(3)).await;
    for number in 0..NODES {
        let port = cluster.nodes[number].port();
        let node = cluster.nodes.remove(number);
        tokio::task::block_in_place(|| node.stop());
        let again = Role::start_at("command", &cluster.system, port);
        again.ready().await;
        cluster.nodes.insert(number, again);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    // Who stays serves on.
    let mut moved = Vec::new();
    for _ in 0..TRIES {
        moved = cluster.joined_for_a_while().await;
        if moved.is_empty() {
            break;
        }
    }
    assert!(moved.is_empty(), "{moved:?}");
    let ended = tokio::task::block_in_place(|| crowd.stop("INT"));
    let said = text(&ended);
    assert!(ended.status.success() && said.contains("audit passed"), "{said}");
    // Nodes that go answer for as long as others have not taken over; connections that a node refuses, which has ended,
    // are not its answers.
    let (sent, turned_away) = (counted(&said, "grabs sent"), counted(&said, "unavailable (503)"));
    assert!(sent > 1_000 && turned_away * 20 < sent, "{said}");
    let attempts = read_history(&cluster.system.history()).expect("a history");
    assert!(most_failures(&attempts) <= 1, "one retry cures them: {said}");
    cluster.stop();
}

/// Of each customer's wish, the attempts that were answered neither yes nor no: the most there are of one.
fn most_failures(attempts: &[Attempt]) -> usize {
    let mut failures = HashMap::new();
    let fails = |of: &&Attempt| matches!(of.outcome, Outcome::NotAccepted | Outcome::Unknown);
    for of in attempts.iter().filter(fails) {
        *failures.entry((&of.promotion_id, &of.customer_id, &of.key)).or_default() += 1;
    }
    failures.into_values().max().unwrap_or_default()
}

/// A number in what a crowd tells of itself; 0 where there is no such line.
fn counted(said: &str, what: &str) -> u32 {
    let line = said.lines().find_map(|line| line.split_once(what));
    let number = line.and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}
