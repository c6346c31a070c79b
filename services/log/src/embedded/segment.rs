//! Segments: the files of one partition, each named by the offset of its first record.
//!
//! A segment begins with a header of 48 bytes, little-endian: magic, CRC-32 of what follows in the
//! header, partition, a reserved word, the base offset, the history before it, the base offset of the
//! segment before it, and how long that is. So a sealed segment that is gone or has become shorter is
//! noticed without reading it.
//! Batches follow. Room is made ahead by writing zeros: syncing into it is quicker than growing.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut};

use crate::History;
use crate::embedded::batch::{self, Batch};
use crate::embedded::format::sync_folder;

pub(super) const HEADER: usize = 48;
/// The same as a position in a file.
pub(super) const FIRST_BATCH: u64 = HEADER as u64;
const MAGIC: &[u8; 4] = b"SKS1";
const ENDING: &str = ".segment";
/// Read at once.
const WINDOW: usize = 256 * 1024;

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) partition: u32,
    pub(super) base: u64,
    pub(super) history: History,
    /// Base offset and bytes of the segment before; 0 for the first.
    pub(super) base_before: u64,
    pub(super) length_before: u64,
}

pub(super) fn path(folder: &Path, base: u64) -> PathBuf {
    folder.join(format!("{base:020}{ENDING}"))
}

/// The base offsets of the segments in a folder, in order.
pub(super) fn list(folder: &Path) -> io::Result<Vec<u64>> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let base = name.to_str().and_then(|name| name.strip_suffix(ENDING)?.parse::<u64>().ok());
        bases.extend(base);
    }
    bases.sort_unstable();
    Ok(bases)
}

/// Makes an empty segment, durably.
pub(super) fn create(folder: &Path, header: Header) -> io::Result<File> {
    let path = path(folder, header.base);
    let file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
    file.write_all_at(&header.encode(), 0)?;
    synced(file.sync_all())?;
    synced(sync_folder(folder))?;
    Ok(file)
}

/// A sync that failed is told once, and nobody knows then what is on the disk: never a mere want of
/// space, whatever the system calls it.
pub(super) fn synced(result: io::Result<()>) -> io::Result<()> {
    result.map_err(|error| io::Error::other(format!("a sync has failed: {error}")))
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(0);
        bytes.put_u32_le(self.partition);
        bytes.put_u32_le(0);
        bytes.put_u64_le(self.base);
        bytes.put_u64_le(self.history.number());
        bytes.put_u64_le(self.base_before);
        bytes.put_u64_le(self.length_before);
        let crc = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER)?;
        let mut fields = &bytes[4..];
        if &bytes[..4] != MAGIC || fields.get_u32_le() != crc32fast::hash(&bytes[8..]) {
            return None;
        }
        let (partition, _) = (fields.get_u32_le(), fields.get_u32_le());
        Some(Self {
            partition,
            base: fields.get_u64_le(),
            history: History::from_number(fields.get_u64_le()),
            base_before: fields.get_u64_le(),
            length_before: fields.get_u64_le(),
        })
    }

    pub(super) fn read(file: &File) -> Option<Self> {
        let mut bytes = [0; HEADER];
        file.read_exact_at(&mut bytes, 0).ok()?;
        Self::decode(&bytes)
    }
}

/// Reads the batches of a segment one after another.
pub(super) struct Batches {
    file: File,
    position: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Batches {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self { file, position: FIRST_BATCH, window: Vec::new(), window_at: 0 })
    }

    /// Where the next batch begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Goes past batches that end before an offset, by their headers alone.
    pub(super) fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        loop {
            let header = self.bytes(batch::HEADER)?;
            let passed = batch::offsets(header).is_some_and(|offsets| offsets.end <= offset);
            match batch::length(header) {
                Some(length) if passed => self.position += length as u64,
                Some(_) | None => return Ok(()),
            }
        }
    }

    /// The next batch; none at the end, and where there is something else.
    pub(super) fn next(&mut self) -> io::Result<Option<Batch>> {
        let found = self.decode()?;
        if found.is_some() {
            return Ok(found);
        }
        self.window.clear(); // written since it was read
        self.decode()
    }

    fn decode(&mut self) -> io::Result<Option<Batch>> {
        let Some(length) = batch::length(self.bytes(batch::HEADER)?) else { return Ok(None) };
        let found = batch::decode(self.bytes(length)?);
        self.position += found.as_ref().map_or(0, |_| length as u64);
        Ok(found)
    }

    /// So many bytes from the position on; fewer where the file ends.
    fn bytes(&mut self, length: usize) -> io::Result<&[u8]> {
        let begin = self.position.checked_sub(self.window_at);
        let begin = begin.and_then(|begin| usize::try_from(begin).ok());
        match begin {
            Some(begin) if begin + length <= self.window.len() => {
                Ok(&self.window[begin..begin + length])
            }
            Some(_) | None => {
                self.fill(length.max(WINDOW))?;
                Ok(&self.window[..length.min(self.window.len())])
            }
        }
    }

    fn fill(&mut self, length: usize) -> io::Result<()> {
        self.window.resize(length, 0);
        let mut read = 0;
        while read < length {
            match self.file.read_at(&mut self.window[read..], self.position + read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        self.window.truncate(read);
        self.window_at = self.position;
        Ok(())
    }
}
