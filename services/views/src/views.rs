//! The read model: what everybody reads from, and the projector writes to.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::catalog::{Catalog, Side};
use crate::changes::Changes;
use crate::coupon::CouponRow;
use crate::engine::{Document, Engine, Walk};
use crate::error::ViewsError;
use crate::generation::{Generation, ProgressId, TableId};
use crate::key::Key;
use crate::progress::Progress;
use crate::rebuild::{Rebuild, Step, StepError};
use crate::view::{self, AnyView, Entry, Scanned, View};

/// How old knowledge of the catalog may be when it is used: so soon every process follows a switch.
pub const CATALOG_MAX_AGE: Duration = Duration::from_millis(500);

/// How long the first catalog, by whoever wrote it, may take to be seen, and how often it is looked for.
const CATALOG_SEEN_WITHIN: Duration = Duration::from_secs(10);
const CATALOG_LOOK: Duration = Duration::from_millis(100);

/// The read model of one log; cheap to clone.
///
/// Lists take the `next` of the page before as `cursor`, and a `limit` of at most [`crate::MAX_PAGE`]
/// rows. A cursor that no list of that kind gave is [`ViewsError::InvalidCursor`].
///
/// The lists of each view stand in the view's own file.
#[derive(Clone)]
pub struct Views {
    shared: Arc<Shared>,
    side: Side,
    pub(crate) partitions: u32,
}

struct Shared {
    engine: Box<dyn Engine>,
    /// All there are.
    list: &'static [AnyView],
    known: RwLock<Known>,
    /// Held by who reads the catalog again; when that failed last, and why.
    reading: Mutex<Option<(Instant, String)>>,
}

/// The catalog as it was a moment ago.
#[derive(Clone)]
struct Known {
    catalog: Arc<Catalog>,
    revision: u64,
    at: Instant,
}

impl Known {
    fn of(document: &Document) -> Result<Self, ViewsError> {
        let wrong = |error: serde_json::Error| {
            view::corrupt("catalog", "views", format!("{error}; of a newer version?"))
        };
        let catalog = Arc::new(serde_json::from_str(&document.text).map_err(wrong)?);
        Ok(Self { catalog, revision: document.revision, at: Instant::now() })
    }
}

impl Views {
    /// Views that exist.
    pub(crate) async fn open(
        engine: Box<dyn Engine>,
        partitions: u32,
        list: &'static [AnyView],
    ) -> Result<Option<Self>, ViewsError> {
        let Some(document) = engine.catalog().await? else { return Ok(None) };
        let known = Known::of(&document)?;
        let found = known.catalog.partitions;
        if found != partitions {
            return Err(ViewsError::OtherPartitions { place: engine.place(), found, partitions });
        }
        let known = RwLock::new(known);
        let shared = Shared { engine, list, known, reading: Mutex::default() };
        Ok(Some(Self { shared: Arc::new(shared), side: Side::Live, partitions }))
    }

    /// Views, with what is missing of them made: a catalog, tables, and tables in the place of those of
    /// an earlier version of this program.
    pub(crate) async fn create(
        engine: Box<dyn Engine>,
        partitions: u32,
        list: &'static [AnyView],
    ) -> Result<Self, ViewsError> {
        if engine.catalog().await?.is_none() {
            let first = Catalog::first(partitions, list);
            engine.create(first.live(list)?).await?;
            // Of several that start at once one is the first, and the others may not see at once what
            // it wrote: a plain read can be ahead of the end of a transaction.
            engine.replace_catalog(document(0, &first)).await?;
            let begun = Instant::now();
            while engine.catalog().await?.is_none() && begun.elapsed() < CATALOG_SEEN_WITHIN {
                tokio::time::sleep(CATALOG_LOOK).await;
            }
        }
        let absent = ViewsError::Absent { place: engine.place() };
        let views = Self::open(engine, partitions, list).await?.ok_or(absent)?;
        views.begin_anew_where_older().await?;
        Ok(views)
    }

