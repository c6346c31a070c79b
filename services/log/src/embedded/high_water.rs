//! How far a partition is known to have been durable: written after every fsync of a batch, so that
//! a segment that has lost its end is noticed.
//!
//! Two slots take turns; the newest one whose checksum fits counts. The file itself is fsynced once
//! a second only: after a power cut it may be behind the log, never ahead of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut};

use crate::History;
use crate::embedded::format::sync_folder;

/// Name of the file in a partition's folder.
pub(super) const NAME: &str = "high-water";
/// Slots lie in different sectors of the disk.
const SLOT: u64 = 512;
const LENGTH: usize = 28;
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// An offset, and the hash of everything before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) next_offset: u64,
    pub(super) history: History,
}

/// The file while it is written.
pub(super) struct HighWater {
    file: File,
    written: u64,
    synced: Instant,
    dirty: bool,
}

impl HighWater {
    /// Opens the file for writing, made where it is missing. `mark` is where it begins.
    pub(super) fn open(folder: &Path, mark: Mark) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(folder.join(NAME))?;
        let written = newest(&file).map_or(0, |(number, _)| number);
        let mut high_water = Self { file, written, synced: Instant::now(), dirty: false };
        high_water.write(mark)?;
        high_water.sync()?;
        sync_folder(folder)?;
        Ok(high_water)
    }

    pub(super) fn write(&mut self, mark: Mark) -> io::Result<()> {
        self.written += 1;
        let slot = SLOT * (self.written % 2);
        self.file.write_all_at(&encode(self.written, mark), slot)?;
        self.dirty = true;
        if self.synced.elapsed() > SYNC_EVERY { self.sync() } else { Ok(()) }
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.dirty) {
            self.file.sync_data()?;
        }
        self.synced = Instant::now();
        Ok(())
    }
}

/// The mark in a partition's folder; none where there is none that can be read.
pub(super) fn read(folder: &Path) -> Option<Mark> {
    newest(&File::open(folder.join(NAME)).ok()?).map(|(_, mark)| mark)
}

fn newest(file: &File) -> Option<(u64, Mark)> {
    let slots = [0, SLOT].into_iter().filter_map(|position| {
        let mut bytes = [0; LENGTH];
        file.read_exact_at(&mut bytes, position).ok()?;
        decode(&bytes)
    });
    slots.max_by_key(|(number, _)| *number)
}

fn encode(number: u64, mark: Mark) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.put_u64_le(number);
    bytes.put_u64_le(mark.next_offset);
    bytes.put_u64_le(mark.history.number());
    bytes.put_u32_le(crc32fast::hash(&bytes));
    bytes
}

fn decode(bytes: &[u8; LENGTH]) -> Option<(u64, Mark)> {
    let (fields, mut crc) = bytes.split_at(LENGTH - 4);
    if crc.get_u32_le() != crc32fast::hash(fields) {
        return None;
    }
    let mut fields = fields;
    let (number, next_offset) = (fields.get_u64_le(), fields.get_u64_le());
    let history = History::from_number(fields.get_u64_le());
    (number > 0).then_some((number, Mark { next_offset, history }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(next_offset: u64) -> Mark {
        Mark { next_offset, history: History::from_number(next_offset * 3) }
    }

    #[test]
    fn the_newest_mark_counts_and_a_damaged_one_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read(folder.path()), None);
        let mut high_water = HighWater::open(folder.path(), mark(1)).expect("a file");
        assert_eq!(read(folder.path()), Some(mark(1)));
        for next_offset in 2..6 {
            high_water.write(mark(next_offset)).expect("written");
            assert_eq!(read(folder.path()), Some(mark(next_offset)));
        }
        drop(high_water);
        let mut high_water = HighWater::open(folder.path(), mark(6)).expect("a file");
        high_water.write(mark(7)).expect("written");
        let path = folder.path().join(NAME);
        let mut bytes = std::fs::read(&path).expect("bytes");
        bytes[9] ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        let after_first = read(folder.path()).expect("the other one");
        bytes[9] ^= 1;
        bytes[usize::try_from(SLOT).expect("small") + 9] ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        let after_second = read(folder.path()).expect("the other one");
        assert_eq!(after_first.next_offset.max(after_second.next_offset), 7);
        assert_eq!(after_first.next_offset.min(after_second.next_offset), 6);
    }
}
