//! Ids in paths and bodies.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use seckill_proto::{ProblemKind, check_identifier};

use crate::Problem;

/// The first parameter of the path, decoded and checked.
#[derive(Debug)]
pub struct PathId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let missing = || Problem::new(ProblemKind::InvalidIdentifier, "The path has no id.");
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|_| not_utf8())?;
        let (_, id) = params.iter().next().ok_or_else(missing)?;
        checked("The id in the path", id.to_owned()).map(PathId)
    }
}

/// Checks an id given by a person.
///
/// # Errors
/// Says which rule it breaks; `what` names it.
pub fn checked(what: &str, id: String) -> Result<String, Problem> {
    match check_identifier(&id) {
        // Clients and proxies take these out of a path: nobody could ask for what they name.
        Ok(()) if matches!(id.as_str(), "." | "..") => {
            Err(Problem::new(ProblemKind::InvalidIdentifier, format!("{what} must not be {id:?}.")))
        }
        Ok(()) => Ok(id),
        Err(error) => Err(Problem::new(ProblemKind::InvalidIdentifier, format!("{what} {error}."))),
    }
}

fn not_utf8() -> Problem {
    Problem::new(ProblemKind::InvalidIdentifier, "The id in the path is not UTF-8.")
}
