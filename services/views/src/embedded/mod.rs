//! The read model in a directory of one machine, on fjall.
//!
//! One table per view. A value is the offset of the row's position, then the row's JSON: the
//! offset alone decides whether a newer row may replace it.
//!
//! **Atomic, not fsynced.** One `write` is one batch of fjall, rows and progress together, and
//! one writer at a time compares and commits. A killed process loses nothing that was
//! acknowledged. A power loss may take the last batches away, each of them whole (fjall syncs
//! its journal before it flushes any table), and the projector writes them again from the log.
//!
//! **Opened again in place.** fjall refuses every write after one that failed, for want of space or of
//! descriptors as a rule. Grabs do not need the views, so the process goes on: the store is closed,
//! and opened again by the projector's next call that finds the cause gone.
//!
//! **Off the async threads.** Every call runs on tokio's blocking pool: a read may go to the
//! disk, and a write waits while fjall's flushes are behind.

mod cause;
mod progress;
mod table;

use std::any::Any;
use std::collections::HashMap;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use crate::changes::Changes;
use crate::engine::{Engine, Walk};
use crate::error::ViewsError;
use crate::generation::LIVE;
use crate::key::Key;
use crate::progress::Progress;
use crate::view::Scanned;
use crate::view::{AnyRow, AnyView};
use table::Table;

/// Rows that a scan holds in memory at once.
const SCAN_CHUNK: usize = 1_024;

/// Open files of tables that are kept; connections need the rest of what a process may have.
const MAX_OPEN_TABLES: usize = 128;
/// How long a store that has failed is waited for until all calls have left it.
const CLOSE_WITHIN: Duration = Duration::from_secs(30);

/// The read model of one process, in a directory of its own.
pub(crate) struct EmbeddedViews {
    /// While it is closed, why.
    store: Arc<RwLock<Result<Arc<Store>, String>>>,
    dir: PathBuf,
    partitions: u32,
    views: &'static [AnyView],
}

struct Store {
    database: Database,
    /// By name of the view.
    tables: HashMap<&'static str, Table>,
    progress: Keyspace,
    /// Held while stored positions are compared and the batch is committed.
    writing: Mutex<()>,
}

impl EmbeddedViews {
    pub(crate) fn open(
        dir: &Path,
        partitions: u32,
        views: &'static [AnyView],
    ) -> Result<Self, ViewsError> {
        let store = Ok(Arc::new(Store::open(dir, partitions, views)?));
        Ok(Self { store: Arc::new(RwLock::new(store)), dir: dir.into(), partitions, views })
    }

