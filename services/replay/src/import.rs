//! A log out of one file, into one that has no records.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use seckill_log::{Delivery, Log, LogError, Skips};
use seckill_proto::decode_record;
use seckill_proto::v1::{Skip, record};

use crate::export::{BlockHead, END, Header, MAGIC};

/// The largest block that is read: one of another size is damaged.
const MAX_BLOCK: u32 = 64 << 20;
/// Records that are written before their deliveries are awaited.
const BURST: usize = 2_000;

/// Why nothing is imported, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file is not what an export writes.
    #[error("{} is no export of this version", .0.display())]
    NoExport(PathBuf),
    /// The file is not what the export wrote.
    #[error("{} is damaged at byte {at}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the block is.
        at: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The log has another number of partitions.
    #[error("the log has {found} partitions, and the export is of {wanted}")]
    OtherPartitions {
        /// Those of the log.
        found: u32,
        /// Those of the export.
        wanted: u32,
    },
    /// The log has records.
    #[error(
        "partition {partition} of the log has {end} records already: an import goes into a log without any"
    )]
    NotEmpty {
        /// The partition.
        partition: u32,
        /// How many there are.
        end: u64,
    },
    /// Somebody else writes to the log.
    #[error(
        "record {offset} of partition {partition} was not written where it belongs: somebody else writes to \
         this log, or it cannot be written now. What was written has to be deleted before another try"
    )]
    Misplaced {
        /// The partition.
        partition: u32,
        /// Where it belongs.
        offset: u64,
    },
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// An export that was read from its beginning to its end, and is whole.
pub struct Import {
    path: PathBuf,
    ends: Vec<u64>,
    /// Of each partition.
    skips: Vec<Skips>,
}

/// Records of one partition.
struct Block {
    partition: u32,
    at: u64,
    records: Vec<Vec<u8>>,
}

impl Import {
    /// Reads all of a file, and sees to it that nothing is damaged or missing.
    ///
    /// # Errors
    /// Says where it is not what an export wrote.
    pub fn check(path: &Path) -> Result<Self, ImportError> {
        let mut blocks = Blocks::open(path)?;
        let mut reached = vec![0; blocks.ends.len()];
        let mut skips = vec![Skips::default(); blocks.ends.len()];
        while let Some(block) = blocks.next()? {
            let number = usize::try_from(block.partition).unwrap_or(usize::MAX);
            let (Some(reached), Some(skips)) = (reached.get_mut(number), skips.get_mut(number))
            else {
                return Err(blocks.damaged(block.at, "there is no such partition".to_owned()));
            };
            *reached += block.records.len() as u64;
            let known = blocks.skips.get(number).map_or(&[][..], Vec::as_slice);
            skips_of(&block.records, known).for_each(|skip| skips.add(skip));
        }
        if reached != blocks.ends {
            let what = format!("it has {reached:?} records, and should have {:?}", blocks.ends);
            return Err(blocks.damaged(blocks.at, what));
        }
        Ok(Self { path: path.to_owned(), ends: blocks.ends, skips })
    }

    /// How many partitions the log has to have.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.ends.len()).expect("there are a few thousand at most")
    }

    /// Writes all records where they were; tells how many of how many are written.
    ///
    /// # Errors
    /// The log is not empty or of another form, and nothing was written; or it could not be written on.
    pub async fn write_to(
        &self,
        log: &dyn Log,
        mut written: impl FnMut(u64, u64),
    ) -> Result<u64, ImportError> {
        let (found, wanted) = (log.partitions(), self.partitions());
        if found != wanted {
            return Err(ImportError::OtherPartitions { found, wanted });
        }
        for partition in 0..found {
            let end = log.end(partition).await?;
            if end > 0 {
                return Err(ImportError::NotEmpty { partition, end });
            }
        }
        let mut blocks = Blocks::open(&self.path)?;
        let mut reached = vec![0; self.ends.len()];
        let (mut count, all) = (0, self.ends.iter().sum());
        while let Some(block) = blocks.next()? {
            let next = &mut reached[block.partition as usize];
            for burst in block.records.chunks(BURST) {
                append(log, block.partition, next, burst).await?;
                count += burst.len() as u64;
                written(count, all);
            }
        }
        for (partition, skips) in (0..).zip(&self.skips) {
            skips.publish(log, partition).await?;
        }
        Ok(count)
    }
}

