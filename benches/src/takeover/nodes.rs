//! Command nodes in processes of their own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use seckill_load::{Ask, Fleet};

use crate::machine::free_port;

const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// A node, running or not. It is killed when dropped.
pub(super) struct Node {
    program: PathBuf,
    args: Vec<String>,
    port: u16,
    child: Option<Child>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Node {
    /// One that does not run yet.
    pub(super) fn new(program: &Path, name: &str, flags: &[&str]) -> Result<Self> {
        let (port, internal) = (free_port()?, free_port()?);
        let (listen, internal) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{internal}"));
        let own = ["command", "--name", name, "--listen", &listen, "--internal-listen", &internal];
        let args = own.iter().chain(flags).map(|word| (*word).to_owned()).collect();
        Ok(Self { program: program.to_owned(), args, port, child: None })
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it and waits until it is ready.
    pub(super) async fn start(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).args(["--log", "error"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let started = command.spawn();
        self.child = Some(started.with_context(|| format!("{}", self.program.display()))?);
        let deadline = Instant::now() + READY_WITHIN;
        while self.get("/readyz").await.is_err() {
            if Instant::now() > deadline {
                bail!("a node is not ready within {READY_WITHIN:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// What it answers with 200.
    pub(super) async fn get(&self, path: &str) -> Result<String> {
        let fleet = Fleet::new(&[self.url()], ASK_TIMEOUT)?;
        let answered = fleet.send(&Ask::get(path)?).await;
        let reply = answered.map_err(|error| anyhow::anyhow!("{path}: {error:?}"))?;
        if reply.status != 200 {
            bail!("{path} answers {}", reply.status);
        }
        Ok(String::from_utf8_lossy(&reply.body).into_owned())
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().and_then(|()| child.wait()); // it may have ended
        }
    }

    /// Tells it to stop.
    pub(super) fn terminate(&self) -> Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        let pid = Pid::from_raw(child.id().cast_signed()).context("it has no number")?;
        Ok(kill_process(pid, Signal::TERM)?)
    }
}
