//! The whole under faults: engines that stop, disks that fill up, damaged files, crowds above every
//! limit. Each of these tests runs alone.

#[cfg(feature = "real-engines")]
mod brokers;
#[cfg(feature = "real-engines")]
mod cut_off;
mod damage;
mod drill;
#[cfg(feature = "real-engines")]
mod loss;
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

use tokio::sync::{Mutex, MutexGuard};

/// Held by the test that runs.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}
