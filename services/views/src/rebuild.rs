//! What a rebuild is, as it is kept in the catalog and told to operators.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// New tables for some views, written from the start of the log beside those that are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rebuild {
    /// Its number, which is also the generation of its tables.
    pub number: u32,
    /// The views that get new tables, by name.
    pub views: Vec<String>,
    /// How far it is.
    pub phase: Phase,
    /// What happens once the new tables are complete.
    pub switch: SwitchMode,
    /// Records a second that it reads at most, over all partitions; none: as fast as it can.
    pub rate: Option<u32>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// The new tables held against those that were read when they were complete.
    pub comparison: Option<Comparison>,
}

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Its tables are being created.
    Preparing,
    /// The new tables are written from the start of the log.
    Building,
    /// They are not written on for now.
    Paused,
    /// They are complete, kept up to date, and being compared with those that are read.
    Comparing,
    /// They are complete, kept up to date, and compared; an operator is to say `switch` or `abort`.
    Built,
    /// Readers are about to be given the new tables.
    Switching,
    /// Readers have the new tables; those before are kept up to date.
    Switched,
    /// Readers are about to be given the tables before.
    Undoing,
    /// Readers have the tables before again; the new ones are kept up to date.
    Undone,
    /// The tables that are not read are being deleted.
    Dropping,
}

/// What happens once new tables are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchMode {
    /// Readers are given them if their rows are the same, or the view is new.
    Auto,
    /// An operator says so.
    Manual,
}

/// Two generations held against each other, up to an offset of each partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    /// Rows compared, by view.
    pub rows: BTreeMap<String, u64>,
    /// Views that have no tables to be compared with.
    pub new: Vec<String>,
    /// Rows that differ.
    pub different: u64,
    /// The first of them, in words.
    pub differences: Vec<String>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRebuild {
    /// Names of views; none: all there are.
    pub views: Vec<String>,
    /// See [`Rebuild::rate`].
    pub rate: Option<u32>,
    /// See [`Rebuild::switch`].
    pub switch: SwitchMode,
    /// The time.
    pub at: Timestamp,
}

/// A move of a rebuild to its next phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An operator wants one.
    Start(NewRebuild),
    /// Its tables are there.
    Created,
    /// An operator wants it to stand still.
    Pause,
    /// An operator wants it to go on.
    Resume,
    /// The new tables are complete.
    Reached,
    /// They were compared with those that are read.
    Compared(Comparison),
    /// An operator wants the new tables to be read, or to stay read.
    Switch,
    /// An operator wants the tables before to be read again.
    Undo,
    /// Everybody who writes keeps the tables that are to be read ahead of those that are.
    Flip,
    /// An operator wants the new tables to be deleted, which are not read.
    Abort,
    /// An operator wants the tables that are not read to be deleted.
    Drop,
    /// They are deleted.
    Dropped,
}

impl Step {
    /// Its name, as operators give it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Created => "created",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Reached => "reached",
            Self::Compared(_) => "compared",
            Self::Switch => "switch",
            Self::Undo => "undo",
            Self::Flip => "flip",
            Self::Abort => "abort",
            Self::Drop => "drop",
            Self::Dropped => "dropped",
        }
    }
}

impl Phase {
    /// Its name, as operators read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Building => "building",
            Self::Paused => "paused",
            Self::Comparing => "comparing",
            Self::Built => "built",
            Self::Switching => "switching",
            Self::Switched => "switched",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::Dropping => "dropping",
        }
    }

    /// Whether the tables beside those that are read are written.
    #[must_use]
    pub fn is_written(self) -> bool {
        !matches!(self, Self::Preparing | Self::Dropping)
    }

    /// Whether the tables beside those that are read are the new ones.
    #[must_use]
    pub fn new_is_beside(self) -> bool {
        !matches!(self, Self::Switched | Self::Undoing | Self::Dropping)
    }

    /// Whether they are written before those that are read.
    ///
    /// Readers notice a switch one after another, so whichever tables they go to must show at least
    /// what the tables show that they come from: these are written first, from before the switch until
    /// after it.
    pub(crate) fn writes_shadow_first(self) -> bool {
        !matches!(self, Self::Switched | Self::Undone)
    }
}

/// Why a rebuild does not go where it was asked to go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// No view has this name.
    #[error("there is no view {name:?}; there are {}", known.join(", "))]
    UnknownView {
        /// The name.
        name: String,
        /// Those there are.
        known: Vec<&'static str>,
    },
    /// There is one already.
    #[error("rebuild {number} is there, and is {}; {}", phase.name(), way_out(*phase))]
    UnderWay {
        /// Of the one that is there.
        number: u32,
        /// Of the one that is there.
        phase: Phase,
    },
    /// There is none.
    #[error("there is no rebuild")]
    None,
    /// It has gone on since it was looked at.
    #[error("the rebuild has gone on meanwhile")]
    Moved,
    /// Not in this phase.
    #[error("rebuild {number} is {}: {step} is for one that is {}", phase.name(), names(allowed))]
    WrongPhase {
        /// What was asked for.
        step: &'static str,
        /// Of the rebuild.
        number: u32,
        /// Of the rebuild.
        phase: Phase,
        /// Those in which that is possible.
        allowed: &'static [Phase],
    },
}

fn names(phases: &[Phase]) -> String {
    phases.iter().map(|phase| phase.name()).collect::<Vec<_>>().join(" or ")
}

fn way_out(phase: Phase) -> &'static str {
    match phase {
        Phase::Switched | Phase::Undone => "`drop` ends it",
        Phase::Undoing => "`switch` keeps it as it was, and then `drop` ends it",
        Phase::Dropping => "it ends soon",
        _ => "`abort` ends it",
    }
}
