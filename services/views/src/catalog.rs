//! Which tables each view has, and what is made beside them. Pure.
//!
//! One document beside the tables, replaced as a whole by whoever has seen the last one. It begins with
//! tables for every view. A rebuild adds tables, the *shadow*, beside those that are read, the *live*
//! ones; a switch exchanges the two, and so does its undo.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::ViewsError;
use crate::generation::{FIRST, Generation, ProgressId, TableId, TableSet, table_name};
use crate::rebuild::{NewRebuild, Phase, Rebuild, Step, StepError, SwitchMode};
use crate::view::AnyView;

/// Which of its tables a view is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Live,
    /// Those beside them; where a view has none there, the live ones.
    Shadow,
}

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Catalog {
    /// Of the log.
    pub(crate) partitions: u32,
    /// The number of the next rebuild: none is given twice.
    next: Generation,
    live: Tables,
    shadow: Tables,
    pub(crate) rebuild: Option<Rebuild>,
}

/// By name of the view.
type Tables = BTreeMap<String, Made>;

/// The table of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    generation: Generation,
    /// Version of the rows.
    version: u32,
}

impl Catalog {
    /// Of views that have no rows yet.
    pub(crate) fn first(partitions: u32, views: &[AnyView]) -> Self {
        Self::with_tables(FIRST, partitions, views)
    }

    /// Views that have no rows, with tables that none had before.
    pub(crate) fn anew(&self, views: &[AnyView]) -> Self {
        Self::with_tables(self.next, self.partitions, views)
    }

    fn with_tables(generation: Generation, partitions: u32, views: &[AnyView]) -> Self {
        let (next, live) = (Generation(generation.0 + 1), made(generation, views));
        Self { partitions, next, live, shadow: Tables::new(), rebuild: None }
    }

    /// Tables that hold rows of an earlier version of this program.
    pub(crate) fn is_older(&self, views: &[AnyView]) -> bool {
        let older = |view: &AnyView| self.live.get(view.name()).map(|made| made.version);
        views.iter().any(|view| older(view).is_some_and(|version| version < view.version()))
    }

    /// The table that a view is read from.
    ///
    /// # Errors
    /// [`ViewsError::NotBuilt`], or the rows are of another version of this program.
    pub(crate) fn table(&self, side: Side, view: AnyView) -> Result<TableId, ViewsError> {
        let shadow = self.shadow.get(view.name()).filter(|_| side == Side::Shadow);
        let made = shadow.or_else(|| self.live.get(view.name()));
        let not_built = || ViewsError::NotBuilt { view: view.name() };
        let Made { generation, version } = *made.ok_or_else(not_built)?;
        if version != view.version() {
            let (view, known) = (view.name(), view.version());
            return Err(ViewsError::OtherVersion { view, found: version, known });
        }
        Ok(TableId { view, generation })
    }

    /// What is read.
    ///
    /// # Errors
    /// A table is one that this program does not know: it could not write it.
    pub(crate) fn live(&self, views: &[AnyView]) -> Result<TableSet, ViewsError> {
        Ok(TableSet { progress: ProgressId::Live, tables: ids(&self.live, views)? })
    }

    /// What is beside it.
    ///
    /// # Errors
    /// As [`Catalog::live`].
    pub(crate) fn shadow(&self, views: &[AnyView]) -> Result<Option<TableSet>, ViewsError> {
        let Some(progress) = self.shadow_progress() else { return Ok(None) };
        Ok(Some(TableSet { progress, tables: ids(&self.shadow, views)? }))
    }

    /// Where it is kept how far what is beside is.
    pub(crate) fn shadow_progress(&self) -> Option<ProgressId> {
        self.rebuild.as_ref().map(|rebuild| ProgressId::Rebuild(Generation(rebuild.number)))
    }

    /// Readers were given other tables, and a writer who has not heard of it, because another has its partition now,
    /// may still tell of rows in those that they had before. What was written to both is in both.
    pub(crate) fn writers_may_be_late(&self) -> bool {
        let phase = self.rebuild.as_ref().map(|rebuild| rebuild.phase);
        matches!(phase, Some(Phase::Switched | Phase::Undoing | Phase::Undone))
    }

    /// What is written, in this order.
    ///
    /// # Errors
    /// As [`Catalog::live`].
    pub(crate) fn written(&self, views: &[AnyView]) -> Result<Vec<TableSet>, ViewsError> {
        let phase = self.rebuild.as_ref().map(|rebuild| rebuild.phase);
        let shadow = self.shadow(views)?.filter(|_| phase.is_some_and(Phase::is_written));
        let mut written: Vec<_> = shadow.into_iter().chain([self.live(views)?]).collect();
        if phase.is_some_and(|phase| !phase.writes_shadow_first()) {
            written.reverse();
        }
        Ok(written)
    }

