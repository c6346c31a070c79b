//! A broker and a database of the drill's own, which it may hurt.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

use crate::fault::Who;
use crate::proxy::{Proxy, SELDOM};

/// Ports of a broker that follow one another: for those who do not come by the proxy, for its controller, and
/// for those who do.
const PORTS_OF_BROKER: u16 = 3;
const PROXIED: u16 = 2;

/// Both engines, through a script as `deploy/local/engines`.
pub(crate) struct Engines {
    script: PathBuf,
    data: PathBuf,
    kafka_port: u16,
    cql_port: u16,
    pub(crate) broker: Proxy,
    pub(crate) database: Proxy,
    /// The script runs once at a time.
    turn: Mutex<()>,
}

/// Below those that a system gives to who connects: one of these stays free while nobody listens.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A port that nobody uses now, and neither those after it, so many in all.
pub(crate) fn free_ports(count: u16) -> Result<u16> {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let firsts = std::iter::repeat_with(|| rand::random_range(PORTS)).take(1_000);
    let first = firsts.into_iter().find(|first| (*first..first + count).all(is_free));
    first.with_context(|| format!("no {count} ports in a row are free"))
}

impl Engines {
    /// They do not run yet, and will on data in a folder.
    pub(crate) async fn new(script: &Path, data: &Path) -> Result<Self> {
        let (kafka_port, cql_port) = (free_ports(PORTS_OF_BROKER)?, free_ports(2)?);
        let broker = Proxy::to(kafka_port + PROXIED, SELDOM).await?;
        let database = Proxy::to(cql_port, SELDOM).await?;
        let script = script.canonicalize();
        let script = script.context("--engines: there is no such script")?;
        let data = std::path::absolute(data)?;
        let turn = Mutex::default();
        Ok(Self { script, data, kafka_port, cql_port, broker, database, turn })
    }

    pub(crate) fn up_all(&self) -> Result<()> {
        self.run("up", &[])
    }

    /// Stops both, whatever state they are in.
    pub(crate) fn end(&self) {
        // A process that stands still does not stop either.
        let _ = [Who::Broker, Who::Database].map(|engine| self.signal(engine, Signal::CONT));
        if let Err(error) = self.run("down", &[]) {
            eprintln!("{error:#}");
        }
    }

    /// Where the broker is for those who do not come by the proxy.
    pub(crate) fn kafka(&self) -> String {
        format!("127.0.0.1:{}", self.kafka_port)
    }

    pub(crate) fn cql(&self) -> String {
        format!("127.0.0.1:{}", self.cql_port)
    }

    /// Starts one, on the data that it has, and waits until it answers.
    pub(crate) fn up(&self, engine: Who) -> Result<()> {
        self.run("up", &[word(engine)])
    }

    pub(crate) fn signal(&self, engine: Who, signal: Signal) -> Result<()> {
        let pid = self.pid(engine).with_context(|| format!("{engine} does not run"))?;
        Ok(kill_process(pid, signal)?)
    }

    /// The number alone proves nothing: another process may have it by now.
    fn pid(&self, engine: Who) -> Option<Pid> {
        let data = self.data.join(word(engine));
        let pid = std::fs::read_to_string(data.join("pid")).ok()?;
        let command = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).ok()?;
        let is_ours = command.contains(&data.display().to_string());
        Pid::from_raw(pid.trim().parse().ok()?).filter(|_| is_ours)
    }

    fn run(&self, verb: &str, engines: &[&str]) -> Result<()> {
        let _turn = self.turn.lock();
        let output = self.command(verb, engines).output();
        let output = output.context("--engines: the script cannot be run")?;
        if !output.status.success() {
            let (said, error) = (output.stdout, output.stderr);
            let said = String::from_utf8_lossy(&[said, error].concat()).trim().to_owned();
            bail!("engines {verb} {}: {said}", engines.join(" "));
        }
        Ok(())
    }

    fn command(&self, verb: &str, engines: &[&str]) -> Command {
        let mut command = Command::new(&self.script);
        command
            .arg(verb)
            .args(engines)
            .args([Path::new("--data"), &self.data])
            .args(["--kafka-port", &self.kafka_port.to_string()])
            .args(["--kafka-proxy", &self.broker.port.to_string()])
            .args(["--cql-port", &self.cql_port.to_string()])
            .stdin(Stdio::null());
        command
    }
}

/// As the script names it.
const fn word(engine: Who) -> &'static str {
    match engine {
        Who::Database => "cql",
        _ => "kafka",
    }
}
