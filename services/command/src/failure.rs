//! Commands that were not decided, or whose outcome is not known.

use axum::http::StatusCode;
use seckill_edge::Problem;

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

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Overloaded => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "overloaded",
                "Too many requests are waiting",
                "Nothing was decided. Try again after the time given.",
            )
            .retry_after_s(1),
            Failure::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The promotion cannot take commands now",
                "The command was not accepted. Try again after the time given.",
            )
            .retry_after_s(1),
            Failure::Unknown => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "outcome-unknown",
                "The outcome is not known",
                "The command may have been accepted. The same request again tells; it is safe where it names an \
                 id or an Idempotency-Key, and for grabs where the limit per customer is 1. Otherwise it is \
                 another wish.",
            ),
            Failure::NotOwner => Self::new(
                StatusCode::MISDIRECTED_REQUEST,
                "not-owner",
                "Another node owns the promotion",
                "The command was not accepted. Send it to the owner.",
            ),
        }
    }
}
