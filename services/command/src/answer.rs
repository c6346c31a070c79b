//! From a decided outcome to what a client is told: the one table.

use axum::http::StatusCode;
use seckill_edge::Problem;
use seckill_proto::Position;
use seckill_proto::v1::{Accepted, Answer, Refusal, answer};

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
    let conflict =
        |name, title, detail: &'static str| Problem::new(StatusCode::CONFLICT, name, title, detail);
    match refusal {
        Refusal::NotFound => Problem::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "There is no such promotion",
            "No promotion has this id.",
        ),
        Refusal::AlreadyExists => conflict(
            "already-exists",
            "The promotion exists",
            "A promotion with this id exists on other terms.",
        ),
        Refusal::NotStarted => conflict(
            "not-started",
            "The promotion has not started",
            "Try again once it has started.",
        ),
        Refusal::AlreadyStarted => conflict(
            "already-started",
            "The promotion has started",
            "The terms of a promotion that has started cannot be changed.",
        ),
        Refusal::Finished => {
            conflict("finished", "The promotion is over", "It takes no more commands.")
        }
        Refusal::RefusedSoldOut => {
            conflict("sold-out", "The promotion is sold out", "Every coupon has been given.")
        }
        Refusal::LimitReached => conflict(
            "limit-reached",
            "The customer holds as many coupons as one may",
            "The promotion's limit per customer is reached.",
        ),
        Refusal::InvalidTerms => Problem::bad_request(
            "invalid-terms",
            "The promotion cannot be offered so: finishes_at must lie after now and after \
             starts_at, and a new total of coupons must not be below the old one.",
        ),
        Refusal::Unspecified => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The answer cannot be read",
            "Another node answered in a way that this version does not know.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_status() {
        let statuses = (0..)
            .map_while(|number| Refusal::try_from(number).ok())
            .map(|refusal| (refusal.as_str_name(), problem(refusal).status().as_u16()));
        let expected = [
            ("REFUSAL_UNSPECIFIED", 500),
            ("NOT_FOUND", 404),
            ("ALREADY_EXISTS", 409),
            ("NOT_STARTED", 409),
            ("ALREADY_STARTED", 409),
            ("FINISHED", 409),
            ("REFUSED_SOLD_OUT", 409),
            ("LIMIT_REACHED", 409),
            ("INVALID_TERMS", 400),
        ];
        assert_eq!(statuses.collect::<Vec<_>>(), expected);
    }
}
