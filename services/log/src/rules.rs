//! The rules of the protocol by name, so that a test can show what each is for.
//!
//! Outside the tests of this crate every rule is on and this is nothing at all.

/// A rule that keeps acknowledged records acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// An event counts only under the term of the last fence.
    Term,
    /// An event counts only as the next one of its term.
    Sequence,
    /// An answer is released only for the offset expected.
    Contiguity,
    /// Serving begins only after folding through the own fence. Kept by whoever feeds the owner.
    #[cfg(test)]
    CatchUp,
    /// After a delivery that does not fit, nothing more is released.
    Suspicion,
    /// An answer that wrote nothing is released only for a later event, or while the lease lasts.
    Lease,
}

/// Which rules are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rules {
    #[cfg(test)]
    pub(crate) without: Option<Rule>,
}

impl Rules {
    #[cfg(test)]
    pub(crate) fn keep(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the tests' variant looks into it")]
    pub(crate) fn keep(self, _: Rule) -> bool {
        true
    }
}
