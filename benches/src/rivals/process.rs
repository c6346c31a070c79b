//! A server in a process of its own, on a port and in a directory of its own.

use std::fs::read_to_string;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

const UP_WITHIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// It is stopped when dropped.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::INT); // it may have ended
        }
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a program that is to listen at a port, and waits until it does.
    pub(super) fn start(command: &mut Command, port: u16, log: &Path) -> Result<Self> {
        let said = std::fs::File::create(log)?;
        let name = command.get_program().to_owned();
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).process_group(0);
        let child = command.spawn().with_context(|| format!("{}", name.display()))?;
        let mut server = Self { child, port };
        let deadline = Instant::now() + UP_WITHIN;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if server.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("{} does not listen: {}", name.display(), last_line(log));
            }
            std::thread::sleep(LOOK);
        }
        Ok(server)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

fn last_line(log: &Path) -> String {
    let said = read_to_string(log).unwrap_or_default();
    said.lines().last().unwrap_or_default().to_owned()
}

/// Where a program is; none where it is not installed.
pub(super) fn find(name: &str, more: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(more.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}
