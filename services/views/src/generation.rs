//! A view is a generation of tables, so that the next one can be made beside it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::view::AnyView;

/// Suffix of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Generation(pub(crate) u32);

/// The first one of views that are made anew. Tables of those before it were not in a catalog.
pub(crate) const FIRST: Generation = Generation(4);

/// A table.
#[derive(Clone, Copy)]
pub(crate) struct TableId {
    pub(crate) view: AnyView,
    pub(crate) generation: Generation,
}

impl TableId {
    /// The same for the same table only.
    pub(crate) fn key(self) -> (&'static str, Generation) {
        (self.view.name(), self.generation)
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&table_name(self.view.name(), self.generation))
    }
}

/// Of which tables a progress is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ProgressId {
    /// Those that are read.
    Live,
    /// Those of a rebuild, which are written beside them.
    Rebuild(Generation),
}

impl fmt::Display for ProgressId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live => f.write_str("progress"),
            Self::Rebuild(generation) => write!(f, "progress_g{}", generation.0),
        }
    }
}

/// The name that a table has: every one is made here.
pub(crate) fn table_name(view: &str, generation: Generation) -> String {
    format!("{view}_g{}", generation.0)
}

/// Whether a table is of a version that had no catalog.
pub(crate) fn is_former(name: &str) -> bool {
    let generation = name.rsplit_once("_g").and_then(|(_, number)| number.parse().ok());
    generation.is_some_and(|number| Generation(number) < FIRST)
}

/// Tables that are written together, and where it is kept how far they are.
#[derive(Clone)]
pub(crate) struct TableSet {
    pub(crate) progress: ProgressId,
    pub(crate) tables: Vec<TableId>,
}

#[cfg(test)]
mod tests {
    use super::is_former;

    #[test]
    fn tables_from_before_the_catalog_are_known_by_their_number() {
        assert!(["promotions_g3", "progress_g1"].into_iter().all(is_former));
        let others = ["promotions_g4", "progress_g12", "progress", "catalog", "promotions_gx"];
        assert!(!others.into_iter().any(is_former));
    }
}