    fn store(&self) -> Result<Arc<Store>, ViewsError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.clone().map_err(|reason| ViewsError::Unavailable {
            during: format!("the views in {} are closed: {reason}", self.dir.display()),
            source: reason.into(),
        })
    }

    async fn run<T, F>(&self, work: F) -> Result<T, ViewsError>
    where
        T: Send + 'static,
        F: FnOnce(&Store) -> Result<T, ViewsError> + Send + 'static,
    {
        self.run_on(self.store()?, work).await
    }

    async fn run_on<T, F>(&self, store: Arc<Store>, work: F) -> Result<T, ViewsError>
    where
        T: Send + 'static,
        F: FnOnce(&Store) -> Result<T, ViewsError> + Send + 'static,
    {
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(Err(ViewsError::Failed { during, source })) => Err(self.failed(&during, source)),
            Ok(result) => result,
            Err(error) if error.is_panic() => {
                let words = words(&*error.into_panic());
                Err(self.failed("a call of the store", words.into()))
            }
            Err(error) => Err(ViewsError::Unavailable {
                during: "the runtime is shutting down".into(),
                source: error.into(),
            }),
        }
    }

    /// Opens the store where a write that failed has closed it.
    async fn open_again(&self) -> Result<(), ViewsError> {
        let (held, dir) = (Arc::clone(&self.store), self.dir.clone());
        let (partitions, views) = (self.partitions, self.views);
        if self.store().is_ok() {
            return Ok(());
        }
        let open = move || {
            // Of two that are here at once the second finds the directory locked, and comes again.
            let store = Store::open(&dir, partitions, views).map_err(|error| match error {
                ViewsError::Locked { directory } => ViewsError::Unavailable {
                    during: format!("the views in {} are not closed yet", directory.display()),
                    source: "calls are still under way".into(),
                },
                error => error,
            })?;
            tracing::info!(directory = %dir.display(), "the views are open again");
            *held.write().unwrap_or_else(PoisonError::into_inner) = Ok(Arc::new(store));
            Ok(())
        };
        self.blocking(open).await
    }

    /// Closes a store that takes no more writes.
    async fn close(&self, failed: Weak<Store>, reason: String) -> Result<(), ViewsError> {
        let (held, dir) = (Arc::clone(&self.store), self.dir.clone());
        let close = move || {
            let mut held = held.write().unwrap_or_else(PoisonError::into_inner);
            let store = match &*held {
                Ok(store) if std::ptr::eq(Arc::as_ptr(store), failed.as_ptr()) => Arc::clone(store),
                Ok(_) | Err(_) => return Ok(()), // somebody else was quicker
            };
            *held = Err(reason.clone());
            drop(held);
            tracing::error!(directory = %dir.display(), reason, "the views are closed");
            let begun = Instant::now();
            while Arc::strong_count(&store) > 1 && begun.elapsed() < CLOSE_WITHIN {
                std::thread::sleep(Duration::from_millis(5));
            }
            drop(store); // with the directory's lock, once the last call has left
            Ok(())
        };
        self.blocking(close).await
    }

    async fn blocking(
        &self,
        call: impl FnOnce() -> Result<(), ViewsError> + Send + 'static,
    ) -> Result<(), ViewsError> {
        let ended = tokio::task::spawn_blocking(call).await;
        ended.unwrap_or_else(|error| {
            let during = "the runtime is shutting down".into();
            Err(ViewsError::Unavailable { during, source: error.into() })
        })
    }

    /// A failure with the way out of it.
    fn failed(&self, during: &str, source: Box<dyn Error + Send + Sync>) -> ViewsError {
        let during = format!(
            "{during} in {}: {source}. Where its files are damaged, stop, move the directory away and start \
             again: the views are made again from the log",
            self.dir.display()
        );
        ViewsError::Failed { during, source }
    }
}

/// What the store would make anew without a word where it is gone: a table that is empty then, or the
/// last writes of all tables.
fn assert_whole(dir: &Path) -> Result<(), ViewsError> {
    let gone = |path: PathBuf| {
        let source = format!("{} is missing", path.display()).into();
        Err(ViewsError::Setup { place: dir.display().to_string(), source })
    };
    let tables: Vec<_> = std::fs::read_dir(dir.join("keyspaces")).into_iter().flatten().collect();
    for table in tables.iter().flatten() {
        let current = table.path().join("current");
        if !current.exists() {
            return gone(current);
        }
    }
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut journals = files.filter(|file| file.path().extension().is_some_and(|end| end == "jnl"));
    if !tables.is_empty() && journals.next().is_none() {
        return gone(dir.join("0.jnl"));
    }
    Ok(())
}

impl Store {
    /// The engine panics over some damaged files; nothing of it is used after that.
    fn open(dir: &Path, partitions: u32, views: &'static [AnyView]) -> Result<Self, ViewsError> {
        let open = || Self::open_or_panic(dir, partitions, views);
        let opened = catch_unwind(AssertUnwindSafe(open));
        opened.unwrap_or_else(|panic| {
            let source = words(&*panic).into();
            Err(ViewsError::Setup { place: dir.display().to_string(), source })
        })
    }

    fn open_or_panic(
        dir: &Path,
        partitions: u32,
        views: &'static [AnyView],
    ) -> Result<Self, ViewsError> {
        assert_whole(dir)?;
        let builder = Database::builder(dir).max_cached_files(Some(MAX_OPEN_TABLES));
        let database = builder.open().map_err(|error| not_opened(dir, error))?;
        let keyspace = |view| {
            let options = KeyspaceCreateOptions::default;
            let keyspace = database.keyspace(&LIVE.table(view), options);
            keyspace.map_err(|error| not_opened(dir, error))
        };
        let mut tables = HashMap::new();
        for &view in views {
            let name = LIVE.table(view.name());
            tables.insert(view.name(), Table::open(view, name, keyspace(view.name())?)?);
        }
        let progress = keyspace(crate::progress::VIEW)?;
        let store = Self { database, tables, progress, writing: Mutex::default() };
        store.assert_partitions(dir, partitions)?;
        (0..partitions).try_for_each(|partition| store.progress(partition).map(drop))?;
        Ok(store)
    }
}

