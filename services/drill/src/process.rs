//! One process of this program.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use reqwest::Client;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tokio::time::Instant;

use crate::clock::{Clock, tidy_after};

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a process may take to stop in good order.
const STOPS_WITHIN: Duration = Duration::from_secs(30);
/// How long one question to it may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// A process, running or not. It is killed when dropped.
pub(crate) struct Process {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    port: u16,
    /// What it says.
    said: PathBuf,
    /// None where clocks cannot leap.
    clock: Option<Clock>,
    /// How much it had said before it was started last.
    begun: AtomicUsize,
    child: Mutex<Option<Child>>,
    /// SIGTERM was sent: its exit is expected.
    stopping: AtomicBool,
    /// It is not started again.
    closed: AtomicBool,
}

/// A process that can open nothing, until this is dropped.
pub(crate) struct Starved<'a> {
    pid: Pid,
    limit: Rlimit,
    process: &'a Process,
}

impl Drop for Starved<'_> {
    fn drop(&mut self) {
        // It may have ended, and another process may have its number.
        if self.process.pid().is_ok_and(|pid| pid == self.pid) {
            let _ = prlimit(Some(self.pid), Resource::Nofile, self.limit);
        }
    }
}

impl Process {
    /// One that does not run yet, serves at a port, and writes what it says to a folder.
    pub(crate) fn new(name: &str, args: Vec<String>, port: u16, folder: &Path) -> Result<Self> {
        let file = |kind| folder.join(format!("{}.{kind}", name.replace(' ', "-")));
        let program = std::env::current_exe().context("this program is not found")?;
        Ok(Self {
            name: name.to_owned(),
            program,
            args,
            port,
            said: file("log"),
            clock: Clock::new(file("clock"))?,
            begun: AtomicUsize::default(),
            child: Mutex::new(None),
            stopping: AtomicBool::default(),
            closed: AtomicBool::default(),
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it, in a process group of its own: Ctrl-C is for the drill.
    pub(crate) fn start(&self) -> Result<()> {
        self.start_in(&mut self.child.lock())
    }

    fn start_in(&self, child: &mut Option<Child>) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            bail!("the drill is over");
        }
        end(child);
        let said = File::options().create(true).append(true).open(&self.said)?;
        let begun = usize::try_from(said.metadata()?.len()).unwrap_or(usize::MAX);
        self.begun.store(begun, Ordering::Release);
        let started = self.command().stdout(said.try_clone()?).stderr(said).spawn();
        *child = Some(started.with_context(|| format!("{} cannot start", self.name))?);
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let listen = format!("127.0.0.1:{}", self.port);
        command.args(&self.args).args(["--listen", &listen]).stdin(Stdio::null()).process_group(0);
        // Where systems put a core by its name alone, it stands beside what the process said.
        if let Some(folder) = self.said.parent() {
            command.current_dir(folder);
        }
        self.clock.iter().for_each(|clock| clock.give_to(&mut command));
        command
    }

    /// Its number, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.lock().as_ref().map(Child::id)
    }

    fn pid(&self) -> Result<Pid> {
        let pid = self.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        pid.with_context(|| format!("{} does not run", self.name))
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// `kill -9`; says how it had ended before, if it had by itself.
    pub(crate) fn kill(&self) -> Option<String> {
        let mut child = self.child.lock();
        let ended = child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        end(&mut child);
        ended.and_then(|status| self.surprise(status))
    }

    /// `kill -9`, and it is not started again.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.kill();
    }

    /// SIGTERM, and waits for the end.
    pub(crate) async fn stop(&self) -> Result<()> {
        self.stopping.store(true, Ordering::Release);
        let stopped = self.end().await;
        self.stopping.store(false, Ordering::Release);
        stopped
    }

    async fn end(&self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + STOPS_WITHIN;
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                end(&mut self.child.lock());
                return match status.success() || self.gave_up(status) {
                    true => Ok(()),
                    false => bail!("{} was told to stop, and ended with {status}", self.name),
                };
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.kill();
        bail!("{} was told to stop, and had not within {STOPS_WITHIN:?}", self.name)
    }

    /// Its wall clock leaps, to so many seconds ahead of the right time.
    pub(crate) fn leap(&self, ahead_seconds: i32) -> Result<()> {
        self.clock.as_ref().context("its clock cannot leap")?.leap(ahead_seconds)
    }

    /// It can open nothing more than what it has open.
    pub(crate) fn starve(&self) -> Result<Starved<'_>> {
        let pid = self.pid()?;
        // The hard limit, which it has from here, stays: who has lowered it could not raise it again.
        let nothing = Rlimit { current: Some(0), ..getrlimit(Resource::Nofile) };
        let limit = prlimit(Some(pid), Resource::Nofile, nothing)?;
        Ok(Starved { pid, limit, process: self })
    }

    /// How it ended, if it did.
    fn ended(&self) -> io::Result<Option<ExitStatus>> {
        self.child.lock().as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// # Errors
    /// It has ended; with what it said last.
    pub(crate) fn assert_runs(&self) -> Result<()> {
        let Some(status) = self.ended()? else { return Ok(()) };
        let said = std::fs::read_to_string(&self.said).unwrap_or_default();
        let last = said.lines().last().unwrap_or_default();
        bail!("{} ended with {status}: {last}; see {}", self.name, self.said.display())
    }

    /// Starts it again where it has ended without being told to; says how, unless it had not been ready.
    pub(crate) fn look_after(&self) -> Result<Option<String>> {
        let mut child = self.child.lock();
        if self.stopping.load(Ordering::Acquire) {
            return Ok(None);
        }
        let ended = child.as_mut().map(Child::try_wait).transpose()?.flatten();
        let Some(status) = ended else { return Ok(None) };
        let surprise = self.surprise(status);
        self.start_in(&mut child)?;
        Ok(surprise)
    }

    /// One that gives up at its start, as an engine is not there, is no surprise.
    fn surprise(&self, status: ExitStatus) -> Option<String> {
        (!self.gave_up(status)).then(|| format!("{} ended by itself with {status}", self.name))
    }

    /// Whether it ended before it was ready, with what it was waiting for; or by a signal that it did not handle yet.
    fn gave_up(&self, status: ExitStatus) -> bool {
        let told = status.signal() == Some(Signal::TERM.as_raw());
        (status.code() == Some(1) || told) && !self.was_ready()
    }

    /// Since it was started last.
    fn was_ready(&self) -> bool {
        let said = std::fs::read(&self.said).unwrap_or_default();
        let since = said.get(self.begun.load(Ordering::Acquire)..).unwrap_or_default();
        String::from_utf8_lossy(since).contains("seckill is ready")
    }

    /// # Errors
    /// It is not ready; what it says of that.
    pub(crate) async fn ready(&self, client: &Client) -> Result<()> {
        let asked = client.get(format!("{}/readyz", self.url())).timeout(ASK_TIMEOUT).send();
        let answer = asked.await?;
        match answer.status().is_success() {
            true => Ok(()),
            false => bail!(answer.text().await?),
        }
    }

    /// Lines in which it says that it has panicked.
    pub(crate) fn panics(&self) -> Vec<String> {
        let said = std::fs::read(&self.said).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let panics = said.lines().filter(|line| line.contains("panicked at"));
        panics.map(|line| format!("{}: {line}", self.name)).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.close();
    }
}

/// It is gone then, in any case.
fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill().and_then(|()| child.wait());
        tidy_after(child.id());
    }
}
