//! Leads a rebuild from phase to phase. Any number of processes may do so at once: a step is taken once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use seckill_log::Log;
use seckill_views::{
    CATALOG_MAX_AGE, Comparison, Phase, Progress, Rebuild, Step, Views, ViewsError,
};
use tokio::time::Instant;

use crate::compare::{self, Expected};
use crate::verify::Report;

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After so long everybody knows of a phase.
const SETTLED: Duration = CATALOG_MAX_AGE.saturating_mul(4);

pub(crate) struct Coordinator {
    log: Arc<dyn Log>,
    views: Views,
    /// The revision of the catalog that was seen last, and since when.
    seen: u64,
    since: Instant,
}

impl Coordinator {
    pub(crate) fn new(log: Arc<dyn Log>, views: Views) -> Self {
        Self { log, views, seen: 0, since: Instant::now() }
    }

    /// Never ends.
    pub(crate) async fn run(mut self) {
        let mut said = String::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let led = self.lead().await.map_err(|error| error.to_string()).err();
            if let Some(error) = led.filter(|error| *error != said) {
                tracing::warn!(error, "the rebuild is not led on; trying again");
                said = error;
            }
        }
    }

    async fn lead(&mut self) -> Result<(), ViewsError> {
        let (rebuild, revision) = self.views.rebuild_and_revision().await?;
        if revision != self.seen {
            (self.seen, self.since) = (revision, Instant::now());
            if let Some(Rebuild { number, phase, .. }) = &rebuild {
                tracing::info!(number, phase = phase.name(), "the rebuild goes on");
            }
        }
        let Some(rebuild) = rebuild else { return Ok(()) };
        let settled = self.since.elapsed() > SETTLED;
        let step = match rebuild.phase {
            Phase::Preparing => {
                self.views.create_beside().await?;
                Step::Created
            }
            Phase::Building if settled && self.all_follow(revision).await? => Step::Reached,
            Phase::Comparing => Step::Compared(self.compare(&rebuild).await?),
            Phase::Switching | Phase::Undoing if settled && self.all_follow(revision).await? => {
                Step::Flip
            }
            Phase::Dropping if settled => {
                self.views.delete_beside(revision).await?;
                Step::Dropped
            }
            _ => return Ok(()),
        };
        // Of this revision: an operator, or another process, may have been quicker, even twice.
        if let Err(error) = self.views.step_from(revision, &step).await? {
            tracing::debug!(%error, "the rebuild has gone another way");
        }
        Ok(())
    }

    /// Whether the tables beside are written with those that are read, in every partition, and by this
    /// revision of the catalog: whatever was begun by an earlier one has ended.
    async fn all_follow(&self, revision: u64) -> Result<bool, ViewsError> {
        let beside = self.views.beside();
        for partition in 0..self.log.partitions() {
            let read = self.views.next_offset(partition).await?;
            let progress = beside.progress(partition).await?;
            let follows =
                |progress: &Progress| progress.next_offset >= read && progress.revision >= revision;
            if !progress.as_ref().is_some_and(follows) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn compare(&self, rebuild: &Rebuild) -> Result<Comparison, ViewsError> {
        let beside = self.views.beside();
        let mut ends = HashMap::new();
        for partition in 0..self.log.partitions() {
            ends.insert(partition, self.views.next_offset(partition).await?);
        }
        let both = self.views.on_both_sides().await?;
        let names: Vec<&str> = both.iter().map(|view| view.name()).collect();
        let new = rebuild.views.iter().filter(|name| !names.contains(&name.as_str())).cloned();
        let mut expected = Expected::of_tables(&self.views, both.clone(), ends).await?;
        let mut report = Report::default();
        let found = compare::sums(&beside, &mut expected, &mut report, &mut |_, _, _| {}).await?;
        for mut part in found.differing.iter().flat_map(|differing| differing.parts()) {
            part.note_tables(&self.views, &expected).await?;
            part.compare(&beside, (&expected, "now it is"), &mut report).await?;
        }
        let Report { counts, different, differences, .. } = report;
        let rows = counts.into_iter().map(|(view, rows)| (view.into_owned(), rows));
        let (new, rows) = (new.collect(), rows.collect());
        Ok(Comparison { rows, new, different, differences })
    }
}
