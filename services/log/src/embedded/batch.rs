//! The bytes of a batch: the records of one partition that became durable together.
//!
//! A header of 40 bytes, little-endian: magic, CRC-32 (IEEE) of everything after it, length of the
//! body, number of records, offset of the first one, the partition's history before the batch and
//! after it. The body: each record with its length before it.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes};

use crate::History;

pub(super) const HEADER: usize = 40;
const MAGIC: &[u8; 4] = b"SKB1";
/// Bytes before those that the checksum covers.
const UNCHECKED: usize = 8;
/// No batch is longer: a length beyond it is damage, and is not believed.
const MAX_BODY: usize = 256 * 1024 * 1024;

/// A batch that was read and whose checksum fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) offsets: Range<u64>,
    pub(super) before: History,
    pub(super) after: History,
    body: Bytes,
}

/// How many bytes a batch of these records has.
pub(super) fn encoded_len(records: &[Vec<u8>]) -> u64 {
    (HEADER + body_len(records)) as u64
}

fn body_len(records: &[Vec<u8>]) -> usize {
    records.iter().map(|record| record.len() + 4).sum()
}

/// Makes the bytes of a batch, and the history after it.
pub(super) fn encode(
    first_offset: u64,
    before: History,
    records: &[Vec<u8>],
) -> (Vec<u8>, History) {
    let body = body_len(records);
    assert!(body <= MAX_BODY, "a group of {body} bytes, which nobody would read");
    let mut bytes = Vec::with_capacity(HEADER + body);
    bytes.put_slice(MAGIC);
    bytes.put_u32_le(0);
    bytes.put_u32_le(u32::try_from(body).expect("a group is far shorter"));
    bytes.put_u32_le(u32::try_from(records.len()).expect("a group has far fewer records"));
    bytes.put_u64_le(first_offset);
    bytes.put_u64_le(before.number());
    bytes.put_u64_le(0);
    let mut after = before;
    for record in records {
        after = after.then(record);
        bytes.put_u32_le(u32::try_from(record.len()).expect("a record is far shorter"));
        bytes.put_slice(record);
    }
    bytes[32..40].copy_from_slice(&after.number().to_le_bytes());
    let crc = crc32fast::hash(&bytes[UNCHECKED..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    (bytes, after)
}

/// How long the batch is whose header these bytes begin with; none where it is no header.
pub(super) fn length(header: &[u8]) -> Option<usize> {
    let header = header.get(..HEADER)?;
    if &header[..4] != MAGIC {
        return None;
    }
    let body = (&header[8..12]).get_u32_le() as usize;
    (body <= MAX_BODY).then_some(HEADER + body)
}

/// Reads the offsets that a header names, unchecked: good for finding the way only.
pub(super) fn offsets(header: &[u8]) -> Option<Range<u64>> {
    let mut fields = header.get(12..24)?;
    let count = u64::from(fields.get_u32_le());
    let first = fields.get_u64_le();
    Some(first..first.checked_add(count)?)
}

/// Reads the batch that these bytes begin with; none where it is not whole.
pub(super) fn decode(bytes: &[u8]) -> Option<Batch> {
    let whole = bytes.get(..length(bytes)?)?;
    let mut header = &whole[4..HEADER];
    if header.get_u32_le() != crc32fast::hash(&whole[UNCHECKED..]) {
        return None;
    }
    let offsets = offsets(whole)?;
    let mut histories = &whole[24..HEADER];
    Some(Batch {
        offsets,
        before: History::from_number(histories.get_u64_le()),
        after: History::from_number(histories.get_u64_le()),
        body: Bytes::copy_from_slice(&whole[HEADER..]),
    })
}

impl Batch {
    /// Its records with their offsets; none where the body does not add up.
    pub(super) fn records(&self) -> Option<Vec<(u64, Bytes)>> {
        let mut rest = self.body.clone();
        let mut records = Vec::new();
        for offset in self.offsets.clone() {
            if rest.len() < 4 {
                return None;
            }
            let length = rest.get_u32_le() as usize;
            if rest.len() < length {
                return None;
            }
            records.push((offset, rest.split_to(length)));
        }
        rest.is_empty().then_some(records)
    }

    /// Whether the history after it is the one that its records make.
    pub(super) fn is_consistent(&self) -> bool {
        let Some(records) = self.records() else { return false };
        let history = records.iter().fold(self.before, |history, (_, bytes)| history.then(bytes));
        history == self.after
    }
}

/// Where in these bytes the next whole batch begins, and its first offset.
pub(super) fn find(bytes: &[u8]) -> Option<(usize, u64)> {
    let candidates = bytes.windows(MAGIC.len()).enumerate();
    candidates.filter(|(_, window)| window == MAGIC).find_map(|(position, _)| {
        let batch = decode(&bytes[position..])?;
        Some((position, batch.offsets.start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_back_and_any_flipped_bit_is_noticed() {
        let records = [b"one".to_vec(), Vec::new(), b"three".to_vec()];
        let before = History::default().then(b"earlier");
        let (bytes, after) = encode(7, before, &records);
        let batch = decode(&bytes).expect("a batch");
        assert_eq!((batch.offsets.clone(), batch.before, batch.after), (7..10, before, after));
        assert!(batch.is_consistent());
        assert_eq!(batch.records().expect("records")[2], (9, Bytes::from("three")));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn a_batch_is_found_behind_junk() {
        let (bytes, _) = encode(3, History::default(), &[b"record".to_vec()]);
        let junk = [b"SKB1 is only a word here ".as_slice(), &bytes].concat();
        assert_eq!(find(&junk), Some((junk.len() - bytes.len(), 3)));
        assert_eq!(find(&junk[..junk.len() - 1]), None);
    }
}
