//! The read model: what everybody reads from, and the projector writes to.

use std::sync::Arc;

use crate::changes::Changes;
use crate::engine::{Engine, Walk};
use crate::error::ViewsError;
use crate::key::Key;
use crate::progress::Progress;
use crate::view::{self, AnyView, Entry, Scanned, View};

/// The read model of one log; cheap to clone.
///
/// Lists take the `next` of the page before as `cursor`, and a `limit` of at most [`crate::MAX_PAGE`]
/// rows. A cursor that no list of that kind gave is [`ViewsError::InvalidCursor`].
///
/// The lists of each view stand in the view's own file.
#[derive(Clone)]
pub struct Views {
    engine: Arc<dyn Engine>,
    pub(crate) partitions: u32,
    /// All there are.
    list: &'static [AnyView],
}

impl Views {
    pub(crate) fn on(
        engine: impl Engine + 'static,
        partitions: u32,
        list: &'static [AnyView],
    ) -> Self {
        Self { engine: Arc::new(engine), partitions, list }
    }

    /// Writes the rows, then the progress, which is never ahead of the rows.
    ///
    /// Safe to repeat after any error, and safe beside other writers of the same partition:
    /// a row or a progress that is older than the stored one changes nothing.
    ///
    /// # Errors
    /// When not everything is known to be written. Some rows may be.
    ///
    /// # Panics
    /// When a row is not of the partition that the progress names: it would never be found again.
    pub async fn write(&self, changes: Changes) -> Result<(), ViewsError> {
        self.list.iter().for_each(|view| view.assert_belongs(&changes, self.partitions));
        self.engine.write(changes).await
    }

    /// How far a partition has been written; none before its first write.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn progress(&self, partition: u32) -> Result<Option<Progress>, ViewsError> {
        self.engine.progress(partition).await
    }

    /// Every row of a view, in any order, for an auditor.
    ///
    /// # Errors
    /// As the engine reports them; rows given before stay given.
    pub async fn scan<V: View>(
        &self,
        each: &mut (dyn FnMut(Scanned<V::Row>) + Send),
    ) -> Result<(), ViewsError> {
        let each = &mut |row: Scanned<_>| each(row.map(view::typed::<V>));
        self.engine.scan(AnyView::of::<V>(), each).await
    }

    /// Every row of any view, in any order, for an auditor.
    ///
    /// # Errors
    /// As the engine reports them; rows given before stay given.
    pub async fn scan_entries(
        &self,
        view: AnyView,
        each: &mut (dyn FnMut(Scanned<Entry>) + Send),
    ) -> Result<(), ViewsError> {
        let each = &mut |row: Scanned<_>| each(row.map(|row| view.entry(&row)));
        self.engine.scan(view, each).await
    }

    /// Empties every table, so that a projector makes them again from the log.
    ///
    /// # Errors
    /// As the engine reports them; some tables may be empty.
    pub async fn clear(&self) -> Result<(), ViewsError> {
        self.engine.clear().await
    }

    /// Whether reads are answered at all: one cheap read, for a readiness probe.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn check(&self) -> Result<(), ViewsError> {
        self.progress(0).await.map(drop)
    }

    pub(crate) async fn get<V: View>(&self, key: Key) -> Result<Option<V::Row>, ViewsError> {
        let row = self.engine.get(AnyView::of::<V>(), key).await?;
        Ok(row.map(view::typed::<V>))
    }

    pub(crate) async fn some<V: View>(&self, keys: Vec<Key>) -> Result<Vec<V::Row>, ViewsError> {
        let rows = self.engine.some(AnyView::of::<V>(), keys).await?;
        Ok(rows.into_iter().map(view::typed::<V>).collect())
    }

    pub(crate) async fn list<V: View>(
        &self,
        walk: Walk,
        count: usize,
    ) -> Result<Vec<V::Row>, ViewsError> {
        let rows = self.engine.list(AnyView::of::<V>(), walk, count).await?;
        Ok(rows.into_iter().map(view::typed::<V>).collect())
    }
}
