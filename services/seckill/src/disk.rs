//! Room on the disk of the embedded log: what is decided needs some, and a disk that is full to the last
//! byte fails whatever writes next. So commands are turned away while there is still a reserve.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;

use crate::settings::Settings;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// On a small disk the reserve is at most this part of it.
const MOST_OF_DISK: u64 = 10;

/// Follows the disk of the data; while there is no room, why. Ends with the last receiver.
pub(crate) fn follow(settings: &Settings) -> anyhow::Result<watch::Receiver<Option<String>>> {
    let (directory, reserve) = (settings.data.join("log"), settings.disk_reserve);
    let (room, following) = watch::channel(look(&directory, reserve)?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = room.closed() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            // A directory that is gone is the engine's to notice.
            let Ok(found) = look(&directory, reserve) else { continue };
            room.send_if_modified(|reason| {
                let changed = reason.is_some() != found.is_some();
                match (&found, changed) {
                    (Some(reason), true) => tracing::error!(reason, "no more is decided"),
                    (None, true) => tracing::info!("there is room on the disk again"),
                    (_, false) => {}
                }
                *reason = found;
                changed
            });
        }
    });
    Ok(following)
}

/// Has the free space of a directory's disk, and what is kept of it, set as gauges whenever somebody asks.
pub(crate) fn measure(directory: PathBuf, reserve: u64) -> impl Fn() + Send + Sync + 'static {
    metrics::describe_gauge!("seckill_disk_free_bytes", "Free space on the disk of --data");
    metrics::describe_gauge!(
        "seckill_disk_reserve_bytes",
        "Free space below which nothing more is decided"
    );
    move || {
        if let Ok((free, total)) = free_and_total(&directory) {
            metrics::gauge!("seckill_disk_free_bytes").set(free as f64);
            metrics::gauge!("seckill_disk_reserve_bytes").set(kept(reserve, total) as f64);
        }
    }
}

fn kept(reserve: u64, total: u64) -> u64 {
    reserve.min(total / MOST_OF_DISK)
}

fn look(directory: &Path, reserve: u64) -> anyhow::Result<Option<String>> {
    let (free, total) = free_and_total(directory)?;
    let kept = kept(reserve, total);
    Ok((free < kept).then(|| {
        let (free, kept) = (free >> 20, kept >> 20);
        let directory = directory.display();
        format!("no space left in {directory}: {free} MB are free, {kept} MB are kept in reserve")
    }))
}

fn free_and_total(directory: &Path) -> anyhow::Result<(u64, u64)> {
    let disk = rustix::fs::statvfs(directory).with_context(|| {
        format!("{}: the disk does not say how full it is", directory.display())
    })?;
    Ok((disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize))
}