impl Store {
    fn table(&self, view: AnyView) -> &Table {
        &self.tables[view.name()]
    }

    /// One batch: the rows that are newer than the stored ones, and the progress.
    fn write(&self, changes: &Changes) -> Result<(), ViewsError> {
        // The lock guards no memory: what a writer that panicked left is its unused batch.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = self.database.batch();
        let mut in_memory = Vec::new();
        for table in self.tables.values() {
            let mut put = Vec::new();
            for entry in table.view.entries(changes) {
                if table.put(&mut batch, &entry)? && table.is_in_memory() {
                    put.push(table.row_of(&entry)?);
                }
            }
            if !put.is_empty() {
                in_memory.extend(table.lock().map(|rows| (rows, put)));
            }
        }
        self.put_progress(&mut batch, &changes.progress)?;
        batch.commit().map_err(failed("committing a batch"))?;
        // Nobody reads them before: whoever sees the progress sees these rows. A map is whole after every
        // step, so one that panicked leaves nothing half done.
        in_memory.into_iter().for_each(|(mut rows, put)| rows.extend(put));
        Ok(())
    }

    /// Empties all tables; of which log they are stays.
    fn clear(&self) -> Result<(), ViewsError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.tables.values().try_for_each(Table::clear)?;
        self.clear_progress()
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("the store panicked").to_owned()
}

fn not_opened(dir: &Path, error: fjall::Error) -> ViewsError {
    match error {
        fjall::Error::Locked => ViewsError::Locked { directory: dir.into() },
        error if cause::is_of_the_machine(&error) => ViewsError::Unavailable {
            during: format!("{} cannot be opened: {}", dir.display(), cause::words(&error)),
            source: error.into(),
        },
        error => {
            let (place, source) = (dir.display().to_string(), cause::words(&error).into());
            ViewsError::Setup { place, source }
        }
    }
}

/// fjall gives no error that goes away: it refuses every write after the first that failed.
fn failed(during: &str) -> impl Fn(fjall::Error) -> ViewsError {
    move |error| ViewsError::Failed { during: during.into(), source: cause::words(&error).into() }
}

#[async_trait]
impl Engine for EmbeddedViews {
    async fn write(&self, changes: Changes) -> Result<(), ViewsError> {
        self.open_again().await?;
        let store = self.store()?;
        let written_to = Arc::downgrade(&store);
        match self.run_on(store, move |store| store.write(&changes)).await {
            Err(ViewsError::Failed { during, source }) => {
                self.close(written_to, source.to_string()).await?;
                Err(ViewsError::Unavailable { during, source })
            }
            written => written,
        }
    }

    async fn progress(&self, partition: u32) -> Result<Option<Progress>, ViewsError> {
        self.open_again().await?; // what a projector begins with
        self.run(move |store| store.progress(partition)).await
    }

    async fn get(&self, view: AnyView, key: Key) -> Result<Option<AnyRow>, ViewsError> {
        self.run(move |store| store.table(view).get(&key)).await
    }

    async fn some(&self, view: AnyView, keys: Vec<Key>) -> Result<Vec<AnyRow>, ViewsError> {
        let get = move |store: &Store| {
            let rows = keys.iter().map(|key| store.table(view).get(key));
            rows.filter_map(Result::transpose).collect()
        };
        self.run(get).await
    }

    async fn list(
        &self,
        view: AnyView,
        walk: Walk,
        count: usize,
    ) -> Result<Vec<AnyRow>, ViewsError> {
        let store = self.store()?;
        // Otherwise a batch with rows of it is being committed, which may take a while.
        if store.table(view).is_at_hand() {
            return store.table(view).list(walk, count);
        }
        self.run_on(store, move |store| store.table(view).list(walk, count)).await
    }

    /// As it was when the scan began, each row held against its own place.
    async fn scan(
        &self,
        view: AnyView,
        each: &mut (dyn FnMut(Scanned<AnyRow>) + Send),
    ) -> Result<(), ViewsError> {
        let snapshot = self.store()?.database.snapshot();
        let mut after = Vec::new();
        loop {
            let snapshot = snapshot.clone();
            let rows = self
                .run(move |store| store.table(view).chunk(&snapshot, &after, SCAN_CHUNK))
                .await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = last.clone();
            rows.into_iter().for_each(|(_, row)| each(row));
        }
    }

    async fn clear(&self) -> Result<(), ViewsError> {
        self.run(Store::clear).await
    }
}
