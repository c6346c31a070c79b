//! Each role in a process of its own, on Kafka and CQL.
#![cfg(feature = "real-engines")]

mod sale;

use std::fs::File;
use std::process::{Child, Command};
use std::time::Duration;

use sale::{Engines, Sale, binary, eventually, free_port, run, signal, text};

const PATIENCE: Duration = Duration::from_secs(60);

/// A role that runs. It is killed when dropped.
struct Role {
    name: &'static str,
    port: u16,
    process: Child,
}

impl Role {
    fn start(name: &'static str, system: &Sale) -> Self {
        let port = free_port();
        let log = system.data().with_extension(name);
        let log = File::create(log).expect("a file");
        let process = Command::new(binary())
            .arg(name)
            .args(system.flags())
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        Self { name, port, process }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn ready(&self) {
        eventually(self.name, PATIENCE, async || {
            let answer = reqwest::get(format!("{}/readyz", self.url())).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    fn stop(mut self) {
        signal("TERM", self.process.id());
        let status = self.process.wait().expect("it ends");
        assert!(status.success(), "{} ended with {status}", self.name);
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_over_four_processes_and_a_projector_more() {
    let system = Sale::closed(Engines::real());
    let command = Role::start("command", &system);
    let admin = Role::start("admin", &system);
    let projector = Role::start("projector", &system);
    let query = Role::start("query", &system);
    for role in [&command, &admin, &projector, &query] {
        role.ready().await;
    }
    let second = Role::start("projector", &system); // scaled out: they share the partitions
    second.ready().await;

    let (to, ask, open) = (command.url(), query.url(), admin.url());
    let load = ["--target", &to, "--query", &ask, "--admin", &open, "--quiet", "--clients", "50"]
        .into_iter()
        .chain(["--coupons", "500", "--customers", "2000", "--promotions", "4"]);
    let load = run("load", &load.map(str::to_owned).collect::<Vec<_>>());
    assert!(load.status.success(), "{}", text(&load));

    for role in [command, admin, query, projector, second] {
        role.stop();
    }
    system.assert_verified();
}
