//! The system that is hurt: its processes, its engines, and the proxies between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::Client;
use rustix::process::Signal;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::engines::{Engines, free_ports};
use crate::fault::{Blow, Link, Trouble, Who};
use crate::process::Process;
use crate::proxy::{OFTEN, Proxy, Raging, Storm};
use crate::schedule::Shape;

/// Topics and tables have this name.
pub(crate) const NAME: &str = "drill";
/// How long everything may take to be ready, after a start and after all faults.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Until a process handles signals, or sees that its clock was set.
const FIRST_MOMENT: Duration = Duration::from_secs(1);
/// Further than a broker lets a client date what it writes.
const LEAP_S: i32 = 2 * 3_600;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Everything that runs, until its [`Cluster::end`].
pub(crate) struct Cluster {
    pub(crate) shape: Shape,
    processes: BTreeMap<Who, Process>,
    /// By node.
    customers: Vec<Proxy>,
    peers: Vec<Proxy>,
    pub(crate) engines: Option<Arc<Engines>>,
    /// Held by who hurts a process, until it runs again.
    turns: BTreeMap<Who, Mutex<()>>,
    client: Client,
}

/// Where the engines are, as flags of a command.
pub(crate) struct Flags {
    /// For the processes, through the proxies.
    of_processes: Vec<String>,
    /// For those who look at the end.
    pub(crate) of_tools: Vec<String>,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Flags {
    fn of(engines: Option<&Engines>, folder: &Path) -> Self {
        let Some(engines) = engines else {
            let data = words(&["--data", &folder.join("data").display().to_string()]);
            return Self { of_processes: data.clone(), of_tools: data };
        };
        let flags = |kafka: &str, cql: &str| {
            words(&["--kafka", kafka, "--kafka-prefix", NAME, "--cql", cql, "--cql-keyspace", NAME])
        };
        let database = format!("127.0.0.1:{}", engines.database.port);
        let proxied = flags(&engines.proxied_kafka(), &database);
        Self { of_processes: proxied, of_tools: flags(&engines.kafka(), &engines.cql()) }
    }
}

impl Cluster {
    /// One that does not run yet.
    pub(crate) async fn new(
        shape: Shape,
        engines: Option<Engines>,
        folder: &Path,
    ) -> Result<(Self, Flags)> {
        let flags = Flags::of(engines.as_ref(), folder);
        let client = Client::builder().no_proxy().build()?;
        let all = engines.iter().flat_map(Engines::all);
        let turns = all.map(|who| (who, Mutex::default())).collect();
        let engines = engines.map(Arc::new);
        let (processes, customers, peers) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut cluster = Self { shape, processes, customers, peers, engines, turns, client };
        cluster.add_all(&flags, folder).await?;
        Ok((cluster, flags))
    }

    async fn add_all(&mut self, flags: &Flags, folder: &Path) -> Result<()> {
        let Shape { nodes, projectors, .. } = self.shape;
        for number in 0..nodes {
            self.add_node(number, flags, folder).await?;
        }
        for who in (0..projectors).map(Who::Projector) {
            self.add(who, "projector", flags.of_processes.clone(), folder)?;
        }
        if self.shape.is_cluster() {
            // The operator's process knows no views.
            let of_log = flags.of_processes[..4].to_vec();
            self.add(Who::Admin, "admin", of_log, folder)?;
            self.add(Who::Gateway, "query", flags.of_processes.clone(), folder)?;
        }
        Ok(())
    }

    async fn add_node(&mut self, number: usize, flags: &Flags, folder: &Path) -> Result<()> {
        let (role, mut args) = match self.shape.is_cluster() {
            true => ("command", self.node_flags(number).await?),
            false => ("up", Vec::new()),
        };
        args.extend(flags.of_processes.iter().cloned());
        let port = self.add(Who::Node(number), role, args, folder)?;
        self.customers.push(Proxy::to(port, OFTEN).await?);
        Ok(())
    }

    /// Other nodes reach a node through a proxy too.
    async fn node_flags(&mut self, number: usize) -> Result<Vec<String>> {
        let internal = free_ports(1)?;
        let proxy = Proxy::to(internal, OFTEN).await?;
        let (listen, advertise) =
            (format!("127.0.0.1:{internal}"), format!("http://127.0.0.1:{}", proxy.port));
        self.peers.push(proxy);
        let name = node_name(number);
        let copies = if self.shape.brokers < 3 { "1" } else { "3" };
        let flags = ["--name", &name, "--internal-listen", &listen, "--advertise", &advertise];
        Ok(words(&[&flags[..], &["--kafka-replication", copies]].concat()))
    }

    fn add(&mut self, who: Who, role: &str, flags: Vec<String>, folder: &Path) -> Result<u16> {
        let port = free_ports(1)?;
        let args = [words(&[role]), flags].concat();
        let process = Process::new(&who.to_string(), args, port, folder)?;
        self.processes.insert(who, process);
        self.turns.insert(who, Mutex::default());
        Ok(port)
    }

    /// Ends everything at once, and for good.
    pub(crate) fn end(&self) {
        self.processes.values().for_each(Process::close);
        self.engines.iter().for_each(|engines| engines.end());
    }

    /// Starts everything, and waits until it is ready.
    pub(crate) async fn start(&self) -> Result<()> {
        if let Some(engines) = self.engines.clone() {
            tokio::task::spawn_blocking(move || engines.up_all()).await??;
        }
        self.processes.values().try_for_each(Process::start)?;
        tokio::select! {
            ready = self.ready() => ready,
            ended = self.one_ends() => ended,
        }
    }

