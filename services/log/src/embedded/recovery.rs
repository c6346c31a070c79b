//! Opening a partition: what its files hold, and whether that is all that was acknowledged.
//!
//! Looking changes nothing. Whatever is damaged or missing is refused with its place; only the rest
//! of a write that was never acknowledged is cut, and only once every partition has been looked at.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::embedded::batch;
use crate::embedded::format::{cannot, partition_folder};
use crate::embedded::high_water::{self, Mark};
use crate::embedded::segment::{self, FIRST_BATCH, HEADER, Header};
use crate::{Damage, LogError};

/// What was found of one partition.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) folder: PathBuf,
    /// Base offsets of the segments; writing goes on in the last one.
    pub(super) bases: Vec<u64>,
    /// Where the last segment's batches end, in bytes.
    pub(super) position: u64,
    /// Where the last of them begins.
    last_batch: u64,
    /// The end of the log, and its history.
    pub(super) mark: Mark,
    /// Without a high-water mark, which is made anew then.
    unmarked: bool,
    /// Bytes behind the end that were never acknowledged.
    torn: u64,
    /// A last segment that was made and never used.
    unfinished: Option<PathBuf>,
}

/// What can be read of a partition, from its beginning to its end or its first damage.
#[derive(Debug)]
pub(super) struct Prefix {
    /// The segments that are whole so far; the last of them up to `position`.
    pub(super) bases: Vec<u64>,
    pub(super) position: u64,
    pub(super) mark: Mark,
    pub(super) damage: Option<Damage>,
}

impl Prefix {
    pub(super) fn into_recovered(self, folder: PathBuf) -> Recovered {
        let Self { bases, position, mark, .. } = self;
        Recovered {
            folder,
            bases,
            position,
            last_batch: position,
            mark,
            unmarked: false,
            torn: 0,
            unfinished: None,
        }
    }
}

/// Reads every segment of a partition whole.
pub(super) fn survey(directory: &Path, partition: u32) -> Result<Prefix, LogError> {
    let folder = partition_folder(directory, partition);
    let high_water = high_water::read(&folder);
    let search = Search { partition, folder, high_water };
    let mut prefix =
        Prefix { bases: Vec::new(), position: FIRST_BATCH, mark: Mark::default(), damage: None };
    let bases = segment::list(&search.folder).unwrap_or_default();
    for (index, base) in bases.iter().enumerate() {
        let Readable { up_to, damage } = search.read_prefix(*base, index + 1 < bases.len())?;
        let missing = (*base != prefix.mark.next_offset)
            .then(|| search.at(prefix.mark.next_offset, "the segment is missing"));
        if missing.is_none()
            && let Some((position, mark)) = up_to
        {
            prefix.bases.push(*base);
            (prefix.position, prefix.mark) = (position, mark);
        }
        prefix.damage = missing.or(damage);
        if prefix.damage.is_some() {
            return Ok(prefix);
        }
    }
    if bases.is_empty() {
        prefix.damage = Some(search.at(0, "its first segment is missing"));
    }
    Ok(prefix)
}

/// A partition that is being looked at.
struct Search {
    partition: u32,
    folder: PathBuf,
    high_water: Option<Mark>,
}

/// How far a segment can be read; none where not even its header can.
struct Readable {
    up_to: Option<(u64, Mark)>,
    damage: Option<Damage>,
}

/// Where batches that follow each other end, and where the last of them begins.
struct Batches {
    position: usize,
    last_batch: usize,
    mark: Mark,
}

/// What a segment holds.
struct Scanned {
    position: u64,
    last_batch: u64,
    mark: Mark,
    torn: u64,
}

/// Looks at the files of a partition.
pub(super) fn look(directory: &Path, partition: u32) -> Result<Recovered, LogError> {
    let folder = partition_folder(directory, partition);
    let high_water = high_water::read(&folder);
    let search = Search { partition, folder, high_water };
    let bases = match segment::list(&search.folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    };
    let mut bases = bases.map_err(|error| cannot(&search.folder, &error))?;
    let unfinished = search.drop_unfinished(&mut bases)?;
    search.check_sealed(&bases)?;
    let last =
        *bases.last().ok_or_else(|| search.damage(0, 0, 0, "its first segment is missing"))?;
    let Scanned { position, last_batch, mark, torn } = search.scan(last)?;
    let unmarked = high_water.is_none();
    Ok(Recovered {
        unmarked,
        folder: search.folder,
        bases,
        position,
        last_batch,
        mark,
        torn,
        unfinished,
    })
}

