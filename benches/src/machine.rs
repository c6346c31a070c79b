//! Where it was measured, and what this process costs it. Reads /proc; elsewhere it knows less.

use std::fs::read_to_string;
use std::net::TcpListener;
use std::time::Duration;

use serde::Serialize;

/// Ticks of /proc/self/stat in a second: USER_HZ, which Linux fixes at 100.
const TICKS_PER_SECOND: u64 = 100;

/// Below this the process counts as quiet: what runs between two looks, in ticks.
const QUIET_TICKS: u64 = 2;
const LOOK: Duration = Duration::from_millis(200);
/// Looks after which it is time to go on, quiet or not.
const MOST_LOOKS: u32 = 50;

const LOCK: &str = include_str!("../../Cargo.lock");
const VERSIONS_OF: [&str; 5] = ["seckill-benches", "axum", "fjall", "rdkafka", "tokio"];

/// The machine and what was built.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) release_build: bool,
    pub(crate) versions: Vec<String>,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let cpu = read_to_string("/proc/cpuinfo").ok().and_then(|text| model_name(&text));
        let kernel = read_to_string("/proc/sys/kernel/osrelease").ok();
        Self {
            cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: kernel.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned()),
            release_build: !cfg!(debug_assertions),
            versions: versions(),
        }
    }
}

fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn versions() -> Vec<String> {
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    let locked = VERSIONS_OF.iter().filter_map(|name| locked(LOCK, name));
    locked.chain([format!("librdkafka {librdkafka}")]).collect()
}

/// A package and its version, from Cargo.lock.
fn locked(lock: &str, name: &str) -> Option<String> {
    let (_, after) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    let (version, _) = after.split_once('"')?;
    Some(format!("{name} {version}"))
}

/// Load averages of 1, 5 and 15 minutes.
pub(crate) fn load_average() -> String {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = text.split_whitespace().take(3).collect();
    if averages.is_empty() { "unknown".to_owned() } else { averages.join(" ") }
}

/// Processor time of this process so far.
pub(crate) fn cpu_time() -> Option<Duration> {
    let ticks = ticks(&read_to_string("/proc/self/stat").ok()?)?;
    Some(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

/// Of /proc/PID/stat, after the name: the parent; time of its own in user and kernel; of children that have ended.
const PARENT: usize = 1;
const TIMES: std::ops::Range<usize> = 11..15;

/// Processor time of a process and its children so far.
fn time_of(process: u32) -> Duration {
    let ticks = ids().filter_map(|id| {
        let fields = stat_fields(&read_to_string(format!("/proc/{id}/stat")).ok()?)?;
        let is_of_it = id == process || *fields.get(PARENT)? == u64::from(process);
        is_of_it.then(|| fields.get(TIMES).into_iter().flatten().sum::<u64>())
    });
    Duration::from_millis(ticks.sum::<u64>() * 1_000 / TICKS_PER_SECOND)
}

fn ids() -> impl Iterator<Item = u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Processes whose time is taken, each with a name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processes(Vec<(&'static str, u32)>);

impl Processes {
    /// And one more, unless it is not known.
    pub(crate) fn and(mut self, name: &'static str, process: Option<u32>) -> Self {
        self.0.extend(process.map(|process| (name, process)));
        self
    }

    pub(crate) fn times(&self) -> Vec<(&'static str, Duration)> {
        self.0.iter().map(|(name, process)| (*name, time_of(*process))).collect()
    }

    /// What they have spent since.
    pub(crate) fn since(
        &self,
        before: &[(&'static str, Duration)],
    ) -> Vec<(&'static str, Duration)> {
        let pairs = self.times().into_iter().zip(before);
        pairs.map(|((name, now), (_, before))| (name, now.saturating_sub(*before))).collect()
    }
}

/// The process of this machine that listens where HOST:PORT says; none where that cannot be found out.
pub(crate) fn listener(address: &str) -> Option<u32> {
    let port: u16 = address.split(',').next()?.rsplit_once(':')?.1.parse().ok()?;
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| read_to_string(table).ok());
    let sockets = tables.iter().flatten().find_map(|table| listening_at(port, table))?;
    let socket = format!("socket:[{sockets}]");
    ids().find(|id| {
        let files = std::fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        let mut targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        targets.any(|target| target.to_str() == Some(&socket))
    })
}

/// The inode of the socket that listens at a port, in a table of the kernel.
fn listening_at(port: u16, table: &str) -> Option<u64> {
    const LISTEN: &str = "0A";
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(local, 16) == Ok(port) && fields.get(3) == Some(&LISTEN);
        if is_it { fields.get(9)?.parse().ok() } else { None }
    })
}

/// User and kernel time.
fn ticks(stat: &str) -> Option<u64> {
    Some(stat_fields(stat)?.get(11..13)?.iter().sum())
}

/// The numbers after the name of a process; what is no number is 0. The name in parentheses may hold anything, so it is
/// skipped.
fn stat_fields(stat: &str) -> Option<Vec<u64>> {
    let (_, after_name) = stat.rsplit_once(')')?;
    Some(after_name.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

/// A port that nobody uses now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Waits until this process rests: until snapshots are written and compactions done.
pub(crate) async fn quiet() {
    let mut before = cpu_time();
    for _ in 0..MOST_LOOKS {
        tokio::time::sleep(LOOK).await;
        let now = cpu_time();
        let ran = now.zip(before).map(|(now, before)| now.saturating_sub(before));
        let most = Duration::from_millis(QUIET_TICKS * 1_000 / TICKS_PER_SECOND);
        if ran.is_none_or(|ran| ran <= most) {
            return;
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_the_name() {
        let stat = "7 (odd ) name) S 1 7 7 0 -1 0 0 0 0 0 123 45 0 0 20 0 4 0 1";
        assert_eq!(ticks(stat), Some(168));
        assert_eq!(ticks("nonsense"), None);
    }

    #[test]
    fn who_listens_is_found_by_the_port() {
        let listening = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listening.local_addr().expect("an address").to_string();
        assert_eq!(listener(&address), Some(std::process::id()));
        drop(listening);
        assert_eq!(listener(&address), None);
        assert!(time_of(std::process::id()) >= cpu_time().expect("a time"));
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        for name in VERSIONS_OF {
            assert!(locked(LOCK, name).is_some(), "{name}");
        }
    }
}
