//! The program under test, in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use seckill_load::{Ask, Fleet};

use crate::machine::free_port;

const READY_WITHIN: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// One of its roles, running or not. It is killed when dropped.
pub(crate) struct Program {
    path: PathBuf,
    args: Vec<String>,
    port: u16,
    child: Option<Child>,
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Program {
    /// One that does not run yet, on ports of its own.
    pub(crate) fn new(path: &Path, role: &str, flags: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        let own = [role, "--listen", &listen, "--log", "error"];
        let args = own.iter().chain(flags).map(|word| (*word).to_owned()).collect();
        Ok(Self { path: path.to_owned(), args, port, child: None })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Of its process, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        let deadline = Instant::now() + READY_WITHIN;
        while self.get("/readyz").await.is_err() {
            self.assert_running()?;
            if Instant::now() > deadline {
                bail!("{} is not ready within {READY_WITHIN:?}", self.path.display());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    fn assert_running(&mut self) -> Result<()> {
        let child = self.child.as_mut().context("it does not run")?;
        match child.try_wait()? {
            Some(status) => bail!("{} has ended: {status}", self.path.display()),
            None => Ok(()),
        }
    }

    pub(crate) fn spawn(&mut self) -> Result<()> {
        let mut command = Command::new(&self.path);
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::null());
        let started = command.spawn();
        self.child = Some(started.with_context(|| format!("{}", self.path.display()))?);
        Ok(())
    }

    /// What it answers with 200.
    pub(crate) async fn get(&self, path: &str) -> Result<String> {
        let fleet = Fleet::new(&[self.url()], ASK_TIMEOUT)?;
        let answered = fleet.send(&Ask::get(path)?).await;
        let reply = answered.map_err(|error| anyhow::anyhow!("{path}: {error:?}"))?;
        if reply.status != 200 {
            bail!("{path} answers {}", reply.status);
        }
        Ok(String::from_utf8_lossy(&reply.body).into_owned())
    }

    /// Sends it a crowd, by the load generator in a process of its own, and does not check what it was told.
    pub(crate) async fn load(&self, flags: &[String]) -> Result<seckill_load::Report> {
        let report = tempfile::NamedTempFile::new()?;
        let mut command = tokio::process::Command::new(&self.path);
        command.args(["load", "--target", &self.url(), "--no-audit", "--quiet", "--json"]);
        command.arg(report.path()).args(flags).kill_on_drop(true);
        let ended = command.stdin(Stdio::null()).output().await?;
        if !ended.status.success() {
            bail!("seckill load: {}", String::from_utf8_lossy(&ended.stderr).trim_end());
        }
        Ok(serde_json::from_slice(&std::fs::read(report.path())?)?)
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().and_then(|()| child.wait()); // it may have ended
        }
    }

    /// Tells it to stop.
    pub(crate) fn terminate(&self) -> Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        let pid = Pid::from_raw(child.id().cast_signed()).context("it has no number")?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.terminate()?;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }
}
