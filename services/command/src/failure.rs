//! Commands that were not decided, or whose outcome is not known.

use seckill_proto::ProblemKind;
use seckill_proto::v1::{Answer, Refusal};

/// Why there is no answer. Not a refusal: a refusal is decided by durable state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Turned away before anything was decided, because too much is waiting.
    #[error("too many commands are waiting")]
    Overloaded,
    /// Definitely not accepted.
    #[error("the promotion's partition cannot take commands now")]
    Unavailable,
    /// Nothing was decided, because nobody listens where the owner is believed to be.
    #[error("the node of the promotion's partition is not reached")]
    Unreached,
    /// May have been accepted. The same request again is safe and tells.
    #[error("the outcome is not known")]
    Unknown,
    /// This node does not own the partition and was not to pass the command on.
    #[error("another node owns the promotion's partition")]
    NotOwner,
}

/// What became of a command.
pub type Told = Result<Answer, Failure>;

impl Failure {
    /// What a client is told.
    #[must_use]
    pub fn kind(&self) -> ProblemKind {
        match self {
            Self::Overloaded => ProblemKind::Overloaded,
            Self::Unavailable | Self::Unreached => ProblemKind::Unavailable,
            Self::Unknown => ProblemKind::OutcomeUnknown,
            Self::NotOwner => ProblemKind::NotOwner,
        }
    }
}

/// What a client is told of a refusal: its kind, and what is wrong in words.
pub(crate) fn told_of(refusal: Refusal) -> (ProblemKind, &'static str) {
    match refusal {
        Refusal::NotFound => (ProblemKind::NotFound, "No promotion has this id."),
        Refusal::AlreadyExists => {
            (ProblemKind::AlreadyExists, "A promotion with this id exists on other terms.")
        }
        Refusal::NotStarted => (ProblemKind::NotStarted, "Try again once it has started."),
        Refusal::AlreadyStarted => (
            ProblemKind::AlreadyStarted,
            "Of a promotion that has started only finishes_at can be changed.",
        ),
        Refusal::Finished => (ProblemKind::Finished, "It takes no more commands."),
        Refusal::Paused => (ProblemKind::Paused, "Try again once it goes on."),
        Refusal::SoldOut => (ProblemKind::SoldOut, "Every coupon has been given."),
        Refusal::LimitReached => {
            (ProblemKind::LimitReached, "The promotion's limit per customer is reached.")
        }
        Refusal::EndTooEarly => {
            (ProblemKind::InvalidTerms, "finishes_at must lie after now and after starts_at.")
        }
        Refusal::TotalTooLow => {
            (ProblemKind::InvalidTerms, "coupons, the new total, must not be below the old one.")
        }
        Refusal::InvalidTerms => {
            (ProblemKind::InvalidTerms, "A term is out of its range, or there are none.")
        }
        Refusal::Unspecified => (
            ProblemKind::Internal,
            "Another node answered in a way that this version does not know.",
        ),
    }
}
