//! Serials found by a hash: a table of many small ones, so that none ever grows in one long step.
//!
//! Extendible hashing: a directory of a power of two entries names the shard of a hash. A shard that is
//! full is split in two, and only when its depth is the directory's does the directory double. So an
//! insertion moves a few thousand entries at the most, whatever the number of coupons.

use hashbrown::HashTable;

/// A shard with so many entries is split.
const FULL: usize = 4_096;
/// Bits of the hash that are looked at, at most: four billion entries.
const MAX_DEPTH: u32 = 20;

#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    /// The shard of each value of the hash's lowest bits that are looked at.
    directory: Vec<u32>,
    shards: Vec<Shard>,
}

#[derive(Debug, Clone, Default)]
struct Shard {
    entries: HashTable<Entry>,
    /// How many bits of the hash all its entries share.
    depth: u32,
}

/// The hash is kept, so that moving an entry looks at nothing else.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    serial: u32,
}

impl Entry {
    /// What the shard's own table goes by: other bits than those that chose the shard.
    fn spread(&self) -> u64 {
        spread(self.hash)
    }
}

/// The lowest bits, which all entries of a shard share, end up where the table does not look first.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
}

impl Index {
    /// Of serials 1, 2, 3, ... with these hashes, none of which is there twice. Shard by shard, which is
    /// much quicker than one after another: what is written lies together.
    pub(crate) fn of(hashes: &[u32]) -> Self {
        let mut depth = 0;
        while hashes.len() >> depth > FULL / 2 && depth < MAX_DEPTH {
            depth += 1;
        }
        let place = |hash: u32| hash as usize & ((1 << depth) - 1);
        let mut begins = vec![0; (1 << depth) + 1];
        hashes.iter().for_each(|hash| begins[place(*hash) + 1] += 1);
        for shard in 1..begins.len() {
            begins[shard] += begins[shard - 1];
        }
        let mut sorted = vec![Entry { hash: 0, serial: 0 }; hashes.len()];
        let mut next = begins.clone();
        for (serial, hash) in (1..).zip(hashes) {
            let next = &mut next[place(*hash)];
            sorted[*next] = Entry { hash: *hash, serial };
            *next += 1;
        }
        let shard = |bounds: &[usize]| {
            let of_shard = &sorted[bounds[0]..bounds[1]];
            let mut entries = HashTable::with_capacity(of_shard.len());
            for entry in of_shard {
                entries.insert_unique(entry.spread(), *entry, Entry::spread);
            }
            Shard { entries, depth }
        };
        let shards: Vec<Shard> = begins.windows(2).map(shard).collect();
        let directory = (0..).take(shards.len()).collect();
        Self { directory, shards }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// The serial of this hash that is meant.
    pub(crate) fn find(&self, hash: u32, mut is_meant: impl FnMut(u32) -> bool) -> Option<u32> {
        let shard = self.shards.get(self.shard_of(hash)?)?;
        let meant = |entry: &Entry| entry.hash == hash && is_meant(entry.serial);
        shard.entries.find(spread(hash), meant).map(|entry| entry.serial)
    }

    /// Puts a serial in the place of another one of the same hash, which is there.
    pub(crate) fn replace(&mut self, hash: u32, old: u32, new: u32) {
        let Some(place) = self.shard_of(hash) else { return };
        let entries = &mut self.shards[place].entries;
        if let Some(entry) = entries.find_mut(spread(hash), |entry| entry.serial == old) {
            entry.serial = new;
        }
    }

    /// Puts in a serial that is not there.
    pub(crate) fn insert(&mut self, hash: u32, serial: u32) {
        if self.is_empty() {
            (self.directory, self.shards) = (vec![0], vec![Shard::default()]);
        }
        let place = self.shard_of(hash).expect("there is a shard");
        let entries = &mut self.shards[place].entries;
        entries.insert_unique(spread(hash), Entry { hash, serial }, Entry::spread);
        if entries.len() >= FULL {
            self.split(place);
        }
    }

    fn shard_of(&self, hash: u32) -> Option<usize> {
        let last = self.directory.len().checked_sub(1)?;
        Some(self.directory[hash as usize & last] as usize)
    }

    fn split(&mut self, place: usize) {
        let depth = self.shards[place].depth;
        let bit = 1_usize << depth;
        if depth == MAX_DEPTH {
            return; // as many of one hash: a large table it is
        }
        if bit == self.directory.len() {
            self.directory.extend_from_within(..);
        }
        let full = std::mem::take(&mut self.shards[place].entries);
        let half = || HashTable::with_capacity(FULL / 2 + FULL / 8);
        let (mut lower, mut upper) = (half(), half());
        for entry in full {
            let half = if entry.hash as usize & bit == 0 { &mut lower } else { &mut upper };
            half.insert_unique(entry.spread(), entry, Entry::spread);
        }
        let new = u32::try_from(self.shards.len()).expect("fewer shards than serials");
        self.shards[place] = Shard { entries: lower, depth: depth + 1 };
        self.shards.push(Shard { entries: upper, depth: depth + 1 });
        // Of the directory only the values that end as the full shard's did.
        for value in (0..self.directory.len()).filter(|value| value & bit != 0) {
            if self.directory[value] as usize == place {
                self.directory[value] = new;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// A number that looks like a hash.
    fn hash(number: u32) -> u32 {
        number.wrapping_mul(0x9e37_79b9).rotate_left(16)
    }

    #[test]
    fn many_are_all_found_and_no_others() {
        let mut index = Index::default();
        for serial in 0..100_000 {
            index.insert(hash(serial), serial);
        }
        assert!(index.shards.iter().all(|shard| shard.entries.len() < FULL));
        let found = |serial| index.find(hash(serial), |other| other == serial);
        assert!((0..100_000).all(|serial| found(serial) == Some(serial)));
        assert!((100_000..200_000).all(|serial| found(serial).is_none()));
    }

    #[test]
    fn one_made_at_once_is_as_good_and_grows_on() {
        for count in [0, 1, 5_000, 100_000] {
            let hashes: Vec<u32> = (1..=count).map(hash).collect();
            let mut index = Index::of(&hashes);
            let largest = index.shards.iter().map(|shard| shard.entries.len()).max();
            assert!(largest.is_some_and(|largest| largest < FULL), "none is split at once");
            assert!(index.shards.len() <= hashes.len() / (FULL / 4) + 1, "and none is for little");
            for serial in count + 1..=2 * count {
                index.insert(hash(serial), serial);
            }
            let found = |serial| index.find(hash(serial), |other| other == serial);
            assert!((1..=2 * count).all(|serial| found(serial) == Some(serial)));
            assert!((2 * count + 1..3 * count).all(|serial| found(serial).is_none()));
        }
    }

    /// Entries of one shard are told apart by the bits that the shard's own table looks at first.
    #[test]
    fn hashes_of_one_shard_are_spread() {
        let first = |hash: u32| spread(hash) >> 57;
        let distinct: std::collections::BTreeSet<u64> =
            (0..128).map(|number| first(number << MAX_DEPTH.min(12))).collect();
        assert!(distinct.len() > 64, "{} of 128", distinct.len());
        let buckets: std::collections::BTreeSet<u64> =
            (0..4_096_u32).map(|number| spread(number << 12) & 4_095).collect();
        assert!(buckets.len() > 2_000, "{} of 4096", buckets.len());
    }

    #[test]
    fn many_of_one_hash_are_all_found() {
        let mut index = Index::default();
        for serial in 0..10_000 {
            index.insert(7, serial);
        }
        assert!((0..10_000).all(|serial| index.find(7, |other| other == serial) == Some(serial)));
    }

    proptest! {
        /// Few names, whose hashes collide, against a map.
        #[test]
        fn it_is_a_map(names in prop::collection::vec(0_u32..40, 0..200)) {
            let (mut index, mut map) = (Index::default(), HashMap::new());
            for (serial, name) in (0..).zip(&names) {
                let meant = |other: u32| names[other as usize] == *name;
                match index.find(name % 7, meant) {
                    Some(old) => index.replace(name % 7, old, serial),
                    None => index.insert(name % 7, serial),
                }
                map.insert(*name, serial);
                for name in 0..40 {
                    let found = index.find(name % 7, |other| names[other as usize] == name);
                    prop_assert_eq!(found, map.get(&name).copied());
                }
            }
        }
    }
}
