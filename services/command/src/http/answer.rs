//! From a decided outcome to what a client is told: the one table.

use seckill_edge::Problem;
use seckill_proto::Position;
use seckill_proto::v1::{Accepted, Answer, Refusal, answer};

use crate::Failure;
use crate::failure::told_of;

/// The accepted outcome of an answer and its place in the log.
///
/// # Errors
/// The refusal, as a client sees it.
pub fn accepted(answer: &Answer) -> Result<(Accepted, Position), Problem> {
    let position = position(answer);
    match &answer.outcome {
        Some(answer::Outcome::Accepted(accepted)) => Ok((*accepted, position)),
        Some(answer::Outcome::Refused(refusal)) => {
            let refusal = Refusal::try_from(*refusal).unwrap_or_default();
            Err(problem(refusal).at(position))
        }
        None => Err(problem(Refusal::Unspecified)),
    }
}

/// Where in the log an answer was decided.
#[must_use]
pub fn position(answer: &Answer) -> Position {
    Position { partition: answer.partition, offset: answer.offset }
}

/// A refusal as a client sees it.
#[must_use]
pub fn problem(refusal: Refusal) -> Problem {
    let (kind, detail) = told_of(refusal);
    Problem::new(kind, detail)
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let detail = match failure {
            Failure::Overloaded => "Nothing was decided. Try again after the time given.",
            Failure::Unavailable | Failure::Unreached => {
                "The command was not accepted. Try again after the time given."
            }
            Failure::Unknown => {
                "The command may have been accepted. The same request again tells; it is safe where it names an \
                 id or an Idempotency-Key, and for grabs where the limit per customer is 1. Otherwise it is \
                 another wish."
            }
            Failure::NotOwner => "The command was not accepted. Send it to the owner.",
        };
        Self::new(failure.kind(), detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_status() {
        let statuses = (0..)
            .map_while(|number| Refusal::try_from(number).ok())
            .map(|refusal| (refusal.as_str_name(), problem(refusal).kind().status()));
        let expected = [
            ("REFUSAL_UNSPECIFIED", 500),
            ("REFUSAL_NOT_FOUND", 404),
            ("REFUSAL_ALREADY_EXISTS", 409),
            ("REFUSAL_NOT_STARTED", 409),
            ("REFUSAL_ALREADY_STARTED", 409),
            ("REFUSAL_FINISHED", 409),
            ("REFUSAL_SOLD_OUT", 409),
            ("REFUSAL_LIMIT_REACHED", 409),
            ("REFUSAL_INVALID_TERMS", 400),
            ("REFUSAL_END_TOO_EARLY", 400),
            ("REFUSAL_TOTAL_TOO_LOW", 400),
            ("REFUSAL_PAUSED", 409),
        ];
        assert_eq!(statuses.collect::<Vec<_>>(), expected);
    }
}
