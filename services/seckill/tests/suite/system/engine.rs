//! A real engine of a test's own, to be killed, paused and started again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{fresh_name, signal};

/// One engine, on its own port and data. It is stopped when dropped.
pub(crate) struct Engine {
    /// `kafka` or `cql`, as `deploy/local/engines` names them.
    kind: &'static str,
    data: PathBuf,
    port: u16,
    brokers: u16,
}

impl Engine {
    pub(crate) fn kafka(port: u16) -> Self {
        Self::start("kafka", port, 1)
    }

    /// Several brokers of one Kafka.
    pub(crate) fn brokers(port: u16, brokers: u16) -> Self {
        Self::start("kafka", port, brokers)
    }

    pub(crate) fn cql(port: u16) -> Self {
        Self::start("cql", port, 1)
    }

    fn start(kind: &'static str, port: u16, brokers: u16) -> Self {
        let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(fresh_name());
        let engine = Self { kind, data, port, brokers };
        engine.up();
        engine
    }

    /// Of all brokers, each ten ports after the one before.
    pub(crate) fn address(&self) -> String {
        let ports = (0..self.brokers).map(|broker| self.port + 10 * broker);
        ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// Starts it, on the data that it has, and waits until it answers.
    pub(crate) fn up(&self) {
        assert!(self.engines("up", self.kind), "{} did not start", self.kind);
    }

    /// Starts one broker of several, the first of which is 1.
    pub(crate) fn up_one(&self, broker: u16) {
        assert!(self.engines("up", &format!("kafka-{broker}")), "broker {broker} did not start");
    }

    /// Where the script keeps it.
    fn broker(number: u16) -> String {
        if number == 1 { "kafka".to_owned() } else { format!("kafka-{number}") }
    }

    /// Stops it in good order.
    pub(crate) fn down(&self) {
        assert!(self.engines("down", self.kind), "{} did not stop", self.kind);
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// Deletes a topic with the broker's own tool.
    pub(crate) fn delete_topic(&self, topic: &str) {
        self.tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", topic]);
    }

    /// Runs one of the broker's own tools. What it says.
    pub(crate) fn tool(&self, class: &str, flags: &[&str]) -> String {
        let jars = std::env::var_os("SECKILL_ENGINES_JARS").map(PathBuf::from);
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let jars = jars.unwrap_or_else(|| top.join("target/engines-jars"));
        let folders = std::fs::read_dir(jars).expect("the jars of the engines");
        let mut folders = folders.map(|entry| entry.expect("an entry").path());
        let kafka = folders.find(|path| path.to_string_lossy().contains("/kafka-"));
        let output = Command::new("java")
            .arg("-cp")
            .arg(kafka.expect("the jars of Kafka").join("*"))
            .args([class, "--bootstrap-server", &self.address()])
            .args(flags)
            .output()
            .expect("java runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{class} {flags:?}: {said}");
        said
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        self.signal("KILL");
    }

    pub(crate) fn signal(&self, name: &str) {
        self.signal_to(self.kind, name);
    }

    /// Signals one broker of several.
    pub(crate) fn signal_one(&self, broker: u16, name: &str) {
        self.signal_to(&Self::broker(broker), name);
    }

    fn signal_to(&self, process: &str, name: &str) {
        let pid = std::fs::read_to_string(self.data.join(process).join("pid")).expect("a pid");
        signal(name, pid.trim().parse().expect("a pid"));
    }

    fn engines(&self, verb: &str, what: &str) -> bool {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/local/engines");
        let port = self.port.to_string();
        let brokers = self.brokers.to_string();
        let status = Command::new(script)
            .args([verb, what, "--data"])
            .arg(&self.data)
            .args([&format!("--{}-port", self.kind), &port])
            .args(["--brokers", &brokers])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        status.expect("the script runs").success()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.engines("down", self.kind);
        let _ = std::fs::remove_dir_all(&self.data);
    }
}
