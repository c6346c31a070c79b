//! A wall clock of a process's own, which may leap: that of libfaketime, where it is installed. The monotonic clock is
//! left alone, as it is when somebody sets the clock of a machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// Where distributions keep it; the part in the middle is the architecture, on Debian.
const FOLDERS: [&str; 3] = ["/usr/lib", "/usr/lib64", "/usr/local/lib"];
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// What a killed process leaves of it.
const LEFT: [&str; 2] = ["/dev/shm/faketime_shm_", "/dev/shm/sem.faketime_sem_"];

/// The clock that a process sees.
pub(crate) struct Clock {
    library: PathBuf,
    /// Says by how much it is ahead.
    lead: PathBuf,
}

/// The library, where it is installed.
pub(crate) fn library() -> Option<PathBuf> {
    let folders = FOLDERS.iter().map(PathBuf::from);
    let mut folders: Vec<_> = folders.collect();
    let by_architecture = fs::read_dir(FOLDERS[0]).into_iter().flatten().flatten();
    folders.extend(by_architecture.map(|entry| entry.path()));
    folders.into_iter().map(|folder| folder.join(LIBRARY)).find(|library| library.is_file())
}

impl Clock {
    /// A right one, for a process that is yet to be started; its lead is kept in a file.
    pub(crate) fn new(lead: PathBuf) -> Result<Option<Self>> {
        let Some(library) = library() else { return Ok(None) };
        let clock = Self { library, lead };
        clock.leap(0)?;
        Ok(Some(clock))
    }

    pub(crate) fn give_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.lead)
            .env("FAKETIME_CACHE_DURATION", "0") // looked at anew in each second
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }

    /// Sets it ahead of the right time, or behind, for a process that may be running. It sees that within a second.
    pub(crate) fn leap(&self, ahead_seconds: i32) -> Result<()> {
        let whole = self.lead.with_extension("new");
        let written = fs::write(&whole, format!("{ahead_seconds:+}\n"));
        written.and_then(|()| fs::rename(whole, &self.lead)).context("a clock cannot be set")
    }
}

/// Removes what a process has left that could not do so itself.
pub(crate) fn tidy_after(process: u32) {
    for left in LEFT {
        let _ = fs::remove_file(Path::new(&format!("{left}{process}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_by_how_much_it_is_ahead_or_behind() {
        let folder = std::env::temp_dir().join(format!("drill-clock-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let clock = Clock { library: PathBuf::new(), lead: folder.join("clock") };
        for (seconds, said) in [(3_600, "+3600\n"), (-3_600, "-3600\n"), (0, "+0\n")] {
            clock.leap(seconds).expect("it is set");
            assert_eq!(fs::read_to_string(&clock.lead).expect("a file"), said);
        }
        fs::remove_dir_all(folder).expect("it is removed");
    }
}
