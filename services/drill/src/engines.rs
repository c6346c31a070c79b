//! A broker and a database of the drill's own, which it may hurt.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use parking_lot::RwLock;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use crate::fault::Who;
use crate::proxy::{Proxy, SELDOM};

/// The port of a broker for its proxy, counted from the one for everybody else.
const PROXIED: u16 = 2;
/// From the ports of a broker to those of the next.
const NEXT: u16 = 10;

/// Both engines, through a script as `deploy/local/engines`.
pub(crate) struct Engines {
    script: PathBuf,
    data: PathBuf,
    kafka_port: u16,
    cql_port: u16,
    pub(crate) brokers: Vec<Proxy>,
    pub(crate) database: Proxy,
    /// Read while the script starts something, which must not come after the end.
    ended: RwLock<bool>,
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
    pub(crate) async fn new(script: &Path, data: &Path, brokers: u8) -> Result<Self> {
        let (kafka_port, cql_port) = (free_ports(NEXT * u16::from(brokers))?, free_ports(2)?);
        let ports = (0..u16::from(brokers)).map(|broker| kafka_port + NEXT * broker + PROXIED);
        let brokers = try_join_all(ports.map(|port| Proxy::to(port, SELDOM))).await?;
        let database = Proxy::to(cql_port, SELDOM).await?;
        let (script, data) = (script.canonicalize()?, data.to_owned());
        let ended = RwLock::default();
        Ok(Self { script, data, kafka_port, cql_port, brokers, database, ended })
    }

    pub(crate) fn up_all(&self) -> Result<()> {
        self.start(&[])
    }

    /// Stops both for good, whatever state they are in.
    pub(crate) fn end(&self) {
        let mut ended = self.ended.write();
        if std::mem::replace(&mut *ended, true) {
            return;
        }
        // A process that stands still does not stop either.
        for engine in self.all() {
            let _ = self.signal(engine, Signal::CONT);
        }
        if let Err(error) = self.run("down", &[]) {
            eprintln!("{error:#}");
        }
    }

    pub(crate) fn all(&self) -> Vec<Who> {
        (0..self.brokers.len()).map(Who::Broker).chain([Who::Database]).collect()
    }

    /// Where the brokers are for those who do not come by the proxies.
    pub(crate) fn kafka(&self) -> String {
        let ports = (self.kafka_port..).step_by(usize::from(NEXT)).take(self.brokers.len());
        list(ports)
    }

    /// The same for those who do.
    pub(crate) fn proxied_kafka(&self) -> String {
        list(self.brokers.iter().map(|proxy| proxy.port))
    }

    pub(crate) fn cql(&self) -> String {
        format!("127.0.0.1:{}", self.cql_port)
    }

    /// Starts one, on the data that it has, and waits until it answers.
    pub(crate) fn up(&self, engine: Who) -> Result<()> {
        self.start(&[&word(engine)])
    }

    pub(crate) fn signal(&self, engine: Who, signal: Signal) -> Result<()> {
        let pid = self.pid(engine).with_context(|| format!("{engine} does not run"))?;
        Ok(kill_process(pid, signal)?)
    }

    /// No file of it grows any more, until it is started again.
    pub(crate) fn fill_disk(&self, engine: Who) -> Result<()> {
        let pid = self.pid(engine).with_context(|| format!("{engine} does not run"))?;
        // The hard limit stays, as it is passed on to whatever the engine starts.
        let nothing = Rlimit { current: Some(0), ..getrlimit(Resource::Fsize) };
        prlimit(Some(pid), Resource::Fsize, nothing)?;
        Ok(())
    }

    /// The number alone proves nothing: another process may have it by now.
    fn pid(&self, engine: Who) -> Option<Pid> {
        let data = self.data.join(folder(engine));
        let pid = std::fs::read_to_string(data.join("pid")).ok()?;
        let command = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).ok()?;
        let is_ours = command.contains(&data.display().to_string());
        Pid::from_raw(pid.trim().parse().ok()?).filter(|_| is_ours)
    }

    fn start(&self, engines: &[&str]) -> Result<()> {
        let ended = self.ended.read();
        if *ended {
            bail!("the drill is over");
        }
        self.run("up", engines)
    }

    fn run(&self, verb: &str, engines: &[&str]) -> Result<()> {
        let output = self.command(verb, engines).output();
        let output = output.context("--engines: the script cannot be run")?;
        if !output.status.success() {
            let (said, error) = (output.stdout, output.stderr);
            let said = String::from_utf8_lossy(&[said, error].concat()).trim().to_owned();
            let words = [&[verb], engines].concat().join(" ");
            bail!("{} {words}: {}: {said}", self.script.display(), output.status);
        }
        Ok(())
    }

    fn command(&self, verb: &str, engines: &[&str]) -> Command {
        let proxies: Vec<_> = self.brokers.iter().map(|proxy| proxy.port.to_string()).collect();
        let mut command = Command::new(&self.script);
        command
            .arg(verb)
            .args(engines)
            .args([Path::new("--data"), &self.data])
            .args(["--kafka-port", &self.kafka_port.to_string()])
            .args(["--brokers", &self.brokers.len().to_string()])
            .args(["--kafka-proxy", &proxies.join(",")])
            .args(["--cql-port", &self.cql_port.to_string()])
            .stdin(Stdio::null())
            .process_group(0);
        command
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        self.end();
    }
}

/// As the script names it.
fn word(engine: Who) -> String {
    match engine {
        Who::Database => "cql".to_owned(),
        Who::Broker(number) => format!("kafka-{}", number + 1),
        _ => "kafka".to_owned(),
    }
}

/// Where the script keeps it.
fn folder(engine: Who) -> String {
    match engine {
        Who::Broker(0) => "kafka".to_owned(),
        _ => word(engine),
    }
}

/// Addresses of this machine, as settings have them.
fn list(ports: impl Iterator<Item = u16>) -> String {
    ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}
