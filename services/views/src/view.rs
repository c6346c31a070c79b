//! What a view is: its rows, their key, its table, and how a row is written for each engine.
//!
//! A view implements [`View`] in one file and stands in [`crate::VIEWS`]. The engines know views only
//! as [`AnyView`], without the type of their rows.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use scylla::deserialize::row::DeserializeRow;
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::row::SerializeRow;
use seckill_proto::{Position, partition_of};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::changes::Changes;
use crate::error::ViewsError;
use crate::key::{Key, Kind};

/// A row as the API returns it, in whichever views it stands. The embedded engine keeps it as JSON.
pub trait Row: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The last event that it reflects.
    fn position(&self) -> Position;

    /// The promotion that it is of, where it is of one.
    fn promotion_id(&self) -> Option<&str>;

    /// About how many bytes its texts have.
    fn texts(&self) -> usize;
}

/// A view of the log: rows by key, each a pure function of the log up to its position.
pub trait View: Send + Sync + Sized + 'static {
    /// Its table.
    const SCHEMA: Schema;
    /// Its rows.
    type Row: Row;
    /// The row as the columns of CQL, by name.
    type Columns: SerializeRow
        + for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>
        + Send
        + Sync
        + 'static;

    /// The rows that a stretch of the log has changed.
    fn changed(changes: &Changes) -> impl Iterator<Item = &Self::Row>;

    /// Where a row lies.
    fn key(row: &Self::Row) -> Key;

    /// The row for CQL.
    fn to_columns(row: &Self::Row) -> Self::Columns;

    /// The row from CQL, of a log of so many partitions.
    ///
    /// # Errors
    /// In words, when this program cannot have written it.
    fn from_columns(columns: Self::Columns, partitions: u32) -> Result<Self::Row, String>;
}

/// The table of a view. Each view is one in CQL, by these names.
#[derive(Debug)]
pub struct Schema {
    /// Name of the view.
    pub name: &'static str,
    /// Columns of the group: the partition key of CQL.
    pub group: &'static [Column],
    /// Columns of the place within the group: the clustering key of CQL.
    pub within: &'static [Column],
    /// All other columns.
    pub values: &'static [Column],
    /// Goes up by one with every change of the columns or of what they mean.
    pub version: u32,
    /// Whether a later event may change a row.
    pub rewritten: bool,
    /// Whether the embedded engine holds the rows in memory too: few, small, and read all the time.
    pub in_memory: bool,
}

/// A column: its name and what it holds.
pub type Column = (&'static str, Kind);

impl Schema {
    pub(crate) fn columns(&self) -> impl Iterator<Item = &Column> {
        self.group.iter().chain(self.within).chain(self.values)
    }
}

/// A row as an auditor finds it, or what is wrong with it: a row that cannot be read, or lies under
/// a key or a position that is not its own, is [`ViewsError::Corrupt`].
pub type Scanned<T> = Result<T, ViewsError>;

/// A row without its type.
pub(crate) type AnyRow = Arc<dyn Any + Send + Sync>;

/// A row with its key, as the embedded engine keeps it and auditors compare it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies.
    pub key: Key,
    /// The last event that it reflects.
    pub position: Position,
    /// The row as JSON.
    pub json: Bytes,
}

/// The JSON of rows of a stretch of the log, made once for all views that have the same row.
#[derive(Default)]
pub(crate) struct Texts<'changes> {
    by_row: HashMap<(TypeId, usize), Bytes>,
    of: PhantomData<&'changes Changes>,
}

impl<'changes> Texts<'changes> {
    /// Of a row that lies where it is for as long as these texts live.
    fn of<R: Row>(&mut self, row: &'changes R) -> Bytes {
        let place = (TypeId::of::<R>(), std::ptr::from_ref(row).addr());
        self.by_row.entry(place).or_insert_with(|| json(row)).clone()
    }
}

/// A row to be written to CQL.
pub(crate) struct CqlRow {
    pub(crate) key: Key,
    pub(crate) position: Position,
    /// Bytes of its texts.
    pub(crate) texts: usize,
    pub(crate) columns: Box<dyn SerializeRow + Send + Sync>,
}