    async fn one_ends(&self) -> Result<()> {
        loop {
            self.processes.values().try_for_each(Process::assert_runs)?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until every process says that it is ready.
    pub(crate) async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        for (who, process) in &self.processes {
            while let Err(said) = process.ready(&self.client).await {
                if Instant::now() > deadline {
                    bail!("{who} is not ready within {READY_WITHIN:?}: {said:#}");
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Stops every process in good order: what is wrong with that.
    pub(crate) async fn stop(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for process in self.processes.values() {
            wrong.extend(process.stop().await.err().map(|error| format!("{error:#}")));
        }
        wrong.extend(self.processes.values().flat_map(Process::panics));
        wrong
    }

    /// Starts whatever has ended by itself again: says what.
    pub(crate) fn look_after(&self) -> Result<Vec<String>> {
        let ended: Result<Vec<_>> = self.processes.values().map(Process::look_after).collect();
        Ok(ended?.into_iter().flatten().collect())
    }

    /// Where customers go: through proxies.
    pub(crate) fn for_customers(&self) -> Vec<String> {
        self.customers.iter().map(|proxy| format!("http://127.0.0.1:{}", proxy.port)).collect()
    }

    /// Where a process is; with embedded engines one process is everybody.
    pub(crate) fn url(&self, who: Who) -> String {
        let process = self.processes.get(&who).or_else(|| self.processes.get(&Who::Node(0)));
        process.map(Process::url).unwrap_or_default()
    }

    /// Hurts a process for some time; not where it has yet to recover from what was done to it before.
    pub(crate) async fn strike(&self, blow: Blow, who: Who, lasts: Duration) -> Result<bool> {
        let turn = self.turns.get(&who).with_context(|| format!("there is no {who}"))?;
        let Ok(_turn) = turn.try_lock() else { return Ok(false) };
        match self.processes.get(&who) {
            Some(process) => strike_process(blow, process, lasts).await?,
            None => self.strike_engine(blow, who, lasts).await?,
        }
        Ok(true)
    }

    async fn strike_engine(&self, blow: Blow, who: Who, lasts: Duration) -> Result<()> {
        let engines = self.engines.clone().context("the engines are not ours")?;
        match blow {
            Blow::Pause => engines.signal(who, Signal::STOP)?,
            Blow::NoSpace => engines.fill_disk(who)?,
            _ => engines.signal(who, Signal::KILL)?,
        }
        tokio::time::sleep(lasts).await;
        match blow {
            Blow::Pause => return engines.signal(who, Signal::CONT),
            Blow::NoSpace => drop(engines.signal(who, Signal::KILL)), // it may have ended
            _ => {}
        }
        tokio::task::spawn_blocking(move || engines.up(who)).await?
    }

    /// Has trouble on connections until the answer is dropped.
    pub(crate) fn raise(&self, trouble: Trouble, link: Link) -> Vec<Raging> {
        let engines = self.engines.as_deref();
        let brokers = || engines.iter().flat_map(|engines| &engines.brokers).collect();
        let (proxies, of): (Vec<&Proxy>, _) = match link {
            Link::Customers(node) => (self.customers.get(node).into_iter().collect(), None),
            Link::Peers(node) => (self.peers.get(node).into_iter().collect(), None),
            Link::AllPeers => (self.peers.iter().collect(), None),
            Link::Brokers => (brokers(), None),
            // Nobody's, where it does not run.
            Link::BrokersOf(who) => match self.client_name(who) {
                Some(name) => (brokers(), Some(name)),
                None => (Vec::new(), None),
            },
            Link::Database => {
                (engines.map(|engines| &engines.database).into_iter().collect(), None)
            }
        };
        let raise = |proxy: &Proxy| proxy.raise(Storm { trouble, of: of.clone() });
        proxies.into_iter().map(raise).collect()
    }

    /// How a process names itself to Kafka; a projector has the default name of every process.
    fn client_name(&self, who: Who) -> Option<String> {
        let name = match who {
            Who::Node(number) => node_name(number),
            _ => {
                let machine = rustix::system::uname();
                let host = machine.nodename().to_string_lossy();
                format!("projector-{host}-{}", self.processes.get(&who)?.id()?)
            }
        };
        Some(format!("seckill.{name}"))
    }
}

fn node_name(number: usize) -> String {
    format!("node-{number}")
}

/// Starts it again, and gives it a moment: before it handles signals SIGTERM is a kill.
async fn start(process: &Process) -> Result<()> {
    process.start()?;
    tokio::time::sleep(FIRST_MOMENT).await;
    Ok(())
}

/// Sets its clock wrong, and right again, and gives it a moment to see that.
async fn leap(process: &Process, ahead_seconds: i32, lasts: Duration) -> Result<()> {
    process.leap(ahead_seconds)?;
    tokio::time::sleep(lasts).await;
    process.leap(0)?;
    tokio::time::sleep(FIRST_MOMENT).await;
    Ok(())
}

async fn strike_process(blow: Blow, process: &Process, lasts: Duration) -> Result<()> {
    match blow {
        Blow::Kill => {
            let ended = process.kill();
            tokio::time::sleep(lasts).await;
            start(process).await.and(ended.map_or(Ok(()), |ended| bail!("{ended} before")))
        }
        Blow::Stop => {
            let stopped = process.stop().await;
            tokio::time::sleep(lasts).await;
            start(process).await.and(stopped)
        }
        Blow::Pause => {
            process.signal(Signal::STOP)?;
            tokio::time::sleep(lasts).await;
            process.signal(Signal::CONT)
        }
        Blow::Ahead => leap(process, LEAP_S, lasts).await,
        Blow::Behind => leap(process, -LEAP_S, lasts).await,
        Blow::NoSpace => bail!("the disk of a process is not filled"),
        Blow::NoDescriptors => {
            let _starved = process.starve()?;
            tokio::time::sleep(lasts).await;
            Ok(())
        }
    }
}
