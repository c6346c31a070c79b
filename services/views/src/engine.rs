//! What an engine does for views that it knows nothing of.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;

use crate::changes::Changes;
use crate::error::ViewsError;
use crate::generation::{ProgressId, TableId, TableSet};
use crate::key::{Key, Part, bytes};
use crate::progress::Progress;
use crate::view::AnyRow;
use crate::view::Scanned;

/// A store of tables. The contract of each call is told at [`crate::Views`].
#[async_trait]
pub(crate) trait Engine: Send + Sync {
    /// Writes the rows of all of these tables, set by set, and only then how far they are: what is read
    /// last of all. So no progress is ahead of any of these tables, whichever it is told to be of later.
    async fn write(&self, sets: Vec<TableSet>, changes: Arc<Changes>) -> Result<(), ViewsError>;

    async fn progress(
        &self,
        id: ProgressId,
        partition: u32,
    ) -> Result<Option<Progress>, ViewsError>;

    async fn get(&self, table: TableId, key: Key) -> Result<Option<AnyRow>, ViewsError>;

    /// Those of some rows of one group that are there, by key.
    async fn some(&self, table: TableId, keys: Vec<Key>) -> Result<Vec<AnyRow>, ViewsError>;

    /// Up to `count` rows.
    async fn list(
        &self,
        table: TableId,
        walk: Walk,
        count: usize,
    ) -> Result<Vec<AnyRow>, ViewsError>;

    async fn scan(
        &self,
        table: TableId,
        each: &mut (dyn FnMut(Scanned<AnyRow>) + Send),
    ) -> Result<(), ViewsError>;

    /// Creates what is not there of these tables.
    async fn create(&self, tables: TableSet) -> Result<(), ViewsError>;

    /// Deletes what is there of the tables with these names.
    async fn delete(&self, names: Vec<String>) -> Result<(), ViewsError>;

    /// Empties what is there of the tables with these names, one after another.
    async fn empty(&self, names: Vec<String>) -> Result<(), ViewsError>;

    /// The catalog; none before there is one.
    async fn catalog(&self) -> Result<Option<Document>, ViewsError>;

    /// Writes a catalog in the place of the one with the revision before it. Whether that was there.
    async fn replace_catalog(&self, document: Document) -> Result<bool, ViewsError>;

    /// Where it is, in words.
    fn place(&self) -> String;
}

/// A text that is replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    /// 1, 2, 3, ...
    pub(crate) revision: u64,
    pub(crate) text: String,
}

/// The rows of one group, or those after a place in it.
pub(crate) struct Range {
    pub(crate) group: Vec<Part>,
    pub(crate) after: Option<Vec<Part>>,
}

impl Range {
    /// What the keys of its group begin with, as bytes, and where its first key lies.
    pub(crate) fn begin(&self) -> (Vec<u8>, Bound<Vec<u8>>) {
        let group = bytes(&self.group);
        let from = match &self.after {
            Some(after) => Bound::Excluded(bytes(self.group.iter().chain(after))),
            None => Bound::Included(group.clone()),
        };
        (group, from)
    }
}

/// Ranges that are read one after another, until there are rows enough.
pub(crate) struct Walk {
    pub(crate) ranges: Box<dyn Iterator<Item = Range> + Send>,
    /// Whether an empty group is the end.
    pub(crate) dense: bool,
}

impl Walk {
    /// Reads ranges until there are `count` rows; `of_range` gives up to so many rows of one.
    pub(crate) fn read<E>(
        self,
        count: usize,
        mut of_range: impl FnMut(&Range, usize) -> Result<Vec<AnyRow>, E>,
    ) -> Result<Vec<AnyRow>, E> {
        let mut rows = Vec::new();
        for range in self.ranges {
            let found = of_range(&range, count - rows.len())?;
            let ended = self.dense && found.is_empty() && range.after.is_none();
            rows.extend(found);
            if ended || rows.len() == count {
                break;
            }
        }
        Ok(rows)
    }

    /// All of one group.
    pub(crate) fn group(group: Vec<Part>, after: Option<Vec<Part>>) -> Self {
        Self { ranges: Box::new(std::iter::once(Range { group, after })), dense: false }
    }

    /// The groups of the partitions from one on, the first one after a place in it.
    pub(crate) fn partitions(first: u32, partitions: u32, after: Option<Vec<Part>>) -> Self {
        let mut after = after;
        let range =
            move |partition: u32| Range { group: vec![partition.into()], after: after.take() };
        Self { ranges: Box::new((first..partitions).map(range)), dense: false }
    }
}
