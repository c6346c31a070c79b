//! One role in a process of its own.

use std::fs::File;
use std::process::{Child, Command};
use std::time::Duration;

use super::{System, binary, eventually, free_port, signal};

pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A role that runs. It is killed when dropped.
pub(crate) struct Role {
    name: &'static str,
    port: u16,
    process: Child,
}

impl Role {
    pub(crate) fn start(name: &'static str, system: &System) -> Self {
        Self::start_at(name, system, free_port())
    }

    /// Where another one was before.
    pub(crate) fn start_at(name: &'static str, system: &System, port: u16) -> Self {
        let log = system.data().with_file_name(format!("{name}-{port}.log"));
        let log = File::options().create(true).append(true).open(log).expect("a file");
        let process = Command::new(binary())
            .arg(name)
            .args(flags_of(name, system))
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        Self { name, port, process }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(name, self.process.id());
    }

    pub(crate) async fn ready(&self) {
        eventually(self.name, READY_TIMEOUT, async || {
            let answer = reqwest::get(format!("{}/readyz", self.url())).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    pub(crate) fn stop(mut self) {
        signal("TERM", self.process.id());
        let status = self.process.wait().expect("it ends");
        assert!(status.success(), "{} ended with {status}", self.name);
    }
}

/// Those of the system's flags that the role uses.
pub(crate) fn flags_of(name: &str, system: &System) -> Vec<String> {
    let unused: &[&str] = match name {
        "admin" => &["--data", "--cql", "--cql-keyspace"],
        _ => &["--data"],
    };
    let flags = system.flags();
    let used = flags.chunks(2).filter(|pair| !unused.contains(&pair[0].as_str()));
    used.flatten().cloned().collect()
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
