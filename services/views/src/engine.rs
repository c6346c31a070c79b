//! What an engine does for views that it knows nothing of.

use async_trait::async_trait;

use crate::changes::Changes;
use crate::error::ViewsError;
use crate::key::{Key, Part};
use crate::progress::Progress;
use crate::view::Scanned;
use crate::view::{AnyRow, AnyView};

/// A store of views. The contract of each call is told at [`crate::Views`].
#[async_trait]
pub(crate) trait Engine: Send + Sync {
    async fn write(&self, changes: Changes) -> Result<(), ViewsError>;

    async fn progress(&self, partition: u32) -> Result<Option<Progress>, ViewsError>;

    async fn get(&self, view: AnyView, key: Key) -> Result<Option<AnyRow>, ViewsError>;

    /// Those of some rows of one group that are there, by key.
    async fn some(&self, view: AnyView, keys: Vec<Key>) -> Result<Vec<AnyRow>, ViewsError>;

    /// Up to `count` rows.
    async fn list(
        &self,
        view: AnyView,
        walk: Walk,
        count: usize,
    ) -> Result<Vec<AnyRow>, ViewsError>;

    async fn scan(
        &self,
        view: AnyView,
        each: &mut (dyn FnMut(Scanned<AnyRow>) + Send),
    ) -> Result<(), ViewsError>;

    /// Empties every table.
    async fn clear(&self) -> Result<(), ViewsError>;
}

/// The rows of one group, or those after a place in it.
pub(crate) struct Range {
    pub(crate) group: Vec<Part>,
    pub(crate) after: Option<Vec<Part>>,
}

/// Ranges that are read one after another, until there are rows enough.
pub(crate) struct Walk {
    pub(crate) ranges: Box<dyn Iterator<Item = Range> + Send>,
    /// Whether an empty group is the end.
    pub(crate) dense: bool,
}

impl Walk {
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
