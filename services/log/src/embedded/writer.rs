//! The threads that write: each takes whatever appends have come in for its partitions, makes one
//! batch a partition of them, and makes each durable with one fsync.
//!
//! Before anybody is told, the file written is looked for at its path: a directory that was deleted
//! or replaced keeps nothing. Room for a batch is made before anything of it is written: where there is
//! none, nothing has happened, and the next batch may find some. Whatever else fails, fails the engine
//! for good; nobody knows then what is on the disk, and only opening it again tells.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::embedded::batch;
use crate::embedded::format::lock_path;
use crate::embedded::high_water::{HighWater, Mark};
use crate::embedded::recovery::Recovered;
use crate::embedded::segment::{self, FIRST_BATCH, Header};
use crate::embedded::state::State;
use crate::{Delivery, LogError};

/// Threads, each with a share of the partitions: their fsyncs go side by side.
const THREADS: u32 = 4;
/// One fsync makes at most this many bytes of records durable, so that none waits too long.
const MAX_GROUP_BYTES: usize = 8 * 1024 * 1024;
/// A segment that has so many bytes is sealed.
const SEGMENT_BYTES: u64 = 32 * 1024 * 1024;
/// Room is made ahead in steps that grow with the segment, up to the larger of these.
const LEAST_ROOM: u64 = 64 * 1024;
const MOST_ROOM: u64 = 4 * 1024 * 1024;
/// How often a thread that has nothing to write sees whether its files are still there.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Records to append, and whom to tell.
struct Append {
    partition: u32,
    records: Vec<Vec<u8>>,
    done: oneshot::Sender<Vec<Delivery>>,
}

/// Hands appends to the threads. How many may wait is bounded by those who submit: each waits for its
/// answer.
pub(super) struct Writer {
    threads: Vec<(Sender<Append>, JoinHandle<()>)>,
}

impl Writer {
    pub(super) fn start(
        state: &Arc<State>,
        recovered: Vec<Recovered>,
        lock: File,
    ) -> Result<Self, LogError> {
        let partitions = state.partitions();
        let lock = Arc::new(Watched::new(lock_path(state.directory()), lock));
        let mut shares: Vec<BTreeMap<u32, Active>> = Vec::new();
        shares.resize_with(THREADS.min(partitions) as usize, BTreeMap::new);
        for (partition, found) in (0..).zip(recovered) {
            let folder = found.folder.clone();
            let active = Active::open(partition, found);
            let active = active.map_err(|error| super::format::cannot(&folder, &error))?;
            let share = partition as usize % shares.len();
            shares[share].insert(partition, active);
        }
        let threads = shares.into_iter().map(|partitions| {
            #[expect(
                clippy::disallowed_methods,
                reason = "a partition has eight bursts out at most"
            )]
            let (sender, appends) = channel();
            let share = Share { state: Arc::clone(state), lock: Arc::clone(&lock), partitions };
            let thread = std::thread::Builder::new().name("log-writer".into());
            let thread = thread.spawn(move || share.run(&appends));
            let thread = thread.map_err(|error| LogError::Broken(error.to_string()))?;
            Ok((sender, thread))
        });
        Ok(Self { threads: threads.collect::<Result<_, LogError>>()? })
    }

    /// What a thread cannot take any more is dropped, and its outcome unknown.
    pub(super) fn submit(
        &self,
        partition: u32,
        records: Vec<Vec<u8>>,
        done: oneshot::Sender<Vec<Delivery>>,
    ) {
        let (sender, _) = &self.threads[partition as usize % self.threads.len()];
        let _ = sender.send(Append { partition, records, done });
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        for (sender, thread) in self.threads.drain(..) {
            drop(sender);
            let _ = thread.join();
        }
    }
}

/// The partitions of one thread.
struct Share {
    state: Arc<State>,
    lock: Arc<Watched>,
    partitions: BTreeMap<u32, Active>,
}

impl Share {
    /// A thread that panics fails the engine too.
    fn run(mut self, appends: &Receiver<Append>) {
        let state = Arc::clone(&self.state);
        let ended = catch_unwind(AssertUnwindSafe(|| self.write_all(appends)));
        if let Err(cause) = ended.unwrap_or_else(|_| Err("the thread that writes panicked".into()))
        {
            state.fail(&cause);
        }
    }

    fn write_all(&mut self, appends: &Receiver<Append>) -> Result<(), String> {
        let mut looked = Instant::now();
        loop {
            match appends.recv_timeout(LOOK_EVERY) {
                Ok(first) => self.commit(collect(first, appends))?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.look(),
            }
            if looked.elapsed() >= LOOK_EVERY {
                self.look()?;
                looked = Instant::now();
            }
        }
    }

    /// Sees whether all files are still there, and makes the marks durable.
    fn look(&mut self) -> Result<(), String> {
        self.lock.assert_there()?;
        self.partitions.values_mut().try_for_each(|active| {
            active.segment.assert_there()?;
            active.high_water.sync().map_err(|error| active.segment.cannot(&error))
        })
    }

    /// On an error the appends are dropped unanswered. One that finds no room is no such error.
    fn commit(&mut self, appends: Vec<Append>) -> Result<(), String> {
        let mut groups: BTreeMap<u32, Group> = BTreeMap::new();
        for append in appends {
            groups.entry(append.partition).or_default().add(append);
        }
        for (partition, group) in groups {
            self.state.assert_well().map_err(|failed| failed.to_string())?;
            let active = self.partitions.get_mut(&partition).expect("a partition of this thread");
            let first = active.mark.next_offset;
            if let Err(error) = active.make_room(&self.state, &group.records) {
                full(&active.segment.cannot(&error), &error)?;
                continue; // dropped unanswered, and not written
            }
            active.append(&group.records)?;
            self.lock.assert_there()?;
            self.state.end(partition).send_replace(active.mark.next_offset);
            group.tell(first);
        }
        Ok(())
    }
}

