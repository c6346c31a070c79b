//! Headers of this system.

use axum::http::{HeaderMap, HeaderName};
use seckill_proto::{Position, ProblemKind};

use crate::{Problem, checked};

/// Where in the log an answer was decided, on answers that were.
const POSITION: HeaderName = HeaderName::from_static("seckill-position");

/// The header that tells where in the log an answer was decided.
#[must_use]
pub fn position_header(position: Position) -> [(HeaderName, String); 1] {
    [(POSITION, position.to_string())]
}

/// Whether a request may be passed on to another node: not with `Seckill-Forward: never`.
///
/// # Errors
/// It says something else.
pub fn may_forward(headers: &HeaderMap) -> Result<bool, Problem> {
    let said: Vec<_> = headers.get_all("seckill-forward").iter().collect();
    if said.iter().any(|word| *word != "never") {
        let what = "Seckill-Forward must be never, or not be there.";
        return Err(Problem::new(ProblemKind::InvalidParameter, what));
    }
    Ok(said.is_empty())
}

/// The `Idempotency-Key` of a request, where it has one.
///
/// # Errors
/// It is not an id, or there are two.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        let twice = "There must be at most one Idempotency-Key.";
        return Err(Problem::new(ProblemKind::InvalidIdentifier, twice));
    }
    let key = std::str::from_utf8(key.as_bytes()).map_err(|_| {
        Problem::new(ProblemKind::InvalidIdentifier, "Idempotency-Key is not UTF-8.")
    })?;
    checked("Idempotency-Key", key.to_owned()).map(Some)
}
