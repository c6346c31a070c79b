//! The whole under faults: engines that stop, disks that fill up, damaged files, crowds above every
//! limit. Each of these tests runs alone.

#[cfg(feature = "real-engines")]
mod brokers;
#[cfg(feature = "real-engines")]
mod cut_off;
mod damage;
mod drill;
#[cfg(feature = "real-engines")]
mod left_open;
#[cfg(feature = "real-engines")]
mod loss;
mod lost_group;
#[cfg(feature = "real-engines")]
mod nodes;
#[cfg(feature = "real-engines")]
mod outages;
#[cfg(feature = "real-engines")]
mod projectors;
#[cfg(feature = "real-engines")]
mod roles;
mod serves_on;
#[cfg(feature = "real-engines")]
mod standstill;
#[path = "../suite/system/mod.rs"]
mod system;

use std::process::{Child, Output};
#[cfg(feature = "real-engines")]
use std::process::{Command, Stdio};

use tokio::sync::{Mutex, MutexGuard};

/// Held by the test that runs.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// A program that runs. It is told to stop when dropped.
struct Started(Option<Child>);

impl Started {
    const fn new(program: Child) -> Self {
        Self(Some(program))
    }

    /// Starts a command of the binary; what it says is kept until it has ended.
    #[cfg(feature = "real-engines")]
    fn run(verb: &str, flags: &[String]) -> Self {
        let mut command = Command::new(system::binary());
        command.arg(verb).args(flags).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::new(command.spawn().expect("the binary starts"))
    }

    #[cfg(feature = "real-engines")]
    fn has_ended(&mut self) -> bool {
        let program = self.0.as_mut().expect("it runs");
        program.try_wait().expect("it is known").is_some()
    }

    /// Sends it a signal, and waits until it has ended.
    fn stop(self, how: &str) -> Output {
        system::signal(how, self.0.as_ref().expect("it runs").id());
        self.output()
    }

    /// Waits until it has ended.
    fn output(mut self) -> Output {
        self.0.take().expect("it runs").wait_with_output().expect("it ends")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut program) = self.0.take() {
            system::signal("TERM", program.id());
            let _ = program.wait();
        }
    }
}
