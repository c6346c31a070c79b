//! The read model in the memory of one process, for simulations: as careless with a write as a database of
//! many nodes is allowed to be.
//!
//! Rows are written one after another, progress last, and whoever writes may be gone in between. A row or a
//! progress that is older than the stored one changes nothing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::changes::Changes;
use crate::engine::{Document, Engine, Range, Walk};
use crate::error::ViewsError;
use crate::generation::{ProgressId, TableId, TableSet};
use crate::key::Key;
use crate::progress::Progress;
use crate::view::{AnyRow, Scanned};

/// What happens to the calls of a store.
#[async_trait]
pub trait Faults: Send + Sync + 'static {
    /// Takes as long as the call takes, and tells whether it fails then.
    async fn fails(&self, call: &str) -> bool;
}

/// Rows by key: the offset of the last event that each reflects, and the row.
type Rows = BTreeMap<Vec<u8>, (u64, AnyRow)>;

#[derive(Default)]
struct Stored {
    tables: BTreeMap<String, Rows>,
    progress: BTreeMap<(String, u32), Progress>,
    catalog: Option<Document>,
}

/// A store that several [`crate::Views`] share.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Stored>>);

pub(crate) struct MemoryViews {
    pub(crate) store: MemoryStore,
    pub(crate) faults: Arc<dyn Faults>,
}

impl MemoryViews {
    async fn call(&self, call: &str) -> Result<(), ViewsError> {
        match self.faults.fails(call).await {
            true => Err(ViewsError::Unavailable {
                during: call.to_owned(),
                source: "a simulated fault".into(),
            }),
            false => Ok(()),
        }
    }

    fn with<T>(&self, table: TableId, read: impl FnOnce(&Rows) -> T) -> Result<T, ViewsError> {
        let stored = self.store.0.lock();
        let rows = stored.tables.get(&table.to_string()).ok_or_else(|| deleted(table))?;
        Ok(read(rows))
    }

    fn put(&self, table: TableId, changes: &Changes) -> Result<(), ViewsError> {
        let mut stored = self.store.0.lock();
        let rows = stored.tables.get_mut(&table.to_string()).ok_or_else(|| deleted(table))?;
        for entry in table.view.entries(changes) {
            let (key, offset) = (entry.key.to_bytes(), entry.position.offset);
            if rows.get(&key).is_none_or(|(stored, _)| *stored <= offset) {
                let row = table.view.decode_json(&entry.json).expect("a row that was just written");
                rows.insert(key, (offset, row));
            }
        }
        Ok(())
    }

    fn put_progress(&self, id: ProgressId, progress: &Progress) {
        let mut stored = self.store.0.lock();
        let key = (id.to_string(), progress.partition);
        let older = |stored: &Progress| stored.next_offset <= progress.next_offset;
        if stored.progress.get(&key).is_none_or(older) {
            stored.progress.insert(key, progress.normal());
        }
    }
}

/// The rows of one group, or those after a place in it.
fn of_range(rows: &Rows, range: &Range) -> impl Iterator<Item = AnyRow> {
    let (group, from) = range.begin();
    let of_group = rows.range((from, Bound::Unbounded));
    let of_group = of_group.take_while(move |(key, _)| key.starts_with(&group));
    of_group.map(|(_, (_, row))| Arc::clone(row))
}

fn deleted(table: TableId) -> ViewsError {
    ViewsError::Unavailable { during: format!("reading {table}"), source: "it was deleted".into() }
}

#[async_trait]
impl Engine for MemoryViews {
    async fn write(&self, sets: Vec<TableSet>, changes: Arc<Changes>) -> Result<(), ViewsError> {
        for table in sets.iter().flat_map(|set| &set.tables) {
            let to = changes.progress.next_offset;
            self.call(&format!("write {table} to {to}")).await?;
            self.put(*table, &changes)?;
        }
        for id in sets.iter().map(|set| set.progress) {
            self.call(&format!("write {id} of {}", changes.progress.next_offset)).await?;
            self.put_progress(id, &changes.progress_of(id));
        }
        Ok(())
    }

    async fn progress(
        &self,
        id: ProgressId,
        partition: u32,
    ) -> Result<Option<Progress>, ViewsError> {
        self.call("progress").await?;
        Ok(self.store.0.lock().progress.get(&(id.to_string(), partition)).cloned())
    }

    async fn get(&self, table: TableId, key: Key) -> Result<Option<AnyRow>, ViewsError> {
        self.call("get").await?;
        self.with(table, |rows| rows.get(&key.to_bytes()).map(|(_, row)| Arc::clone(row)))
    }

    async fn some(&self, table: TableId, keys: Vec<Key>) -> Result<Vec<AnyRow>, ViewsError> {
        self.call("some").await?;
        self.with(table, |rows| {
            let found = keys.iter().filter_map(|key| rows.get(&key.to_bytes()));
            found.map(|(_, row)| Arc::clone(row)).collect()
        })
    }

    async fn list(
        &self,
        table: TableId,
        walk: Walk,
        count: usize,
    ) -> Result<Vec<AnyRow>, ViewsError> {
        self.call("list").await?;
        self.with(table, |rows| {
            walk.read(count, |range, count| Ok(of_range(rows, range).take(count).collect()))
        })?
    }

    async fn scan(
        &self,
        table: TableId,
        each: &mut (dyn FnMut(Scanned<AnyRow>) + Send),
    ) -> Result<(), ViewsError> {
        self.call("scan").await?;
        let rows: Vec<AnyRow> =
            self.with(table, |rows| rows.values().map(|(_, row)| Arc::clone(row)).collect())?;
        rows.into_iter().for_each(|row| each(Ok(row)));
        Ok(())
    }

    async fn create(&self, tables: TableSet) -> Result<(), ViewsError> {
        for table in &tables.tables {
            self.call("create").await?;
            self.store.0.lock().tables.entry(table.to_string()).or_default();
        }
        Ok(())
    }

    async fn delete(&self, names: Vec<String>) -> Result<(), ViewsError> {
        for name in names {
            self.call("delete").await?;
            let mut stored = self.store.0.lock();
            stored.tables.remove(&name);
            stored.progress.retain(|(of, _), _| *of != name);
        }
        Ok(())
    }

    async fn empty(&self, names: Vec<String>) -> Result<(), ViewsError> {
        for name in names {
            self.call("empty").await?;
            let mut stored = self.store.0.lock();
            stored.tables.get_mut(&name).into_iter().for_each(BTreeMap::clear);
            stored.progress.retain(|(of, _), _| *of != name);
        }
        Ok(())
    }

    async fn catalog(&self) -> Result<Option<Document>, ViewsError> {
        self.call("catalog").await?;
        Ok(self.store.0.lock().catalog.clone())
    }

    async fn replace_catalog(&self, document: Document) -> Result<bool, ViewsError> {
        self.call(&format!("catalog {}", document.text)).await?;
        let follows = {
            let mut stored = self.store.0.lock();
            let before = stored.catalog.as_ref().map_or(0, |before| before.revision);
            let follows = before + 1 == document.revision;
            if follows {
                stored.catalog = Some(document);
            }
            follows
        };
        // It may be written, and whoever wrote it never hear of it.
        self.call("hear of the catalog").await?;
        Ok(follows)
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}
