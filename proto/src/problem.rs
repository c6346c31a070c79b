//! What can go wrong with a request, by the name that the `type` of a problem (RFC 9457) ends with. One
//! table, used by servers and by clients.

/// What a problem says about the command that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The request is wrong, and would be at any time. Nothing was decided.
    Invalid,
    /// Refused, by state that is durable.
    Refused,
    /// Nothing was decided: the same request may be accepted later.
    NotAccepted,
    /// It may have been accepted. The same request again tells.
    Unknown,
}

/// What every problem type begins with.
const URN: &str = "urn:seckill:problem:";

macro_rules! kinds {
    ($($kind:ident $name:literal $status:literal $outcome:ident $retry_after_s:expr, $title:literal;)*) => {
        /// A kind of problem. Its name never changes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ProblemKind {
            $(#[doc = $title] $kind,)*
        }

        impl ProblemKind {
            /// All of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// What its type ends with.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The HTTP status.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)* }
            }

            /// The same for every occurrence.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }

            /// What it says about the command that it answers.
            #[must_use]
            pub fn outcome(self) -> Outcome {
                match self { $(Self::$kind => Outcome::$outcome,)* }
            }

            /// After how many seconds to try again, where that is told.
            #[must_use]
            pub fn retry_after_s(self) -> Option<u32> {
                match self { $(Self::$kind => $retry_after_s,)* }
            }
        }
    };
}

kinds! {
    MalformedJson       "malformed-json"       400 Invalid None, "The body is not JSON";
    InvalidBody         "invalid-body"         400 Invalid None, "The body is not what the path takes";
    InvalidTerms        "invalid-terms"        400 Invalid None, "The promotion cannot be offered so";
    InvalidIdentifier   "invalid-identifier"   400 Invalid None, "The identifier is not valid";
    InvalidParameter    "invalid-parameter"    400 Invalid None, "A parameter of the query is not valid";
    InvalidPosition     "invalid-position"     400 Invalid None, "The position is not valid";
    InvalidCursor       "invalid-cursor"       400 Invalid None, "The cursor is not one that this list gave";
    InvalidHost         "invalid-host"         400 Invalid None, "The request has no host, or several";
    IncompleteBody      "incomplete-body"      400 Invalid None, "The body did not come whole";
    MalformedCommand    "malformed-command"    400 Invalid None, "The command between nodes cannot be read";
    NotFound            "not-found"            404 Refused None, "There is no such promotion or coupon";
    NoSuchRecord        "no-such-record"       404 Refused None, "There is no such record in the log";
    NoSuchRoute         "no-such-route"        404 Invalid None, "There is nothing at this path";
    MethodNotAllowed    "method-not-allowed"   405 Invalid None, "The path does not take this method";
    BodyTooSlow         "body-too-slow"        408 Invalid None, "The body did not come in time";
    AlreadyExists       "already-exists"       409 Refused None, "The promotion exists";
    AlreadyStarted      "already-started"      409 Refused None, "The promotion has started";
    NotStarted          "not-started"          409 Refused None, "The promotion has not started";
    Finished            "finished"             409 Refused None, "The promotion is over";
    Paused              "paused"               409 Refused None, "The promotion is paused";
    SoldOut             "sold-out"             409 Refused None, "The promotion is sold out";
    LimitReached        "limit-reached"        409 Refused None, "The customer holds as many coupons as one may";
    WrongPhase          "wrong-phase"          409 Refused None, "The rebuild is not where that is possible";
    NotSkippable        "not-skippable"        409 Refused None, "The record is not skipped";
    BodyTooLarge        "body-too-large"       413 Invalid None, "The body is too large";
    UnsupportedMediaType "unsupported-media-type" 415 Invalid None, "The body must be JSON";
    UnsupportedContentEncoding "unsupported-content-encoding" 415 Invalid None, "The body must not be encoded";
    NotOwner            "not-owner"            421 NotAccepted None, "Another node owns the promotion";
    Overloaded          "overloaded"           429 NotAccepted Some(1), "Too many requests are waiting";
    Internal            "internal"             500 Unknown None, "The answer cannot be read";
    Unavailable         "unavailable"          503 NotAccepted Some(1), "The promotion cannot take commands now";
    Starting            "starting"             503 NotAccepted Some(1), "The server is starting";
    TooManyConnections  "too-many-connections" 503 NotAccepted Some(1), "There are too many connections";
    NotYetVisible       "not-yet-visible"      503 NotAccepted Some(1), "The view has not got that far";
    ViewsUnavailable    "views-unavailable"    503 NotAccepted Some(1), "The views cannot be read now";
    ViewNotBuilt        "view-not-built"       503 NotAccepted Some(10), "The view is not built yet";
    TooManyReaders      "too-many-readers"     503 NotAccepted Some(1), "There are too many readers";
    OutcomeUnknown      "outcome-unknown"      504 Unknown None, "The outcome is not known";
}

impl ProblemKind {
    /// The type of RFC 9457.
    #[must_use]
    pub fn urn(self) -> String {
        format!("{URN}{}", self.name())
    }

    /// The kind of a problem of this type; none where this version does not know it.
    #[must_use]
    pub fn of_urn(urn: &str) -> Option<Self> {
        let name = urn.strip_prefix(URN)?;
        Self::ALL.iter().find(|kind| kind.name() == name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_names_its_kind() {
        for kind in ProblemKind::ALL {
            assert_eq!(ProblemKind::of_urn(&kind.urn()), Some(*kind));
        }
        for urn in ["", "sold-out", "urn:seckill:problem:", "urn:seckill:problem:new"] {
            assert_eq!(ProblemKind::of_urn(urn), None, "{urn}");
        }
    }

    #[test]
    fn whoever_may_try_again_is_told_when() {
        for kind in ProblemKind::ALL {
            let again = kind.outcome() == Outcome::NotAccepted && *kind != ProblemKind::NotOwner;
            assert_eq!(kind.retry_after_s().is_some(), again, "{kind:?}");
            assert_eq!(
                kind.outcome() == Outcome::Invalid,
                [400, 405, 408, 413, 415].contains(&kind.status())
                    || *kind == ProblemKind::NoSuchRoute,
                "{kind:?}"
            );
        }
    }
}