/// One of [`crate::VIEWS`].
#[derive(Clone, Copy)]
pub struct AnyView(&'static dyn Erased);

impl AnyView {
    pub(crate) const fn of<V: View>() -> Self {
        Self(&PhantomData::<V>)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.schema().name
    }

    /// The rows of it that a stretch of the log has changed.
    #[must_use]
    pub fn entries(self, changes: &Changes) -> Vec<Entry> {
        self.entries_sharing(changes, &mut Texts::default())
    }

    /// The same, for who asks several views.
    pub(crate) fn entries_sharing<'changes>(
        self,
        changes: &'changes Changes,
        texts: &mut Texts<'changes>,
    ) -> Vec<Entry> {
        self.0.entries(changes, texts)
    }

    /// Whether a later event may change a row of it.
    #[must_use]
    pub fn is_rewritten(self) -> bool {
        self.0.schema().rewritten
    }

    /// Version of its rows.
    pub(crate) fn version(self) -> u32 {
        self.schema().version
    }

    pub(crate) fn schema(self) -> &'static Schema {
        self.0.schema()
    }

    pub(crate) fn cql_rows(self, changes: &Changes) -> Vec<CqlRow> {
        self.0.cql_rows(changes)
    }

    pub(crate) fn assert_belongs(self, changes: &Changes, partitions: u32) {
        self.0.assert_belongs(changes, partitions);
    }

    pub(crate) fn entry(self, row: &AnyRow) -> Entry {
        self.0.entry(row)
    }

    /// Where a row lies, and the last event that it reflects.
    pub(crate) fn place(self, row: &AnyRow) -> (Key, Position) {
        self.0.place(row)
    }

    pub(crate) fn decode_json(self, json: &[u8]) -> Result<AnyRow, String> {
        self.0.decode_json(json)
    }

    pub(crate) fn decode_cql(
        self,
        rows: &QueryRowsResult,
        partitions: u32,
    ) -> Result<Vec<Result<AnyRow, String>>, String> {
        self.0.decode_cql(rows, partitions)
    }
}

impl fmt::Debug for AnyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A view behind a pointer.
trait Erased: Send + Sync {
    fn schema(&self) -> &'static Schema;
    fn entries<'changes>(
        &self,
        changes: &'changes Changes,
        texts: &mut Texts<'changes>,
    ) -> Vec<Entry>;
    fn cql_rows(&self, changes: &Changes) -> Vec<CqlRow>;
    fn assert_belongs(&self, changes: &Changes, partitions: u32);
    fn entry(&self, row: &AnyRow) -> Entry;
    fn place(&self, row: &AnyRow) -> (Key, Position);
    fn decode_json(&self, json: &[u8]) -> Result<AnyRow, String>;
    fn decode_cql(
        &self,
        rows: &QueryRowsResult,
        partitions: u32,
    ) -> Result<Vec<Result<AnyRow, String>>, String>;
}

impl<V: View> Erased for PhantomData<V> {
    fn schema(&self) -> &'static Schema {
        &V::SCHEMA
    }

    fn entries<'changes>(
        &self,
        changes: &'changes Changes,
        texts: &mut Texts<'changes>,
    ) -> Vec<Entry> {
        V::changed(changes).map(|row| entry::<V>(row, texts.of(row))).collect()
    }

    fn cql_rows(&self, changes: &Changes) -> Vec<CqlRow> {
        let rows = V::changed(changes).map(|row| CqlRow {
            key: V::key(row),
            position: row.position(),
            texts: row.texts(),
            columns: Box::new(V::to_columns(row)),
        });
        rows.collect()
    }

    fn assert_belongs(&self, changes: &Changes, partitions: u32) {
        let partition = changes.progress.partition;
        for row in V::changed(changes) {
            let of = row.promotion_id().map_or(partition, |id| partition_of(id, partitions));
            let belongs = of == partition && row.position().partition == partition;
            assert!(belongs, "{} {} is not of partition {partition}", V::SCHEMA.name, V::key(row));
        }
    }

    fn entry(&self, row: &AnyRow) -> Entry {
        let row = as_typed::<V>(row);
        entry::<V>(row, json(row))
    }

    fn place(&self, row: &AnyRow) -> (Key, Position) {
        let row = as_typed::<V>(row);
        (V::key(row), row.position())
    }

    fn decode_json(&self, json: &[u8]) -> Result<AnyRow, String> {
        let row: V::Row = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        Ok(Arc::new(row))
    }

    fn decode_cql(
        &self,
        rows: &QueryRowsResult,
        partitions: u32,
    ) -> Result<Vec<Result<AnyRow, String>>, String> {
        let rows = rows.rows::<V::Columns>().map_err(|error| error.to_string())?;
        let rows = rows.map(|columns| {
            let columns = columns.map_err(|error| error.to_string())?;
            Ok(Arc::new(V::from_columns(columns, partitions)?) as AnyRow)
        });
        Ok(rows.collect())
    }
}

fn entry<V: View>(row: &V::Row, json: Bytes) -> Entry {
    Entry { key: V::key(row), position: row.position(), json }
}

fn json(row: &impl Row) -> Bytes {
    serde_json::to_vec(row).expect("a row is plain JSON, and memory takes it").into()
}

fn as_typed<V: View>(row: &AnyRow) -> &V::Row {
    row.downcast_ref().expect("a view reads its own rows")
}

/// The row with its type again.
pub(crate) fn typed<V: View>(row: AnyRow) -> V::Row {
    let row = row.downcast::<V::Row>().expect("a view reads its own rows");
    Arc::unwrap_or_clone(row)
}

/// The error of a row that this program cannot have written.
pub(crate) fn corrupt(
    table: &str,
    key: impl fmt::Display,
    reason: impl fmt::Display,
) -> ViewsError {
    ViewsError::Corrupt { table: table.into(), key: key.to_string(), reason: reason.to_string() }
}
