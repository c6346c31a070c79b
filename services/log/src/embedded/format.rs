//! What a directory must be to hold a log: the file `format`, the lock, and a folder a partition.
//!
//! `format` is written last when a log is made, so a directory without it holds none, or one that
//! was damaged; which of both, the other files tell.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::embedded::{high_water, segment, tables};
use crate::{Damage, LogError};

const FORMAT: &str = "format";
const LOCK: &str = "lock";
const VERSION: u32 = 2;

/// The folder of a partition.
pub(super) fn partition_folder(directory: &Path, partition: u32) -> PathBuf {
    directory.join(format!("partition-{partition:04}"))
}

/// Makes what was created or renamed in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes it durable that a file or a folder is where it is.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// Whether there is a log that was made to the end.
pub(super) fn is_there(directory: &Path) -> bool {
    directory.join(FORMAT).exists()
}

/// Where the lock is.
pub(super) fn lock_path(directory: &Path) -> PathBuf {
    directory.join(LOCK)
}

/// Takes the directory for this process alone, or for reading beside other readers.
pub(super) fn lock(directory: &Path, alone: bool) -> Result<File, LogError> {
    let path = lock_path(directory);
    let file = File::options().create(alone).truncate(false).read(true).write(alone).open(&path);
    let file = file.map_err(|error| cannot(&path, &error))?;
    let locked = if alone { file.try_lock() } else { file.try_lock_shared() };
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(cannot(&path, &error)),
    }
}

/// The partitions of the log in a directory; none where there is no log.
pub(super) fn read(directory: &Path) -> Result<Option<u32>, LogError> {
    let path = directory.join(FORMAT);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return absent(directory, path),
        Err(error) => return Err(cannot(&path, &error)),
    };
    match parse(&text) {
        Some(partitions) => Ok(Some(partitions)),
        None => Err(damage(path, "it is not what this version wrote")),
    }
}

/// Without `format`: no log, a log of another version, or one that has lost the file.
fn absent(directory: &Path, path: PathBuf) -> Result<Option<u32>, LogError> {
    if directory.join("keyspaces").exists() {
        return Err(LogError::OldFormat(directory.to_owned()));
    }
    if has_records(directory).map_err(|error| cannot(directory, &error))? {
        return Err(damage(path, "the file is missing, and there are records beside it"));
    }
    Ok(None)
}

/// A log that was never finished being made has folders and empty segments, and nothing else.
fn has_records(directory: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == tables::FOLDER || (name.starts_with("partition-") && is_used(&path)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_used(partition: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(partition)? {
        let entry = entry?;
        let is_mark = entry.file_name() == high_water::NAME;
        if !is_mark && entry.metadata()?.len() > segment::FIRST_BATCH {
            return Ok(true);
        }
    }
    Ok(high_water::read(partition).is_some_and(|mark| mark.next_offset > 0))
}

pub(super) fn write(directory: &Path, partitions: u32) -> Result<(), LogError> {
    let path = directory.join(FORMAT);
    let write = || {
        let new = directory.join("format.new");
        let mut file = File::create(&new)?;
        file.write_all(text(partitions).as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        sync_folder(directory)?;
        sync_parent(directory)
    };
    write().map_err(|error| cannot(&path, &error))
}

fn text(partitions: u32) -> String {
    let lines = format!("seckill-log {VERSION}\npartitions {partitions}\n");
    let checksum = crc32fast::hash(lines.as_bytes());
    format!("{lines}checksum {checksum:08x}\n")
}

fn parse(bytes: &[u8]) -> Option<u32> {
    let found = std::str::from_utf8(bytes).ok()?;
    let partitions = found.lines().nth(1)?.strip_prefix("partitions ")?.parse().ok()?;
    (found == text(partitions)).then_some(partitions)
}

/// An operating error of a file.
pub(super) fn cannot(path: &Path, error: &io::Error) -> LogError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            LogError::Unavailable(format!("no space left in {}", path.display()))
        }
        _ => LogError::Broken(format!("{}: {error}", path.display())),
    }
}

fn damage(file: PathBuf, what: &str) -> LogError {
    let what = what.to_owned();
    Box::new(Damage { file, position: 0, partition: 0, offset: 0, what }).into()
}
