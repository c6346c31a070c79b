//! A running system for a test: the real binary, on engines of its own, driven over HTTP.
#![allow(dead_code, reason = "every test file uses its part of this")]

pub(crate) mod crowd;
pub(crate) mod engine;
pub(crate) mod role;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where log and views are kept.
pub(crate) enum Engines {
    Embedded,
    /// Kafka and CQL at these addresses, under a name of the test's own.
    Real {
        kafka: String,
        cql: String,
        name: String,
    },
    /// Kafka at this address, views embedded.
    Kafka {
        kafka: String,
        name: String,
    },
}

/// A system, running or not. It is killed when dropped.
pub(crate) struct System {
    engines: Engines,
    directory: TempDir,
    data: PathBuf,
    port: u16,
    process: Option<Child>,
    client: Client,
    starts: u32,
    /// What the process is started through, and with which further flags.
    through: Vec<String>,
    more_flags: Vec<String>,
}

/// An answer: status, the body as JSON where it is, and as text.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) json: Value,
    pub(crate) text: String,
}

/// Waits for a condition; fails when it does not come about in time.
pub(crate) async fn eventually(
    what: &str,
    within: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let deadline = Instant::now() + within;
    while !condition().await {
        assert!(Instant::now() < deadline, "in vain for {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A file that `deploy/local/tools` has installed.
pub(crate) fn tool(path: &str) -> PathBuf {
    let tools = std::env::var("SECKILL_TEST_TOOLS");
    let tools = tools.expect("SECKILL_TEST_TOOLS must be set to what deploy/local/tools prints");
    let file = Path::new(&tools).join(path);
    assert!(file.exists(), "{} is not there; deploy/local/tools installs it", file.display());
    file
}

/// A port that nobody uses now.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Engines {
    /// The engines that `deploy/local/test` has started.
    pub(crate) fn real() -> Self {
        let address = |variable: &str| {
            std::env::var(variable)
                .unwrap_or_else(|_| panic!("{variable} must be set; deploy/local/test does it"))
        };
        Self::Real {
            kafka: address("SECKILL_TEST_KAFKA"),
            cql: address("SECKILL_TEST_CQL"),
            name: fresh_name(),
        }
    }

    fn flags(&self) -> Vec<String> {
        let flags: Vec<&str> = match self {
            Self::Embedded => vec![],
            Self::Real { kafka, cql, name } => {
                vec!["--kafka", kafka, "--kafka-prefix", name, "--cql", cql, "--cql-keyspace", name]
            }
            Self::Kafka { kafka, name } => vec!["--kafka", kafka, "--kafka-prefix", name],
        };
        flags.into_iter().map(str::to_owned).collect()
    }
}

/// A name that no other test has, for topics and keyspaces.
pub(crate) fn fresh_name() -> String {
    format!("t{}", uuid::Uuid::new_v4().simple())
}

impl System {
    /// Starts `seckill up` and waits until it is ready.
    pub(crate) async fn open(engines: Engines) -> Self {
        let mut sale = Self::closed(engines);
        sale.start().await;
        sale
    }

    pub(crate) fn closed(engines: Engines) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        Self::of(engines, directory, data)
    }

    /// A system on data that is there already.
    pub(crate) fn on(engines: Engines, data: &Path) -> Self {
        Self::of(engines, tempfile::tempdir().expect("a directory"), data.to_owned())
    }

    fn of(engines: Engines, directory: TempDir, data: PathBuf) -> Self {
        Self {
            engines,
            directory,
            data,
            port: free_port(),
            process: None,
            client: Client::builder().timeout(Duration::from_secs(20)).build().expect("a client"),
            starts: 0,
            through: Vec::new(),
            more_flags: Vec::new(),
        }
    }

    /// Starts the process through a shell that first does this, and with these flags.
    pub(crate) fn through(mut self, script: &str, more_flags: &[&str]) -> Self {
        let script = format!("{script}; exec \"$@\"");
        // A namespace of its own, so that it may mount what nobody else sees.
        let words = ["unshare", "--map-root-user", "--mount", "sh", "-ec", &script, "sh"];
        self.through = words.map(str::to_owned).to_vec();
        self.more_flags = more_flags.iter().map(|flag| (*flag).to_owned()).collect();
        self
    }

    /// The process is started with these flags too.
    pub(crate) fn with(mut self, more_flags: &[&str]) -> Self {
        self.more_flags = more_flags.iter().map(|flag| (*flag).to_owned()).collect();
        self
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Flags for any command that works on this system's engines.
    pub(crate) fn flags(&self) -> Vec<String> {
        let mut flags = vec!["--data".to_owned(), self.data().display().to_string()];
        flags.extend(self.engines.flags());
        flags
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("up.log")
    }

    /// Starts the process without waiting.
    pub(crate) fn spawn(&mut self) {
        self.starts += 1;
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a file");
        let words: Vec<&str> = self.through.iter().map(String::as_str).chain([binary()]).collect();
        let process = Command::new(words[0])
            .args(&words[1..])
            .arg("up")
            .args(self.flags())
            .args(&self.more_flags)
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        self.process = Some(process);
    }

    pub(crate) async fn start(&mut self) {
        self.spawn();
        self.ready(Duration::from_secs(60)).await;
    }

    pub(crate) async fn ready(&self, within: Duration) {
        eventually("the system is ready", within, async || self.is_ready().await).await;
    }

    pub(crate) async fn is_ready(&self) -> bool {
        let answer = self.client.get(format!("{}/readyz", self.url())).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it can be killed");
        process.wait().expect("it ends");
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        signal("TERM", process.id());
        let status = process.wait().expect("it ends");
        assert!(status.success(), "it ended with {status}:\n{}", self.last_lines());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Where what a crowd was told is written down.
    pub(crate) fn history(&self) -> PathBuf {
        self.data().with_file_name("history.jsonl")
    }

    /// Has a crowd come for three sales, by a way that flags of `seckill load` name, and holds the log against what it was
    /// told.
    pub(crate) fn assert_a_crowd_is_told_the_truth(mut self, way: [&str; 2]) {
        let (target, history) = (self.url(), self.history().display().to_string());
        let flags = ["--target", &target, "--clients", "300", "--promotions", "3"];
        let more = ["--coupons", "2000", "--customers", "8000", "--history", &history, "--quiet"];
        let flags: Vec<String> =
            flags.iter().chain(&way).chain(&more).map(|flag| (*flag).to_owned()).collect();
        let loaded = tokio::task::block_in_place(|| run("load", &flags));
        let said = text(&loaded);
        assert!(loaded.status.success() && said.contains("audit passed"), "{said}");
        self.stop();
        self.assert_kept_its_word();
    }

    /// `seckill verify` of a system that was stopped, with what its crowd was told.
    #[track_caller]
    pub(crate) fn assert_kept_its_word(&self) {
        let history = self.history().to_str().expect("a path").to_owned();
        let flags = [self.flags(), vec!["--history".to_owned(), history]].concat();
        let output = run("verify", &flags);
        let said = text(&output);
        assert!(output.status.success() && said.contains("requests of histories"), "{said}");
    }

    /// `seckill verify` on a system that was stopped.
    pub(crate) fn verify(&self) -> Output {
        run("verify", &self.flags())
    }

    #[track_caller]
    pub(crate) fn assert_verified(&self) {
        let output = self.verify();
        assert!(output.status.success(), "verify: {}", text(&output));
    }

    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.client.request(method, format!("{}{path}", self.url()));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, json, text })
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.request(Method::POST, path, Some(body)).await.expect("an answer")
    }

    /// Without a body.
    pub(crate) async fn post_plain(&self, path: &str) -> Answer {
        self.request(Method::POST, path, None).await.expect("an answer")
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.request(Method::PUT, path, Some(body)).await.expect("an answer")
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.request(Method::PATCH, path, Some(body)).await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, None).await.expect("an answer")
    }

    /// Creates a promotion that starts at once.
    pub(crate) async fn offer(&self, id: &str, coupons: u32) {
        let body = json!({"id": id, "name": id, "coupons": coupons, "discount": 0.7});
        let answer = self.post("/v1/promotions", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    pub(crate) async fn grab(&self, promotion: &str, customer: &str) -> Answer {
        let path = format!("/v1/promotions/{promotion}/grabs");
        self.post(&path, json!({"customer_id": customer})).await
    }

    /// All coupons of a promotion, page by page, once the view has reached `after`.
    pub(crate) async fn coupons(&self, promotion: &str, after: Option<&str>) -> Vec<Value> {
        let mut coupons = Vec::new();
        let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/promotions/{promotion}/coupons?limit=1000{after}{cursor}");
            let page = self.get(&path).await;
            assert_eq!(page.status, 200, "{page:?}");
            coupons.extend(page.json["items"].as_array().expect("items").iter().cloned());
            match page.json["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return coupons,
            }
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn process(&mut self) -> &mut Child {
        self.process.as_mut().expect("it runs")
    }

    /// Everything that the process has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    pub(crate) fn last_lines(&self) -> String {
        last_lines(&self.log())
    }

    /// Keeps all that the processes of the system wrote, and shows how each log ends.
    fn keep(&mut self) {
        self.directory.disable_cleanup(true);
        let files = std::fs::read_dir(self.directory.path()).into_iter().flatten().flatten();
        for path in files.map(|file| file.path()) {
            if path.extension().is_some_and(|of| of == "log") {
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                eprintln!("--- the end of {} ---\n{}", path.display(), last_lines(&log));
            }
        }
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

impl Drop for System {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_seckill")
}

/// Runs a command of the binary to its end.
pub(crate) fn run(command: &str, flags: &[String]) -> Output {
    Command::new(binary())
        .arg(command)
        .args(flags)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

pub(crate) fn text(output: &Output) -> String {
    let (out, error) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(error))
}

pub(crate) fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}