impl Recovered {
    /// Cuts what was never acknowledged, and makes durable what the process before may only have
    /// written. After a sync that failed the system holds pages in its cache that it takes for synced;
    /// so the last batch, the only one that can be among them, is written once more.
    pub(super) fn settle(&self) -> io::Result<()> {
        if self.unmarked {
            let file = self.folder.join(high_water::NAME);
            tracing::warn!(file = %file.display(), "no valid high-water mark: made anew from the segments");
        }
        if let Some(unfinished) = &self.unfinished {
            fs::remove_file(unfinished)?;
        }
        let Some(last) = self.bases.last() else { return Ok(()) };
        let path = segment::path(&self.folder, *last);
        let file = File::options().read(true).write(true).open(&path)?;
        let length = usize::try_from(self.position - self.last_batch);
        let mut last_batch = vec![0; length.map_err(io::Error::other)?];
        file.read_exact_at(&mut last_batch, self.last_batch)?;
        file.write_all_at(&last_batch, self.last_batch)?;
        if self.torn > 0 {
            let (file_name, bytes) = (path.display(), self.torn);
            tracing::warn!(file = %file_name, bytes, "the rest of a write that nobody was told of is cut");
            file.set_len(self.position)?;
        }
        file.sync_all()
    }
}

impl Search {
    fn damage(&self, base: u64, position: u64, offset: u64, what: &str) -> LogError {
        let damage = Damage { position, offset, ..self.at(base, what) };
        Box::new(damage).into()
    }

    /// Damage of a whole segment.
    fn at(&self, base: u64, what: &str) -> Damage {
        let file = segment::path(&self.folder, base);
        let (partition, what) = (self.partition, what.to_owned());
        Damage { file, position: 0, partition, offset: base, what }
    }

    /// How far a segment can be read, and what ends it there.
    fn read_prefix(&self, base: u64, sealed: bool) -> Result<Readable, LogError> {
        let path = segment::path(&self.folder, base);
        let bytes = fs::read(&path).map_err(|error| cannot(&path, &error))?;
        let fits = |header: &Header| header.partition == self.partition && header.base == base;
        let Some(header) = Header::decode(&bytes).filter(fits) else {
            let damage = Some(self.at(base, "the segment has no valid header"));
            return Ok(Readable { up_to: None, damage });
        };
        let begin = Mark { next_offset: base, history: header.history };
        let Batches { position, mark, .. } = self.read_batches(base, &bytes, begin)?;
        let rest = &bytes[position..];
        let ended = match (sealed, rest.is_empty()) {
            (true, true) => Ok(0),
            (true, false) => Err(self.damage(base, position as u64, mark.next_offset, "damaged")),
            (false, _) => self.check_rest(base, position, mark, rest),
        };
        let damage = match ended {
            Ok(_) => None,
            Err(LogError::Damaged(damage)) => Some(*damage),
            Err(error) => return Err(error),
        };
        Ok(Readable { up_to: Some((position as u64, mark)), damage })
    }

    /// Takes the last segment off where it was made and nothing in it was ever acknowledged.
    fn drop_unfinished(&self, bases: &mut Vec<u64>) -> Result<Option<PathBuf>, LogError> {
        let Some(&last) = bases.last() else { return Ok(None) };
        let path = segment::path(&self.folder, last);
        let bytes = fs::read(&path).map_err(|error| cannot(&path, &error))?;
        let reached = self.high_water.map_or(u64::MAX, |mark| mark.next_offset);
        let used = Header::decode(&bytes).is_some() || batch::find(&bytes).is_some();
        if last == 0 || used || reached > last {
            return Ok(None);
        }
        bases.pop();
        Ok(Some(path))
    }

