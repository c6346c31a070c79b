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
}

impl Engine {
    pub(crate) fn kafka(port: u16) -> Self {
        Self::start("kafka", port)
    }

    pub(crate) fn cql(port: u16) -> Self {
        Self::start("cql", port)
    }

    fn start(kind: &'static str, port: u16) -> Self {
        let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(fresh_name());
        let engine = Self { kind, data, port };
        engine.up();
        engine
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it, on the data that it has, and waits until it answers.
    pub(crate) fn up(&self) {
        assert!(self.engines("up"), "{} did not start", self.kind);
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        self.signal("KILL");
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = std::fs::read_to_string(self.data.join(self.kind).join("pid")).expect("a pid");
        signal(name, pid.trim().parse().expect("a pid"));
    }

    fn engines(&self, verb: &str) -> bool {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/local/engines");
        let port = self.port.to_string();
        let status = Command::new(script)
            .args([verb, self.kind, "--data"])
            .arg(&self.data)
            .args([&format!("--{}-port", self.kind), &port])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        status.expect("the script runs").success()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.engines("down");
        let _ = std::fs::remove_dir_all(&self.data);
    }
}