    /// Names of the tables that are read, whether or not this program knows them.
    pub(crate) fn live_names(&self) -> Vec<String> {
        names(&self.live)
    }

    /// Names of the tables beside, and of their progress.
    pub(crate) fn shadow_names(&self) -> Vec<String> {
        let progress = self.shadow_progress().map(|progress| progress.to_string());
        names(&self.shadow).into_iter().chain(progress).collect()
    }

    /// Whether a view has a table that is read.
    pub(crate) fn is_built(&self, view: AnyView) -> bool {
        self.live.contains_key(view.name())
    }

    /// Whether a view has a table beside the one that is read.
    pub(crate) fn is_beside(&self, view: AnyView) -> bool {
        self.shadow.contains_key(view.name())
    }

    /// Whether a view has two tables, so that their rows can be compared.
    pub(crate) fn has_both(&self, view: AnyView) -> bool {
        self.is_built(view) && self.is_beside(view)
    }

    /// The document after a step.
    pub(crate) fn after(&self, step: &Step, views: &[AnyView]) -> Result<Self, StepError> {
        if let Step::Start(new) = step {
            return self.start(new, views);
        }
        let rebuild = self.rebuild.as_ref().ok_or(StepError::None)?;
        let allowed = allowed(step);
        let (number, phase) = (rebuild.number, rebuild.phase);
        if !allowed.contains(&phase) {
            return Err(StepError::WrongPhase { step: step.name(), number, phase, allowed });
        }
        let mut after = self.clone();
        after.advance(step, phase);
        Ok(after)
    }

    fn start(&self, new: &NewRebuild, views: &[AnyView]) -> Result<Self, StepError> {
        if let Some(Rebuild { number, phase, .. }) = self.rebuild {
            return Err(StepError::UnderWay { number, phase });
        }
        let mut chosen: Vec<AnyView> = Vec::new();
        for name in &new.views {
            let view = views.iter().find(|view| view.name() == *name);
            let known = || views.iter().map(|view| view.name()).collect();
            chosen.push(
                *view
                    .ok_or_else(|| StepError::UnknownView { name: name.clone(), known: known() })?,
            );
        }
        if chosen.is_empty() {
            chosen.extend(views);
        }
        let shadow = made(self.next, &chosen);
        let rebuild = Rebuild {
            number: self.next.0,
            views: shadow.keys().cloned().collect(),
            phase: Phase::Preparing,
            switch: new.switch,
            rate: new.rate,
            started_at: new.at,
            comparison: None,
        };
        let next = Generation(self.next.0 + 1);
        Ok(Self { next, shadow, rebuild: Some(rebuild), ..self.clone() })
    }

    fn advance(&mut self, step: &Step, before: Phase) {
        let Some(rebuild) = &mut self.rebuild else { return };
        rebuild.phase = match step {
            Step::Start(_) => before,
            Step::Created | Step::Resume => Phase::Building,
            Step::Pause => Phase::Paused,
            Step::Reached => Phase::Comparing,
            Step::Compared(comparison) => {
                let auto = rebuild.switch == SwitchMode::Auto && comparison.different == 0;
                rebuild.comparison = Some(comparison.clone());
                if auto { Phase::Switching } else { Phase::Built }
            }
            // It was not taken back yet.
            Step::Switch if before == Phase::Undoing => Phase::Switched,
            Step::Switch => Phase::Switching,
            Step::Undo => Phase::Undoing,
            Step::Flip if before == Phase::Switching => Phase::Switched,
            Step::Flip => Phase::Undone,
            Step::Abort | Step::Drop | Step::Dropped => Phase::Dropping,
        };
        match step {
            Step::Flip => self.exchange(),
            Step::Dropped => (self.shadow, self.rebuild) = (Tables::new(), None),
            _ => {}
        }
    }

    /// Lets the views of the rebuild be read from their other tables.
    fn exchange(&mut self) {
        let views = self.rebuild.iter().flat_map(|rebuild| rebuild.views.clone());
        for view in views {
            let (live, shadow) = (self.live.remove(&view), self.shadow.remove(&view));
            self.live.extend(shadow.map(|made| (view.clone(), made)));
            self.shadow.extend(live.map(|made| (view, made)));
        }
    }
}

fn made(generation: Generation, views: &[AnyView]) -> Tables {
    let made = |view: &AnyView| Made { generation, version: view.version() };
    views.iter().map(|view| (view.name().to_owned(), made(view))).collect()
}