fn collect(first: Append, more: &Receiver<Append>) -> Vec<Append> {
    let size = |append: &Append| append.records.iter().map(Vec::len).sum::<usize>();
    let mut bytes = size(&first);
    let mut appends = vec![first];
    while bytes < MAX_GROUP_BYTES {
        let Ok(append) = more.try_recv() else { break };
        bytes += size(&append);
        appends.push(append);
    }
    appends
}

/// Records of one partition that share an fsync.
#[derive(Default)]
struct Group {
    records: Vec<Vec<u8>>,
    /// Whom to tell, and how many of the records are theirs.
    waiting: Vec<(usize, oneshot::Sender<Vec<Delivery>>)>,
}

impl Group {
    fn add(&mut self, mut append: Append) {
        self.waiting.push((append.records.len(), append.done));
        self.records.append(&mut append.records);
    }

    /// Nobody waits any more where a send fails, and that is no matter here.
    fn tell(self, first: u64) {
        let mut next = first;
        for (records, done) in self.waiting {
            let end = next + records as u64;
            drop(done.send((next..end).map(Delivery::At).collect()));
            next = end;
        }
    }
}

/// The segment of a partition that is written.
struct Active {
    partition: u32,
    folder: PathBuf,
    segment: Watched,
    base: u64,
    /// Where the next batch goes, and how far room has been made.
    position: u64,
    room: u64,
    mark: Mark,
    high_water: HighWater,
}

impl Active {
    fn open(partition: u32, found: Recovered) -> io::Result<Self> {
        let base = found.bases.last().copied().unwrap_or_default();
        let path = segment::path(&found.folder, base);
        let file = File::options().read(true).write(true).open(&path)?;
        let room = file.metadata()?.len();
        let high_water = HighWater::open(&found.folder, found.mark)?;
        let segment = Watched::new(path, file);
        let Recovered { folder, position, mark, .. } = found;
        Ok(Self { partition, folder, segment, base, position, room, mark, high_water })
    }

    /// Sees to it that records can be written without the file growing. Changes nothing that counts.
    fn make_room(&mut self, state: &State, records: &[Vec<u8>]) -> io::Result<()> {
        if self.position >= SEGMENT_BYTES {
            self.roll(state)?;
        }
        let end = self.position + batch::encoded_len(records);
        if end > self.room {
            let step = self.position.clamp(LEAST_ROOM, MOST_ROOM);
            let zeros = vec![0; usize::try_from(end + step - self.room).unwrap_or(usize::MAX)];
            self.segment.file.write_all_at(&zeros, self.room)?;
            self.room = end + step;
        }
        Ok(())
    }

    /// Makes records durable.
    fn append(&mut self, records: &[Vec<u8>]) -> Result<(), String> {
        if records.is_empty() {
            return Ok(());
        }
        // One batch, whatever its size: of several that are written at once a power cut might keep a
        // later one only, and that would look like damage.
        let (bytes, history) = batch::encode(self.mark.next_offset, self.mark.history, records);
        self.write(&bytes).map_err(|error| self.segment.cannot(&error))?;
        self.segment.assert_there()?;
        let next_offset = self.mark.next_offset + records.len() as u64;
        self.mark = Mark { next_offset, history };
        self.high_water.write(self.mark).map_err(|error| self.segment.cannot(&error))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = &self.segment.file;
        file.write_all_at(bytes, self.position)?;
        file.sync_data()?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Seals the segment and begins the next one.
    fn roll(&mut self, state: &State) -> io::Result<()> {
        self.segment.file.set_len(self.position)?;
        segment::synced(self.segment.file.sync_all())?;
        let header = Header {
            partition: self.partition,
            base: self.mark.next_offset,
            history: self.mark.history,
            base_before: self.base,
            length_before: self.position,
        };
        let file = segment::create(&self.folder, header)?;
        self.base = header.base;
        self.segment = Watched::new(segment::path(&self.folder, self.base), file);
        (self.position, self.room) = (FIRST_BATCH, FIRST_BATCH);
        state.add_segment(self.partition, self.base);
        Ok(())
    }
}

/// A file that must stay where it is.
struct Watched {
    path: PathBuf,
    file: File,
}

impl Watched {
    fn new(path: PathBuf, file: File) -> Self {
        Self { path, file }
    }

    fn assert_there(&self) -> Result<(), String> {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let held = self.file.metadata().map(identity).map_err(|error| self.cannot(&error))?;
        match fs::metadata(&self.path).map(identity) {
            Ok(there) if there == held => Ok(()),
            Ok(_) | Err(_) => Err(gone(&self.path)),
        }
    }

    fn cannot(&self, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::StorageFull => format!("no space left for {}", self.path.display()),
            _ => format!("{}: {error}", self.path.display()),
        }
    }
}

/// A disk without room is no failure of the engine; any other error is.
fn full(cause: &str, error: &io::Error) -> Result<(), String> {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    if !matches!(error.kind(), StorageFull | QuotaExceeded) {
        return Err(cause.to_owned());
    }
    tracing::error!(cause, "the log does not take any records");
    Ok(())
}

fn gone(path: &Path) -> String {
    format!("{} was deleted or replaced while in use", path.display())
}
