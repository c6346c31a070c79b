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
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tokio::task::JoinError;

use crate::changes::Changes;
use crate::engine::{Document, Engine, Walk};
use crate::error::ViewsError;
use crate::generation::{Generation, ProgressId, TableId, TableSet, is_former};
use crate::key::Key;
use crate::progress::Progress;
use crate::view::{AnyRow, Scanned, Texts, corrupt};
use table::Table;

/// A file that is there while tables are made or deleted.
const CHANGING: &str = "changing-tables";
/// The table of the catalog, and the key of its only row.
const CATALOG: &str = "catalog";

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
}

struct Store {
    dir: PathBuf,
    database: Database,
    catalog: Keyspace,
    /// Those that were used.
    tables: RwLock<HashMap<(&'static str, Generation), Arc<Table>>>,
    /// Held while stored positions are compared and the batch is committed.
    writing: Mutex<()>,
}

impl EmbeddedViews {
    pub(crate) async fn open(dir: &Path) -> Result<Self, ViewsError> {
        let directory = dir.to_owned();
        let open = tokio::task::spawn_blocking(move || Store::open(&directory));
        let store = Ok(Arc::new(open.await.unwrap_or_else(|error| Err(shutting_down(error)))?));
        Ok(Self { store: Arc::new(RwLock::new(store)), dir: dir.into() })
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
            Err(error) => Err(shutting_down(error)),
        }
    }

