//! Commands that were not decided, or whose outcome is not known.

use seckill_proto::ProblemKind;
use seckill_proto::v1::Refusal;

/// Why there is no answer. Not a refusal: a refusal is decided by durable state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Turned away before anything was decided, because too much is waiting.
    #[error("too many commands are waiting")]
    Overloaded,
    /// Definitely not accepted.
    #[error("the promotion's partition cannot take commands now")]
    Unavailable,
    /// May have been accepted. The same request again is safe and tells.
    #[error("the outcome is not known")]
    Unknown,
    /// This node does not own the partition and was not to pass the command on.
    #[error("another node owns the promotion's partition")]
    NotOwner,
}

impl Failure {
    /// What a client is told.
    #[must_use]
    pub fn kind(&self) -> ProblemKind {
        match self {
            Self::Overloaded => ProblemKind::Overloaded,
            Self::Unavailable => ProblemKind::Unavailable,
            Self::Unknown => ProblemKind::OutcomeUnknown,
            Self::NotOwner => ProblemKind::NotOwner,
        }
    }
}

/// What a client is told of a refusal.
#[must_use]
pub(crate) fn kind_of(refusal: Refusal) -> ProblemKind {
    match refusal {
        Refusal::NotFound => ProblemKind::NotFound,
        Refusal::AlreadyExists => ProblemKind::AlreadyExists,
        Refusal::NotStarted => ProblemKind::NotStarted,
        Refusal::AlreadyStarted => ProblemKind::AlreadyStarted,
        Refusal::Finished => ProblemKind::Finished,
        Refusal::SoldOut => ProblemKind::SoldOut,
        Refusal::LimitReached => ProblemKind::LimitReached,
        Refusal::InvalidTerms => ProblemKind::InvalidTerms,
        Refusal::Unspecified => ProblemKind::Internal,
    }
}
