//! A view is a generation of tables, so that a rebuild can write the next one beside it.

/// Suffix of the tables that are read and written together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u32);

/// The generation in use. The first one did not know of which history it was made; what it held is
/// made again from the log.
pub(crate) const LIVE: Generation = Generation(3);

impl Generation {
    /// The name that a view has in the store: every name of a table is made here.
    pub(crate) fn table(self, view: &str) -> String {
        format!("{view}_g{}", self.0)
    }
}
