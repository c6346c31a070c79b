//! What an audit found: per rule how often it was broken, and the first lines of evidence.

use std::collections::BTreeMap;

const LINES_KEPT: usize = 20;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    Contradiction,
    Missing,
    Different,
    MoreThanAsked,
    ToldTwice,
    FalseAlreadyYours,
    RefusedHolds,
    TurnedAwayHolds,
    WrongRefusal,
    NeverAsked,
    Stranger,
    SerialTwice,
    SerialGap,
    CouponId,
    OverLimit,
    Oversold,
    Undersold,
    Remaining,
    OwnCoupons,
    ViewsBehind,
    Unreadable,
}

impl Rule {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Contradiction => "contradiction",
            Self::Missing => "missing",
            Self::Different => "different",
            Self::MoreThanAsked => "more-than-asked",
            Self::ToldTwice => "told-twice",
            Self::FalseAlreadyYours => "false-already-yours",
            Self::RefusedHolds => "refused-holds",
            Self::TurnedAwayHolds => "turned-away-holds",
            Self::WrongRefusal => "wrong-refusal",
            Self::NeverAsked => "never-asked",
            Self::Stranger => "stranger",
            Self::SerialTwice => "serial-twice",
            Self::SerialGap => "serial-gap",
            Self::CouponId => "coupon-id",
            Self::OverLimit => "over-limit",
            Self::Oversold => "oversold",
            Self::Undersold => "undersold",
            Self::Remaining => "remaining",
            Self::OwnCoupons => "own-coupons",
            Self::ViewsBehind => "views-behind",
            Self::Unreadable => "unreadable",
        }
    }

    /// What was seen instead of what must hold.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Contradiction => "an answer does not fit its request, or itself",
            Self::Missing => "told \"yours\", but the views have no coupon for him",
            Self::Different => "told \"yours\", but the views have another serial for him",
            Self::MoreThanAsked => "asked for one coupon, but holds more",
            Self::ToldTwice => "two customers were told the same coupon",
            Self::FalseAlreadyYours => {
                "told \"already yours\", though nothing he sent before can have been accepted"
            }
            Self::RefusedHolds => "refused definitely, but holds a coupon",
            Self::TurnedAwayHolds => "only ever told \"not accepted\", but holds a coupon",
            Self::WrongRefusal => "refused for a reason that cannot be",
            Self::NeverAsked => "a customer of this run holds a coupon that he never asked for",
            Self::Stranger => "a stranger holds a coupon of a promotion made for this run",
            Self::SerialTwice => "two coupons have the same serial",
            Self::SerialGap => "serials are not 1, 2, 3, ...",
            Self::CouponId => "a coupon's id is not its promotion's id and its serial",
            Self::OverLimit => "a customer holds more coupons than the limit",
            Self::Oversold => "more coupons were given than there are",
            Self::Undersold => "coupons are left though somebody wanted one and got none",
            Self::Remaining => "the promotion's row counts other than its coupons",
            Self::OwnCoupons => "a customer's own view shows other than he was told",
            Self::ViewsBehind => "the views did not reach what was told in time",
            Self::Unreadable => "the views could not be read",
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    pub(crate) count: u64,
    /// The first 20.
    pub(crate) lines: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    found: BTreeMap<Rule, Evidence>,
}

impl Findings {
    pub(crate) fn add(&mut self, rule: Rule, line: impl FnOnce() -> String) {
        let evidence = self.found.entry(rule).or_default();
        evidence.count += 1;
        if evidence.lines.len() < LINES_KEPT {
            evidence.lines.push(line());
        }
    }

    /// More of the same, of which no line was kept.
    pub(crate) fn add_unlisted(&mut self, rule: Rule, count: u64) {
        if count > 0 {
            self.found.entry(rule).or_default().count += count;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Rule, &Evidence)> {
        self.found.iter().map(|(rule, evidence)| (*rule, evidence))
    }
}