    /// Every segment must have its header, follow the one before, and find it as long as it was.
    fn check_sealed(&self, bases: &[u64]) -> Result<(), LogError> {
        let mut length_before = 0;
        for (index, &base) in bases.iter().enumerate() {
            if index == 0 && base != 0 {
                return Err(self.damage(0, 0, 0, "the segment is missing"));
            }
            let path = segment::path(&self.folder, base);
            let file = File::open(&path).map_err(|error| cannot(&path, &error))?;
            let fits = |header: &Header| header.partition == self.partition && header.base == base;
            let Some(header) = Header::read(&file).filter(fits) else {
                return Err(self.damage(base, 0, base, "the segment has no valid header"));
            };
            let before = bases[index.saturating_sub(1)];
            if header.base_before != before {
                let missing = header.base_before;
                return Err(self.damage(missing, 0, missing, "the segment is missing"));
            }
            if header.length_before != length_before {
                let should = header.length_before;
                let what = format!("the segment has {length_before} bytes, {should} were written");
                return Err(self.damage(before, length_before.min(should), before, &what));
            }
            length_before = file.metadata().map_err(|error| cannot(&path, &error))?.len();
        }
        Ok(())
    }

    /// Reads the last segment whole.
    fn scan(&self, base: u64) -> Result<Scanned, LogError> {
        let path = segment::path(&self.folder, base);
        let bytes = fs::read(&path).map_err(|error| cannot(&path, &error))?;
        let header =
            Header::decode(&bytes).ok_or_else(|| self.damage(base, 0, base, "no header"))?;
        let begin = Mark { next_offset: base, history: header.history };
        let Batches { position, last_batch, mark } = self.read_batches(base, &bytes, begin)?;
        let torn = self.check_rest(base, position, mark, &bytes[position..])?;
        Ok(Scanned { position: position as u64, last_batch: last_batch as u64, mark, torn })
    }

    /// Goes over batches that follow each other: where they end.
    fn read_batches(&self, base: u64, bytes: &[u8], begin: Mark) -> Result<Batches, LogError> {
        let (mut position, mut last_batch, mut mark) = (HEADER, HEADER, begin);
        self.check_history(base, position, mark)?;
        while let Some(next) = batch::decode(&bytes[position..]) {
            let follows = next.offsets.start == mark.next_offset && next.before == mark.history;
            if !follows || !next.is_consistent() {
                break;
            }
            last_batch = position;
            position += batch::length(&bytes[position..]).unwrap_or_default();
            mark = Mark { next_offset: next.offsets.end, history: next.after };
            self.check_history(base, position, mark)?;
        }
        Ok(Batches { position, last_batch, mark })
    }

    fn check_history(&self, base: u64, position: usize, mark: Mark) -> Result<(), LogError> {
        let other = |high_water: &Mark| {
            high_water.next_offset == mark.next_offset && high_water.history != mark.history
        };
        if self.high_water.as_ref().is_some_and(other) {
            let what = "the records before it are not the ones that were acknowledged";
            return Err(self.damage(base, position as u64, mark.next_offset, what));
        }
        Ok(())
    }

    /// What follows the last whole batch; how many bytes of it are to be cut.
    fn check_rest(
        &self,
        base: u64,
        position: usize,
        mark: Mark,
        rest: &[u8],
    ) -> Result<u64, LogError> {
        let at = position as u64;
        if let Some((further, offset)) = batch::find(rest) {
            let whole = at + further as u64;
            let what =
                format!("damaged; whole records follow at byte {whole}, from offset {offset} on");
            return Err(self.damage(base, at, mark.next_offset, &what));
        }
        let reached = self.high_water.map_or(0, |high_water| high_water.next_offset);
        if reached > mark.next_offset {
            let missing = reached - mark.next_offset;
            let what = format!("{missing} acknowledged records from there on are missing");
            return Err(self.damage(base, at, mark.next_offset, &what));
        }
        let torn = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        if torn > 0 && self.high_water.is_none() {
            let what = "something else than a batch, and without its high-water mark nobody knows whether it was \
                        acknowledged";
            return Err(self.damage(base, at, mark.next_offset, what));
        }
        Ok(torn)
    }
}

/// The position of the first batch is where an empty segment ends.
const _: () = assert!(FIRST_BATCH == HEADER as u64);