fn names(tables: &Tables) -> Vec<String> {
    tables.iter().map(|(view, made)| table_name(view, made.generation)).collect()
}

/// Who does not know a table of a set writes none of it: the progress would tell of rows that are not there.
fn ids(tables: &Tables, views: &[AnyView]) -> Result<Vec<TableId>, ViewsError> {
    let id = |(name, made): (&String, &Made)| {
        let Made { generation, version: found } = *made;
        let unknown = || ViewsError::UnknownView { view: name.clone() };
        let view = *views.iter().find(|view| view.name() == *name).ok_or_else(unknown)?;
        let (name, known) = (view.name(), view.version());
        let other = ViewsError::OtherVersion { view: name, found, known };
        if found == known { Ok(TableId { view, generation }) } else { Err(other) }
    };
    tables.iter().map(id).collect()
}

/// The phases in which a step is possible.
fn allowed(step: &Step) -> &'static [Phase] {
    use Phase::{
        Building, Built, Comparing, Dropping, Paused, Preparing, Switched, Switching, Undoing,
        Undone,
    };
    match step {
        Step::Start(_) => &[],
        Step::Created => &[Preparing],
        Step::Pause | Step::Reached => &[Building],
        Step::Compared(_) => &[Comparing],
        Step::Resume => &[Paused],
        Step::Switch => &[Built, Undone, Undoing],
        Step::Undo => &[Switched],
        Step::Flip => &[Switching, Undoing],
        Step::Abort => &[Preparing, Building, Paused, Comparing, Built, Switching],
        Step::Drop => &[Switched, Undone],
        Step::Dropped => &[Dropping],
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::VIEWS;
    use crate::rebuild::Comparison;

    const NO_VIEW: [&str; 0] = [];

    fn start<const N: usize>(views: [&str; N], switch: SwitchMode) -> Step {
        let views = views.map(str::to_owned).to_vec();
        Step::Start(NewRebuild { views, rate: None, switch, at: Timestamp::UNIX_EPOCH })
    }

    fn compared(different: u64) -> Step {
        let (rows, new, differences) = Default::default();
        Step::Compared(Comparison { rows, new, different, differences })
    }

    fn walk(catalog: &Catalog, steps: &[Step]) -> Catalog {
        let step = |catalog: Catalog, step| catalog.after(step, &VIEWS).expect("a step");
        steps.iter().fold(catalog.clone(), step)
    }

    fn names(tables: &TableSet) -> Vec<String> {
        tables.tables.iter().map(ToString::to_string).collect()
    }

    fn live(catalog: &Catalog) -> TableSet {
        catalog.live(&VIEWS).expect("all are known")
    }

    fn shadow(catalog: &Catalog) -> TableSet {
        catalog.shadow(&VIEWS).expect("all are known").expect("a shadow")
    }

    fn written(catalog: &Catalog) -> Vec<TableSet> {
        catalog.written(&VIEWS).expect("all are known")
    }

    fn phase(catalog: &Catalog) -> Phase {
        catalog.rebuild.as_ref().expect("a rebuild").phase
    }

    #[test]
    fn a_switch_exchanges_tables_and_its_undo_exchanges_them_back() {
        let first = Catalog::first(4, &VIEWS);
        let built =
            walk(&first, &[start(["promotions"], SwitchMode::Auto), Step::Created, Step::Reached]);
        assert_eq!(names(&shadow(&built)), ["promotions_g5"]);
        assert_eq!(live(&built).tables.len(), VIEWS.len());
        let switched = walk(&built, &[compared(0), Step::Flip]);
        assert_eq!(names(&shadow(&switched)), ["promotions_g4"]);
        assert!(names(&live(&switched)).contains(&"promotions_g5".to_owned()));
        let undone = walk(&switched, &[Step::Undo, Step::Flip]);
        assert_eq!(names(&live(&undone)), names(&live(&first)));
        let ended = walk(&undone, &[Step::Switch, Step::Flip, Step::Drop, Step::Dropped]);
        assert_eq!(names(&live(&ended)), names(&live(&switched)));
        assert!(ended.shadow_names().is_empty() && ended.rebuild.is_none());
    }

    #[test]
    fn what_differs_is_for_an_operator_to_switch() {
        let first = Catalog::first(4, &VIEWS);
        let start = |switch| [start(NO_VIEW, switch), Step::Created, Step::Reached];
        let building = walk(&first, &start(SwitchMode::Auto));
        assert_eq!(phase(&walk(&building, &[compared(1)])), Phase::Built);
        assert_eq!(phase(&walk(&building, &[compared(0)])), Phase::Switching);
        let manual = walk(&first, &start(SwitchMode::Manual));
        assert_eq!(phase(&walk(&manual, &[compared(0)])), Phase::Built);
    }

    #[test]
    fn the_tables_that_readers_go_to_are_written_first() {
        let first = Catalog::first(4, &VIEWS);
        let building = walk(&first, &[start(NO_VIEW, SwitchMode::Manual), Step::Created]);
        let switching = walk(&building, &[Step::Reached, compared(0), Step::Switch]);
        let switched = walk(&switching, &[Step::Flip]);
        let undoing = walk(&switched, &[Step::Undo]);
        let undone = walk(&undoing, &[Step::Flip]);
        let first_written = |catalog: &Catalog| names(&written(catalog)[0]).pop().expect("a table");
        assert_eq!(first_written(&building), "promotions_g5");
        // Readers come to the new tables, from before the switch until after it.
        assert_eq!(first_written(&switching), "promotions_g5");
        assert_eq!(first_written(&switched), "promotions_g5");
        // And to the old ones.
        assert_eq!(first_written(&undoing), "promotions_g4");
        assert_eq!(first_written(&undone), "promotions_g4");
        assert_eq!(written(&switched)[1].progress, ProgressId::Rebuild(Generation(5)));
        let dropping = walk(&undone, &[Step::Drop]);
        assert_eq!(written(&dropping).len(), 1);
    }

    #[test]
    fn a_step_of_another_phase_is_refused() {
        let first = Catalog::first(4, &VIEWS);
        assert_eq!(first.after(&Step::Pause, &VIEWS), Err(StepError::None));
        let wrong = first.after(&start(["promotion"], SwitchMode::Auto), &VIEWS);
        let wrong = wrong.expect_err("no such view").to_string();
        assert!(wrong.contains("\"promotion\"") && wrong.contains("promotions, "), "{wrong}");
        let building = walk(&first, &[start(NO_VIEW, SwitchMode::Auto), Step::Created]);
        let second = building.after(&start(NO_VIEW, SwitchMode::Auto), &VIEWS);
        assert_eq!(second, Err(StepError::UnderWay { number: 5, phase: Phase::Building }));
        for step in [Step::Resume, Step::Undo, Step::Drop, Step::Switch, Step::Flip] {
            let refused = building.after(&step, &VIEWS).expect_err("another phase").to_string();
            assert!(refused.contains("rebuild 5 is building"), "{refused}");
        }
        let aborted = walk(&building, &[Step::Abort, Step::Dropped]);
        let again = walk(&aborted, &[start(NO_VIEW, SwitchMode::Auto)]);
        assert_eq!(again.rebuild.expect("a rebuild").number, 6);
    }

    #[test]
    fn a_view_without_tables_is_told() {
        let older = Catalog::first(4, &VIEWS[1..]);
        let error = older.table(Side::Live, VIEWS[0]).err().expect("it has none");
        assert!(error.to_string().contains("rebuild --view promotions"), "{error}");
        let steps = [start(["promotions"], SwitchMode::Auto), Step::Created];
        let building = walk(&older, &steps);
        assert!(building.table(Side::Shadow, VIEWS[0]).is_ok());
        assert!(building.table(Side::Live, VIEWS[0]).is_err());
        assert!(!building.has_both(VIEWS[0]));
        let switched = walk(&building, &[Step::Reached, compared(0), Step::Flip]);
        assert!(switched.table(Side::Live, VIEWS[0]).is_ok());
        assert!(shadow(&switched).tables.is_empty());
        let undone = walk(&switched, &[Step::Undo, Step::Flip]);
        assert!(undone.table(Side::Live, VIEWS[0]).is_err());
    }

    #[test]
    fn rows_of_another_version_are_not_read() {
        let mut catalog = Catalog::first(4, &VIEWS);
        let made = catalog.live.get_mut("promotions").expect("a table");
        made.version += 1;
        assert!(matches!(
            catalog.table(Side::Live, VIEWS[0]),
            Err(ViewsError::OtherVersion { view: "promotions", .. })
        ));
        assert!(!catalog.is_older(&VIEWS));
        // Nor are they written, nor any table beside one that is not known.
        let error =
            Catalog::first(4, &VIEWS).written(&VIEWS[1..]).err().expect("a view is not known");
        assert!(error.to_string().contains("a view promotions that this program does not know"));
        assert!(catalog.live(&VIEWS).is_err() && catalog.written(&VIEWS).is_err());
        catalog.live.get_mut("promotions").expect("a table").version = 0;
        assert!(catalog.is_older(&VIEWS));
        assert!(catalog.anew(&VIEWS).live_names().contains(&"promotions_g5".to_owned()));
    }
}
