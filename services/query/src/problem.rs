//! What a reader is told where there is nothing to read.

use seckill_edge::Problem;
use seckill_proto::ProblemKind;
use seckill_views::ViewsError;

/// From an error of the views to what a client is told.
pub(crate) fn problem(error: &ViewsError) -> Problem {
    if matches!(error, ViewsError::InvalidCursor) {
        return Problem::new(
            ProblemKind::InvalidCursor,
            "The cursor is not one that this list gave.",
        );
    }
    if let ViewsError::NotBuilt { .. } | ViewsError::OtherVersion { .. } = error {
        return Problem::new(ProblemKind::ViewNotBuilt, format!("{error}."));
    }
    tracing::warn!(%error, "a view could not be read");
    Problem::new(
        ProblemKind::ViewsUnavailable,
        "Coupons are not affected. Try again after the time given.",
    )
}

pub(crate) fn absent(what: &'static str) -> Problem {
    Problem::new(ProblemKind::NotFound, what)
}
