//! The dashboard and the alerts, on a real Prometheus that scrapes a real sale.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};

use crate::system::{Engines, System, eventually, free_port};

const SOON: Duration = Duration::from_secs(60);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/monitoring")
}

/// Every alert fires when it is to, and none does in a sale that goes well.
#[test]
fn alerts_fire_when_they_are_to() {
    for words in [["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]] {
        let output = Command::new("promtool").args(words).current_dir(folder()).output();
        let output = output.expect("promtool; deploy/local/tools says how to install it");
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
    let read = |file| std::fs::read_to_string(folder().join(file)).expect(file);
    let (rules, tests) = (read("rules.yml"), read("rules.test.yml"));
    let alerts: Vec<&str> =
        rules.split("- alert: ").skip(1).filter_map(|rule| rule.lines().next()).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "nobody has {alert} fire");
    }
}

/// A Prometheus, which ends with the test.
struct Prometheus {
    process: Child,
    url: String,
    client: Client,
    _data: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: &str) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [folder().join("rules.yml")],
            "scrape_configs": [{"job_name": "seckill", "static_configs": [{"targets": [target]}]}],
        });
        let file = data.path().join("prometheus.yml"); // JSON is YAML
        std::fs::write(&file, config.to_string()).expect("a file");
        let listen = format!("127.0.0.1:{}", free_port());
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", data.path().join("data").display()))
            .arg(format!("--web.listen-address={listen}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus; deploy/local/tools says how to install it");
        let client = Client::builder().build().expect("a client");
        Self { process, url: format!("http://{listen}/api/v1/query"), client, _data: data }
    }

    /// What a query gives now; none where Prometheus does not take it, or is not there yet.
    async fn query(&self, query: &str) -> Option<Vec<Value>> {
        let asked = self.client.get(&self.url).query(&[("query", query)]).send().await.ok()?;
        let answer: Value = asked.json().await.ok()?;
        answer["data"]["result"].as_array().cloned()
    }

    async fn has(&self, query: &str) -> bool {
        let finite = |row: &Value| {
            let value = row["value"][1].as_str().and_then(|value| value.parse::<f64>().ok());
            value.is_some_and(f64::is_finite)
        };
        self.query(query).await.is_some_and(|rows| rows.iter().any(finite))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Title and query of everything that the dashboard shows, as Grafana would ask.
fn queries() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(folder().join("grafana/dashboard.json"));
    let dashboard: Value = serde_json::from_str(&text.expect("the dashboard")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let of_panel = |panel: &Value| {
        let title = panel["title"].as_str().expect("a title").to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| {
            let expr = target["expr"].as_str().expect("a query");
            let expr = expr.replace("$__rate_interval", "4s").replace("$job", ".*");
            (title.clone(), expr)
        })
    };
    panels.iter().flat_map(of_panel).collect()
}

#[tokio::test]
async fn every_panel_of_the_dashboard_has_data_in_a_sale() {
    // However full this machine's disk is.
    let mut sale = System::closed(Engines::Embedded).through("true", &["--disk-reserve", "1"]);
    sale.start().await;
    let prometheus = Prometheus::start(sale.url().trim_start_matches("http://"));
    sale.offer("spring", 100_000).await;
    for customer in 0..500 {
        assert_eq!(sale.grab("spring", &format!("early-{customer}")).await.status, 201);
    }
    // A rebuild that lasts, so that there is one to be seen.
    let slow = json!({"switch": "manual", "rate": 10});
    assert_eq!(sale.post("/v1/rebuild", slow).await.status, 202);
    let queries = queries();
    assert!(queries.len() > 30, "{queries:?}");
    let mut customer = 0;
    for (title, query) in queries {
        let what = format!("{title}: {query} has data");
        eventually(&what, SOON, async || {
            for _ in 0..20 {
                customer += 1;
                assert_eq!(sale.grab("spring", &format!("c{customer}")).await.status, 201);
            }
            prometheus.has(&query).await
        })
        .await;
    }
    assert_eq!(prometheus.query("ALERTS").await, Some(Vec::new()), "none fires, nor is about to");
    // An alert comes from what really is so.
    drop(sale);
    let down = async || prometheus.has("ALERTS{alertname=\"SecKillDown\"}").await;
    eventually("the alert that nobody answers is pending", SOON, down).await;
}