    /// Opens the store where a write that failed has closed it.
    async fn open_again(&self) -> Result<(), ViewsError> {
        let (held, dir) = (Arc::clone(&self.store), self.dir.clone());
        if self.store().is_ok() {
            return Ok(());
        }
        let open = move || {
            // Of two that are here at once the second finds the directory locked, and comes again.
            let store = Store::open(&dir).map_err(|error| match error {
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
        ended.unwrap_or_else(|error| Err(shutting_down(error)))
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

fn shutting_down(error: JoinError) -> ViewsError {
    ViewsError::Unavailable { during: "the runtime is shutting down".into(), source: error.into() }
}

/// What the store would make anew without a word where it is gone: a table that is empty then, or the
/// last writes of all tables.
fn assert_whole(dir: &Path) -> Result<(), ViewsError> {
    let gone = |path: PathBuf| {
        let source = format!("{} is missing", path.display()).into();
        Err(ViewsError::Setup { place: dir.display().to_string(), source })
    };
    let tables: Vec<_> = std::fs::read_dir(dir.join("keyspaces")).into_iter().flatten().collect();
    // What was being made or deleted when the process was killed is in no state, and is cleaned up.
    let changing = dir.join(CHANGING).exists();
    for table in tables.iter().flatten().filter(|_| !changing) {
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
    fn open(dir: &Path) -> Result<Self, ViewsError> {
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open_or_panic(dir)));
        opened.unwrap_or_else(|panic| {
            let source = words(&*panic).into();
            Err(ViewsError::Setup { place: dir.display().to_string(), source })
        })
    }

    fn open_or_panic(dir: &Path) -> Result<Self, ViewsError> {
        assert_whole(dir)?;
        let builder = Database::builder(dir).max_cached_files(Some(MAX_OPEN_TABLES));
        let database = builder.open().map_err(|error| not_opened(dir, error))?;
        let catalog = database.keyspace(CATALOG, KeyspaceCreateOptions::default);
        let catalog = catalog.map_err(|error| not_opened(dir, error))?;
        let (tables, writing) = Default::default();
        let store = Self { dir: dir.into(), database, catalog, tables, writing };
        store.delete_former()?;
        Ok(store)
    }

    /// Deletes tables of versions that had no catalog: nobody reads them any more.
    fn delete_former(&self) -> Result<(), ViewsError> {
        let names = self.database.list_keyspace_names();
        let mut names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        names.retain(|name| is_former(name));
        if names.is_empty() { Ok(()) } else { self.delete(&names) }
    }

    /// One that was used before.
    fn used_table(&self, id: TableId) -> Option<Arc<Table>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.get(&id.key()).map(Arc::clone)
    }

    fn table(&self, id: TableId) -> Result<Arc<Table>, ViewsError> {
        if let Some(table) = self.used_table(id) {
            return Ok(table);
        }
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = tables.get(&id.key()) {
            return Ok(Arc::clone(table)); // somebody else was quicker
        }
        let table = Arc::new(Table::open(id, self.existing(&id.to_string())?)?);
        tables.insert(id.key(), Arc::clone(&table));
        Ok(table)
    }

    fn progress_table(&self, id: ProgressId) -> Result<Keyspace, ViewsError> {
        self.existing(&id.to_string())
    }

    /// Nothing is created in passing: what is gone was deleted.
    fn existing(&self, name: &str) -> Result<Keyspace, ViewsError> {
        if !self.database.keyspace_exists(name) {
            let during = format!("reading {name}");
            return Err(ViewsError::Unavailable { during, source: "it was deleted".into() });
        }
        self.keyspace(name)
    }

    fn keyspace(&self, name: &str) -> Result<Keyspace, ViewsError> {
        let keyspace = self.database.keyspace(name, KeyspaceCreateOptions::default);
        keyspace.map_err(failed("opening a table"))
    }

    /// The names of the folders of tables say nothing of what they hold, and one that is being made or
    /// deleted looks like one that is damaged: so it is noted while that goes on.
    fn change<T>(&self, change: impl FnOnce() -> Result<T, ViewsError>) -> Result<T, ViewsError> {
        let failed = |error: io::Error| ViewsError::Failed {
            during: "noting that tables change".into(),
            source: error.into(),
        };
        let mark = self.dir.join(CHANGING);
        File::create(&mark).and_then(|mark| mark.sync_all()).map_err(failed)?;
        let changed = change()?;
        std::fs::remove_file(&mark).map_err(failed)?;
        Ok(changed)
    }

    fn create(&self, set: &TableSet) -> Result<(), ViewsError> {
        let names = set.tables.iter().map(ToString::to_string).chain([set.progress.to_string()]);
        let names: Vec<String> =
            names.filter(|name| !self.database.keyspace_exists(name)).collect();
        self.change(|| names.iter().try_for_each(|name| self.keyspace(name).map(drop)))
    }

    fn delete(&self, names: &[String]) -> Result<(), ViewsError> {
        let _writing = self.writing();
        let mut used = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, table| !names.contains(&table.id.to_string()));
        let there = || names.iter().filter(|name| self.database.keyspace_exists(name));
        self.change(|| {
            there().try_for_each(|name| {
                let deleted = self.database.delete_keyspace(self.keyspace(name)?);
                deleted.map_err(failed("deleting a table"))
            })
        })
    }

    fn empty(&self, names: &[String]) -> Result<(), ViewsError> {
        let _writing = self.writing();
        let used = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        for name in names.iter().filter(|name| self.database.keyspace_exists(name)) {
            match used.values().find(|table| table.id.to_string() == *name) {
                Some(table) => table.clear()?,
                None => self.keyspace(name)?.clear().map_err(failed("emptying a table"))?,
            }
        }
        Ok(())
    }

    /// The lock guards no memory: what a writer that panicked left is its unused batch.
    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One batch: the rows that are newer than the stored ones, and how far all of the tables are.
    fn write(&self, sets: &[TableSet], changes: &Changes) -> Result<(), ViewsError> {
        let tables_of = |set: &TableSet| {
            let tables = set.tables.iter().map(|id| self.table(*id));
            Ok((set.progress, tables.collect::<Result<Vec<_>, ViewsError>>()?))
        };
        let sets = sets.iter().map(tables_of).collect::<Result<Vec<_>, ViewsError>>()?;
        let _writing = self.writing();
        let mut batch = self.database.batch();
        let (mut in_memory, mut texts) = (Vec::new(), Texts::default());
        for (id, tables) in &sets {
            let progress_table = self.progress_table(*id)?;
            let stored = progress::read(*id, &progress_table, changes.progress.partition)?;
            let from = stored.map_or(0, |stored| stored.next_offset);
            for table in tables {
                let put = table.put_all(&mut batch, (changes, &mut texts), from)?;
                if !put.is_empty() {
                    in_memory.extend(table.lock().map(|rows| (rows, put)));
                }
            }
            // At the same place the later write counts, since all writers are in this process.
            if from <= changes.progress.next_offset {
                progress::put(&mut batch, &progress_table, &changes.progress_of(*id));
            }
        }
        batch.commit().map_err(failed("committing a batch"))?;
        // Nobody reads them before: whoever sees the progress sees these rows. A map is whole after every
        // step, so one that panicked leaves nothing half done.
        in_memory.into_iter().for_each(|(mut rows, put)| rows.extend(put));
        Ok(())
    }

    fn catalog(&self) -> Result<Option<Document>, ViewsError> {
        let value = self.catalog.get(CATALOG).map_err(failed("reading the catalog"))?;
        let wrong = |reason: &dyn std::fmt::Display| corrupt(CATALOG, "views", reason);
        let document = |value: &[u8]| {
            let short = || wrong(&"it is too short to hold a revision");
            let (revision, text) = value.split_first_chunk().ok_or_else(short)?;
            let text = String::from_utf8(text.to_vec()).map_err(|error| wrong(&error))?;
            Ok(Document { revision: u64::from_be_bytes(*revision), text })
        };
        value.map(|value| document(&value)).transpose()
    }

    fn replace_catalog(&self, document: &Document) -> Result<bool, ViewsError> {
        let _writing = self.writing();
        let before = self.catalog()?.map_or(0, |before| before.revision);
        if before + 1 != document.revision {
            return Ok(false);
        }
        let value = [&document.revision.to_be_bytes(), document.text.as_bytes()].concat();
        self.catalog.insert(CATALOG, value).map_err(failed("writing the catalog"))?;
        // Tables are deleted by its word: it must not be gone, and they too.
        self.database.persist(PersistMode::SyncAll).map_err(failed("syncing the catalog"))?;
        Ok(true)
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
    async fn write(&self, sets: Vec<TableSet>, changes: Arc<Changes>) -> Result<(), ViewsError> {
        self.open_again().await?;
        let store = self.store()?;
        let written_to = Arc::downgrade(&store);
        match self.run_on(store, move |store| store.write(&sets, &changes)).await {
            Err(ViewsError::Failed { during, source }) => {
                self.close(written_to, source.to_string()).await?;
                Err(ViewsError::Unavailable { during, source })
            }
            written => written,
        }
    }

    async fn progress(
        &self,
        id: ProgressId,
        partition: u32,
    ) -> Result<Option<Progress>, ViewsError> {
        self.open_again().await?; // what a projector begins with
        self.run(move |store| store.progress(id, partition)).await
    }

    async fn get(&self, table: TableId, key: Key) -> Result<Option<AnyRow>, ViewsError> {
        self.run(move |store| store.table(table)?.get(&key)).await
    }

    async fn some(&self, table: TableId, keys: Vec<Key>) -> Result<Vec<AnyRow>, ViewsError> {
        let get = move |store: &Store| {
            let table = store.table(table)?;
            keys.iter().filter_map(|key| table.get(key).transpose()).collect()
        };
        self.run(get).await
    }

    async fn list(
        &self,
        table: TableId,
        walk: Walk,
        count: usize,
    ) -> Result<Vec<AnyRow>, ViewsError> {
        let store = self.store()?;
        // Otherwise a batch with rows of it is being committed, which may take a while.
        if let Some(table) = store.used_table(table).filter(|table| table.is_at_hand()) {
            return table.list(walk, count);
        }
        self.run_on(store, move |store| store.table(table)?.list(walk, count)).await
    }

    /// As it was when the scan began, each row held against its own place.
    async fn scan(
        &self,
        table: TableId,
        each: &mut (dyn FnMut(Scanned<AnyRow>) + Send),
    ) -> Result<(), ViewsError> {
        let snapshot = self.store()?.database.snapshot();
        let mut after = Vec::new();
        loop {
            let snapshot = snapshot.clone();
            let rows = self
                .run(move |store| store.table(table)?.chunk(&snapshot, &after, SCAN_CHUNK))
                .await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = last.clone();
            rows.into_iter().for_each(|(_, row)| each(row));
        }
    }

    async fn create(&self, set: TableSet) -> Result<(), ViewsError> {
        self.run(move |store| store.create(&set)).await
    }

    async fn delete(&self, names: Vec<String>) -> Result<(), ViewsError> {
        self.run(move |store| store.delete(&names)).await
    }

    async fn empty(&self, names: Vec<String>) -> Result<(), ViewsError> {
        self.run(move |store| store.empty(&names)).await
    }

    async fn catalog(&self) -> Result<Option<Document>, ViewsError> {
        self.open_again().await?; // what a writer looks at first
        self.run(Store::catalog).await
    }

    async fn replace_catalog(&self, document: Document) -> Result<bool, ViewsError> {
        self.run(move |store| store.replace_catalog(&document)).await
    }

    fn place(&self) -> String {
        self.dir.display().to_string()
    }
}