/// Those among some records that readers knew of where the file was made.
fn skips_of(records: &[Vec<u8>], known: &[u64]) -> impl Iterator<Item = Skip> {
    let skips = records.iter().filter_map(|record| match decode_record(record) {
        Ok(record::Kind::Skip(skip)) => Some(skip),
        Ok(_) | Err(_) => None, // what cannot be read stops its partition there as here
    });
    skips.filter(|skip| known.contains(&skip.offset))
}

async fn append(
    log: &dyn Log,
    partition: u32,
    next: &mut u64,
    burst: &[Vec<u8>],
) -> Result<(), ImportError> {
    for delivery in log.append(partition, burst.to_vec()).deliveries().await {
        if delivery != Delivery::At(*next) {
            return Err(ImportError::Misplaced { partition, offset: *next });
        }
        *next += 1;
    }
    Ok(())
}

/// The blocks of a file, one after another.
struct Blocks {
    path: PathBuf,
    file: BufReader<File>,
    ends: Vec<u64>,
    /// Offsets of records that were passed over where the file was made.
    skips: Vec<Vec<u64>>,
    at: u64,
}

impl Blocks {
    fn open(path: &Path) -> Result<Self, ImportError> {
        let unreadable = |error| ImportError::File { path: path.to_owned(), error };
        let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
        let mut magic = vec![0; MAGIC.len()];
        let no_export = || ImportError::NoExport(path.to_owned());
        file.read_exact(&mut magic).map_err(|_| no_export())?;
        let mut header = String::new();
        file.read_line(&mut header).map_err(|_| no_export())?;
        let known = magic == MAGIC.as_bytes();
        let parsed: Option<Header> = serde_json::from_str(&header).ok().filter(|_| known);
        let Header { ends, skips } = parsed.ok_or_else(no_export)?;
        let at = (magic.len() + header.len()) as u64;
        Ok(Self { path: path.to_owned(), file, ends, skips, at })
    }

    fn damaged(&self, at: u64, what: String) -> ImportError {
        ImportError::Damaged { path: self.path.clone(), at, what }
    }

    /// The next block; none after the last one.
    fn next(&mut self) -> Result<Option<Block>, ImportError> {
        let at = self.at;
        let head = self.head()?;
        let bytes = usize::try_from(head.bytes).unwrap_or(usize::MAX);
        if head.bytes > MAX_BLOCK {
            return Err(self.damaged(at, "its length is not one of a block".to_owned()));
        }
        let mut body = vec![0; bytes];
        self.file
            .read_exact(&mut body)
            .map_err(|_| self.damaged(at, "it ends early".to_owned()))?;
        if head.checksum != head.checksum_of(&body) {
            return Err(self.damaged(at, "it does not match its checksum".to_owned()));
        }
        self.at += (BlockHead::BYTES + bytes) as u64;
        if head.partition == END {
            return self.assert_end().map(|()| None);
        }
        let records = records(&body, head.records);
        let records =
            records.ok_or_else(|| self.damaged(at, "its records do not fit".to_owned()))?;
        Ok(Some(Block { partition: head.partition, at, records }))
    }

    fn head(&mut self) -> Result<BlockHead, ImportError> {
        let mut numbers = [0; 4];
        for number in &mut numbers {
            let mut bytes = [0; 4];
            let read = self.file.read_exact(&mut bytes);
            read.map_err(|_| self.damaged(self.at, "it ends early".to_owned()))?;
            *number = u32::from_be_bytes(bytes);
        }
        let [partition, records, bytes, checksum] = numbers;
        Ok(BlockHead { partition, records, bytes, checksum })
    }

    fn assert_end(&mut self) -> Result<(), ImportError> {
        let rest = self.file.fill_buf().map(<[u8]>::len).unwrap_or_default();
        let more = || self.damaged(self.at, "there is more than was exported".to_owned());
        if rest == 0 { Ok(()) } else { Err(more()) }
    }
}

/// The records of a block, each after its length.
fn records(mut rest: &[u8], count: u32) -> Option<Vec<Vec<u8>>> {
    let mut records = Vec::new();
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let record = after.get(..length)?;
        records.push(record.to_vec());
        rest = &after[length..];
    }
    rest.is_empty().then_some(records)
}
