//! A whole log as one file.
//!
//! A line that says what it is, a line of JSON with the partitions and their ends, then blocks: records of
//! one partition, each block with its CRC-32. The last block is empty and says that nothing is missing.

use std::io::Write;

use bytes::Bytes;
use seckill_log::{Log, Skips, Stretch};
use serde::{Deserialize, Serialize};

use crate::ReplayError;

/// The first line.
pub(crate) const MAGIC: &str = "seckill log export, version 1\n";
/// Bytes of records in a block, about.
const BLOCK: usize = 1 << 20;
/// The partition of the last block.
pub(crate) const END: u32 = u32::MAX;

/// The second line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Where each partition ends.
    pub(crate) ends: Vec<u64>,
    /// Offsets of records that readers of each partition pass over.
    #[serde(default)]
    pub(crate) skips: Vec<Vec<u64>>,
}

/// What stands before the records of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockHead {
    pub(crate) partition: u32,
    pub(crate) records: u32,
    pub(crate) bytes: u32,
    /// CRC-32 of the three numbers before and of the records.
    pub(crate) checksum: u32,
}

impl BlockHead {
    pub(crate) const BYTES: usize = 16;

    pub(crate) fn of(partition: u32, records: u32, body: &[u8]) -> Self {
        let bytes = u32::try_from(body.len()).expect("a block is a few megabytes");
        let mut head = Self { partition, records, bytes, checksum: 0 };
        head.checksum = head.checksum_of(body);
        head
    }

    pub(crate) fn checksum_of(&self, body: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        [self.partition, self.records, self.bytes]
            .iter()
            .for_each(|number| hasher.update(&number.to_be_bytes()));
        hasher.update(body);
        hasher.finalize()
    }

    fn write(&self, file: &mut dyn Write) -> std::io::Result<()> {
        let numbers = [self.partition, self.records, self.bytes, self.checksum];
        numbers.iter().try_for_each(|number| file.write_all(&number.to_be_bytes()))
    }
}

/// Writes all that is in a log when this begins, and tells how many records were written.
///
/// # Errors
/// The log could not be read, or the file not be written.
pub async fn export(
    log: &dyn Log,
    file: &mut (dyn Write + Send),
    mut written: impl FnMut(u64, u64) + Send,
) -> Result<u64, ReplayError> {
    let mut ends = Vec::new();
    for partition in 0..log.partitions() {
        ends.push(log.end(partition).await?);
    }
    let mut skips = Vec::new();
    for partition in 0..log.partitions() {
        let known = Skips::load(log, partition).await?;
        skips.push(known.iter().map(|skip| skip.offset).collect());
    }
    let (mut count, all) = (0, ends.iter().sum());
    file.write_all(MAGIC.as_bytes())?;
    let header = serde_json::to_string(&Header { ends: ends.clone(), skips });
    writeln!(file, "{}", header.expect("numbers are plain JSON"))?;
    for (partition, end) in (0..).zip(ends) {
        let mut stretch = Stretch::between(log, partition, 0, end).await?;
        loop {
            let records = stretch.next().await?;
            if records.is_empty() {
                break;
            }
            write_records(file, partition, &records)?;
            count += records.len() as u64;
            written(count, all);
        }
    }
    BlockHead::of(END, 0, &[]).write(file)?;
    file.flush()?;
    Ok(count)
}

fn write_records(
    file: &mut dyn Write,
    partition: u32,
    records: &[(u64, Bytes)],
) -> std::io::Result<()> {
    let mut body = Vec::new();
    let mut count = 0;
    for (number, (_, record)) in records.iter().enumerate() {
        let length = u32::try_from(record.len()).expect("a record is small");
        body.extend(length.to_be_bytes());
        body.extend_from_slice(record);
        count += 1;
        if body.len() >= BLOCK || number + 1 == records.len() {
            BlockHead::of(partition, count, &body).write(file)?;
            file.write_all(&body)?;
            body.clear();
            count = 0;
        }
    }
    Ok(())
}