    async fn begin_anew_where_older(&self) -> Result<(), ViewsError> {
        let Shared { engine, list, .. } = &*self.shared;
        let Known { catalog, revision, .. } = self.shared.known.read().clone();
        if !catalog.is_older(list) {
            return Ok(());
        }
        tracing::warn!("the views are of an earlier version: they are made again from the log");
        let anew = catalog.anew(list);
        engine.create(anew.live(list)?).await?;
        // Before they are used: nobody takes them for what the old ones were.
        engine.empty(vec![ProgressId::Live.to_string()]).await?;
        if engine.replace_catalog(document(revision, &anew)).await? {
            engine.delete([catalog.live_names(), catalog.shadow_names()].concat()).await?;
        }
        self.read_catalog().await
    }

    /// The same views, read from the tables beside those that are read otherwise: those of a rebuild,
    /// or those before it. What has no tables there is read as otherwise.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { side: Side::Shadow, ..self.clone() }
    }

    /// Writes the rows, then the progress, which is never ahead of the rows, to the tables that are read.
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
        self.write_to(changes, |id| id == ProgressId::Live).await
    }

    /// As [`Views::write`], to the tables beside those that are read, as long as they are of the rebuild
    /// with this number.
    ///
    /// # Errors
    /// As [`Views::write`].
    pub async fn write_beside(&self, changes: Changes, number: u32) -> Result<(), ViewsError> {
        let beside = ProgressId::Rebuild(Generation(number));
        self.write_to(changes, |id| id == beside).await
    }

    /// As [`Views::write`] and [`Views::write_beside`], first to those tables that readers go to.
    ///
    /// # Errors
    /// As [`Views::write`].
    pub async fn write_both(&self, changes: Changes, number: u32) -> Result<(), ViewsError> {
        let beside = ProgressId::Rebuild(Generation(number));
        self.write_to(changes, |id| id == ProgressId::Live || id == beside).await
    }

    async fn write_to(
        &self,
        mut changes: Changes,
        which: impl Fn(ProgressId) -> bool,
    ) -> Result<(), ViewsError> {
        let Shared { engine, list, .. } = &*self.shared;
        list.iter().for_each(|view| view.assert_belongs(&changes, self.partitions));
        let Known { catalog, revision, .. } = self.known().await?;
        let mut sets = catalog.written(list)?;
        sets.retain(|set| which(set.progress));
        // Who waits for writers to follow a change of the catalog looks for this.
        changes.progress.revision = if sets.len() > 1 { revision } else { 0 };
        if sets.is_empty() { Ok(()) } else { engine.write(sets, Arc::new(changes)).await }
    }

    /// How far a partition has been written; none before its first write.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn progress(&self, partition: u32) -> Result<Option<Progress>, ViewsError> {
        let (catalog, engine) = (self.catalog().await?, &self.shared.engine);
        let beside = catalog.shadow_progress();
        match (self.side, beside) {
            (Side::Shadow, Some(beside)) => engine.progress(beside, partition).await,
            (Side::Shadow, None) => Ok(None),
            (Side::Live, Some(beside)) if catalog.writers_may_be_late() => {
                let live = engine.progress(ProgressId::Live, partition).await?;
                let both = engine.progress(beside, partition).await?;
                let of_both = |both: &Progress| {
                    live.as_ref().is_some_and(|live| both.next_offset < live.next_offset)
                };
                Ok(both.filter(of_both).or(live))
            }
            (Side::Live, _) => engine.progress(ProgressId::Live, partition).await,
        }
    }

    /// The first offset that the rows of a partition do not reflect.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn next_offset(&self, partition: u32) -> Result<u64, ViewsError> {
        Ok(self.progress(partition).await?.map_or(0, |progress| progress.next_offset))
    }

    /// A customer's coupon of a promotion, and the first offset of its partition that was not written before it
    /// was looked for: that there is none holds of all before that.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn coupon_as_far_as(
        &self,
        partition: u32,
        promotion_id: &str,
        customer_id: &str,
    ) -> Result<(Option<CouponRow>, u64), ViewsError> {
        let next_offset = self.next_offset(partition).await?;
        Ok((self.coupon_of(customer_id, promotion_id).await?, next_offset))
    }

    /// Every row of a view, in any order, for an auditor.
    ///
    /// # Errors
    /// As the engine reports them; rows given before stay given.
    pub async fn scan<V: View>(
        &self,
        each: &mut (dyn FnMut(Scanned<V::Row>) + Send),
    ) -> Result<(), ViewsError> {
        let table = self.table(AnyView::of::<V>()).await?;
        let each = &mut |row: Scanned<_>| each(row.map(view::typed::<V>));
        self.shared.engine.scan(table, each).await
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
        let table = self.table(view).await?;
        let each = &mut |row: Scanned<_>| each(row.map(|row| view.entry(&row)));
        self.shared.engine.scan(table, each).await
    }

    /// The views that have tables on this side.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn built(&self) -> Result<Vec<AnyView>, ViewsError> {
        let (catalog, mut views) = (self.catalog().await?, self.shared.list.to_vec());
        views.retain(|view| match self.side {
            Side::Live => catalog.table(self.side, *view).is_ok(),
            Side::Shadow => catalog.is_beside(*view),
        });
        Ok(views)
    }

    /// The views that have tables on both sides.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn on_both_sides(&self) -> Result<Vec<AnyView>, ViewsError> {
        let (catalog, mut views) = (self.catalog().await?, self.shared.list.to_vec());
        views.retain(|view| catalog.has_both(*view));
        Ok(views)
    }

    /// Empties every table, and ends a rebuild, so that a projector makes them again from the log.
    ///
    /// # Errors
    /// As the engine reports them; some tables may be empty.
    pub async fn clear(&self) -> Result<(), ViewsError> {
        let (catalog, live) = (self.catalog().await?, ProgressId::Live.to_string());
        // Progress last: while it is there, nobody begins anew.
        let names = [catalog.live_names(), catalog.shadow_names(), vec![live]].concat();
        self.shared.engine.empty(names).await
    }

    /// Whether reads are answered at all: one cheap read, for a readiness probe.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn check(&self) -> Result<(), ViewsError> {
        self.catalog().await?;
        self.progress(0).await.map(drop)
    }

    /// The rebuild that there is.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn rebuild(&self) -> Result<Option<Rebuild>, ViewsError> {
        Ok(self.catalog().await?.rebuild.clone())
    }

    /// The rebuild that there is, and the revision of the catalog that says so: another one with every step.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn rebuild_and_revision(&self) -> Result<(Option<Rebuild>, u64), ViewsError> {
        let Known { catalog, revision, .. } = self.known().await?;
        Ok((catalog.rebuild.clone(), revision))
    }

    /// Takes a step of a rebuild; of several who want to take one at once one does, and the others find
    /// it taken.
    ///
    /// # Errors
    /// The step is not possible, or as the engine reports them.
    pub async fn step(&self, step: &Step) -> Result<Result<(), StepError>, ViewsError> {
        loop {
            self.read_catalog().await?;
            let revision = self.shared.known.read().revision;
            match self.step_from(revision, step).await? {
                Err(StepError::Moved) => {}
                taken => return Ok(taken),
            }
        }
    }

    /// Takes a step of the rebuild as a revision of the catalog tells it, and of no later one.
    ///
    /// # Errors
    /// The step is not possible, or as the engine reports them.
    pub async fn step_from(
        &self,
        from: u64,
        step: &Step,
    ) -> Result<Result<(), StepError>, ViewsError> {
        let Shared { engine, list, known, .. } = &*self.shared;
        let Known { catalog, revision, .. } = known.read().clone();
        if revision != from {
            return Ok(Err(StepError::Moved));
        }
        let after = match catalog.after(step, list) {
            Ok(after) => after,
            Err(error) => return Ok(Err(error)),
        };
        let taken = engine.replace_catalog(document(revision, &after)).await?;
        self.read_catalog().await?;
        Ok(if taken { Ok(()) } else { Err(StepError::Moved) })
    }

    /// Creates the tables of a rebuild that are not there.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn create_beside(&self) -> Result<(), ViewsError> {
        let Shared { engine, list, .. } = &*self.shared;
        match self.catalog().await?.shadow(list)? {
            Some(set) => engine.create(set).await,
            None => Ok(()),
        }
    }

    /// Deletes the tables that are not read, as a revision of the catalog tells them: no later one has
    /// tables of these names, so it does no harm to be late.
    ///
    /// # Errors
    /// As the engine reports them.
    pub async fn delete_beside(&self, from: u64) -> Result<(), ViewsError> {
        let Known { catalog, revision, .. } = self.shared.known.read().clone();
        let names = catalog.shadow_names();
        if revision == from { self.shared.engine.delete(names).await } else { Ok(()) }
    }

    pub(crate) async fn get<V: View>(&self, key: Key) -> Result<Option<V::Row>, ViewsError> {
        let table = self.table(AnyView::of::<V>()).await?;
        let row = self.shared.engine.get(table, key).await?;
        Ok(row.map(view::typed::<V>))
    }

    pub(crate) async fn some<V: View>(&self, keys: Vec<Key>) -> Result<Vec<V::Row>, ViewsError> {
        let table = self.table(AnyView::of::<V>()).await?;
        let rows = self.shared.engine.some(table, keys).await?;
        Ok(rows.into_iter().map(view::typed::<V>).collect())
    }

    pub(crate) async fn list<V: View>(
        &self,
        walk: Walk,
        count: usize,
    ) -> Result<Vec<V::Row>, ViewsError> {
        let table = self.table(AnyView::of::<V>()).await?;
        let rows = self.shared.engine.list(table, walk, count).await?;
        Ok(rows.into_iter().map(view::typed::<V>).collect())
    }

    async fn table(&self, view: AnyView) -> Result<TableId, ViewsError> {
        self.catalog().await?.table(self.side, view)
    }

    async fn catalog(&self) -> Result<Arc<Catalog>, ViewsError> {
        Ok(self.known().await?.catalog)
    }

    /// The catalog, of at most [`CATALOG_MAX_AGE`] ago.
    async fn known(&self) -> Result<Known, ViewsError> {
        let fresh = || {
            let known = self.shared.known.read();
            (known.at.elapsed() < CATALOG_MAX_AGE).then(|| known.clone())
        };
        if let Some(known) = fresh() {
            return Ok(known);
        }
        let asked = Instant::now();
        let mut failed = self.shared.reading.lock().await;
        if let Some(known) = fresh() {
            return Ok(known);
        }
        // One question for all who have waited for it, whatever its answer is.
        if let Some((at, reason)) = failed.as_ref().filter(|(at, _)| *at > asked) {
            tracing::debug!(?at, "the catalog could not be read a moment ago");
            let during = "reading the catalog".to_owned();
            return Err(ViewsError::Unavailable { during, source: reason.clone().into() });
        }
        let read = self.read_catalog().await;
        *failed = read.as_ref().err().map(|error| (Instant::now(), error.to_string()));
        read?;
        Ok(self.shared.known.read().clone())
    }

    async fn read_catalog(&self) -> Result<(), ViewsError> {
        let asked = Instant::now(); // it may have changed while it was read
        let document = self.shared.engine.catalog().await?;
        let absent = || ViewsError::Absent { place: self.shared.engine.place() };
        let read = Known::of(&document.ok_or_else(absent)?)?;
        let mut known = self.shared.known.write();
        if read.revision >= known.revision {
            *known = Known { at: asked.max(known.at), ..read };
        }
        Ok(())
    }
}

/// The catalog that follows the one of a revision.
fn document(before: u64, catalog: &Catalog) -> Document {
    let text = serde_json::to_string(catalog).expect("a catalog is plain JSON");
    Document { revision: before + 1, text }
}
