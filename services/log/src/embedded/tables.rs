//! The compacted tables: one file for each key, replaced as a whole.
//!
//! A value lies behind the checksum of itself. One that is damaged is passed over: whatever is in a
//! table can be made again from the log.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::embedded::format::sync_folder;
use crate::{Entries, Table};

pub(super) const FOLDER: &str = "tables";
/// How the name of a file ends that is being written.
const NEW: &str = ".new";

/// Names of files that are being written never meet.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

pub(super) fn put(
    directory: &Path,
    table: Table,
    partition: u32,
    entries: &Entries,
) -> io::Result<()> {
    if !directory.is_dir() {
        return Err(io::ErrorKind::NotFound.into()); // deleted: not to be made again in part
    }
    let folder = folder(directory, table, partition);
    fs::create_dir_all(&folder)?;
    for (key, value) in entries {
        let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let new = folder.join(format!("{number}{NEW}"));
        let written = write(&new, value);
        if let Err(error) = written.and_then(|()| fs::rename(&new, folder.join(file_name(key)))) {
            let _ = fs::remove_file(&new); // its room may be what is missing
            return Err(error);
        }
    }
    sync_folder(&folder)
}

fn write(path: &Path, value: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&crc32fast::hash(value).to_le_bytes())?;
    file.write_all(value)?;
    file.sync_data()
}

/// Deletes what a process that was killed was writing. Before anything is written.
pub(super) fn tidy(directory: &Path) -> io::Result<()> {
    for table in read_folder(&directory.join(FOLDER))? {
        for partition in read_folder(&table)? {
            for file in read_folder(&partition)? {
                if file.to_str().is_some_and(|name| name.ends_with(NEW)) {
                    fs::remove_file(file)?;
                }
            }
        }
    }
    Ok(())
}

/// The paths in a folder; none where it is not there.
fn read_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A table that was never written is empty.
pub(super) fn scan(directory: &Path, table: Table, partition: u32) -> io::Result<Entries> {
    let mut entries = Entries::new();
    for path in read_folder(&folder(directory, table, partition))? {
        let Some(key) = key(&path) else { continue };
        match value(fs::read(&path)?) {
            Some(value) => entries.push((key, value)),
            None => tracing::warn!(file = %path.display(), "a damaged file is passed over"),
        }
    }
    Ok(entries)
}

/// None where there is no such key, or its file is damaged or cannot be read.
pub(super) fn get(directory: &Path, table: Table, partition: u32, key: &str) -> Option<Bytes> {
    let path = folder(directory, table, partition).join(file_name(key));
    match fs::read(&path) {
        Ok(bytes) => value(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "a file that cannot be read is passed over");
            None
        }
    }
}

/// Deletes the keys for which `is_meant` says so.
pub(super) fn delete(
    directory: &Path,
    table: Table,
    partition: u32,
    is_meant: impl Fn(&str) -> bool,
) -> io::Result<()> {
    let folder = folder(directory, table, partition);
    if !folder.exists() {
        return Ok(());
    }
    for file in fs::read_dir(&folder)? {
        let path = file?.path();
        if key(&path).is_some_and(|key| is_meant(&key)) {
            fs::remove_file(&path)?;
        }
    }
    sync_folder(&folder)
}

fn folder(directory: &Path, table: Table, partition: u32) -> PathBuf {
    let table = match table {
        Table::Snapshots => "snapshots",
        Table::Owners => "owners",
    };
    directory.join(FOLDER).join(table).join(format!("{partition:04}"))
}

/// Keys are this program's own: lower-case letters, digits, dashes and slashes.
fn file_name(key: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-/".contains(&byte);
    assert!(!key.is_empty() && key.bytes().all(plain), "{key:?} is no key of a table");
    format!("{}.value", key.replace('/', "."))
}

fn key(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.strip_suffix(".value")?.replace('.', "/"))
}

fn value(bytes: Vec<u8>) -> Option<Bytes> {
    let mut bytes = Bytes::from(bytes);
    let crc = bytes.get(..4)?.try_into().ok().map(u32::from_le_bytes)?;
    let value = bytes.split_off(4);
    (crc32fast::hash(&value) == crc).then_some(value)
}
