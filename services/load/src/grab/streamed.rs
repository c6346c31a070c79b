//! What the stream of grabs answers.

use std::num::NonZeroU32;
use std::time::Duration;

use seckill_proto::v1::grab_reply::Reply;
use seckill_proto::v1::{GrabReply, Granted, LogPosition, Problem};
use seckill_proto::{Position, ProblemKind};

use super::Meaning;
use super::native::{refusal, trouble};
use crate::ledger::{Answer, Refusal, Trouble};

pub(super) fn read(reply: &GrabReply, customer_id: &str) -> Meaning {
    match &reply.reply {
        Some(Reply::Granted(granted)) => yours(granted, customer_id),
        Some(Reply::Problem(problem)) => not_yours(problem),
        Some(Reply::Closing(_)) | None => Meaning::Again(Trouble::Unexpected),
    }
}

/// After how long to try again, where that is said.
pub(super) fn retry_after(reply: &GrabReply) -> Option<Duration> {
    let Some(Reply::Problem(problem)) = &reply.reply else { return None };
    let seconds = Some(problem.retry_after_s).filter(|seconds| *seconds > 0);
    seconds.map(|seconds| Duration::from_secs(seconds.into()))
}

fn yours(granted: &Granted, customer_id: &str) -> Meaning {
    let (serial, position) = (NonZeroU32::new(granted.serial), granted.position.map(place));
    let fits = serial.is_some() && position.is_some();
    let contradiction = (!fits).then(|| format!("{customer_id} was told {granted:?}"));
    let answer =
        if granted.repeated { Answer::AlreadyYours(serial) } else { Answer::Granted(serial) };
    Meaning::Definite { answer, position, contradiction }
}

fn not_yours(problem: &Problem) -> Meaning {
    let status = u16::try_from(problem.status).unwrap_or_default();
    if let Some(trouble) = trouble(status) {
        return Meaning::Again(trouble);
    }
    let position = problem.position.map(place);
    let refusal = refusal(ProblemKind::of_urn(&problem.r#type));
    let unplaced = position.is_none() && refusal != Refusal::Invalid;
    let contradiction = unplaced.then(|| format!("a refusal without a position: {problem:?}"));
    Meaning::Definite { answer: Answer::Refused(refusal), position, contradiction }
}

fn place(LogPosition { partition, offset }: LogPosition) -> Position {
    Position { partition, offset }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: ProblemKind, position: Option<LogPosition>) -> GrabReply {
        let problem = Problem {
            r#type: kind.urn(),
            status: kind.status().into(),
            position,
            retry_after_s: kind.retry_after_s().unwrap_or_default(),
            ..Problem::default()
        };
        GrabReply { number: 1, reply: Some(Reply::Problem(problem)) }
    }

    const PLACE: Option<LogPosition> = Some(LogPosition { partition: 2, offset: 9 });

    #[test]
    fn a_coupon_is_read_and_one_of_nowhere_is_noticed() {
        let read = |repeated, serial, position| {
            let granted = Granted { repeated, serial, granted_at_ms: 1, position };
            read(&GrabReply { number: 1, reply: Some(Reply::Granted(granted)) }, "c")
        };
        let position = Some(Position { partition: 2, offset: 9 });
        let answer = Answer::Granted(NonZeroU32::new(3));
        let expected = Meaning::Definite { answer, position, contradiction: None };
        assert_eq!(read(false, 3, PLACE), expected);
        assert!(matches!(
            read(true, 3, PLACE),
            Meaning::Definite { answer: Answer::AlreadyYours(_), contradiction: None, .. }
        ));
        for wrong in [read(false, 0, PLACE), read(false, 3, None)] {
            assert!(matches!(wrong, Meaning::Definite { contradiction: Some(_), .. }), "{wrong:?}");
        }
    }

    #[test]
    fn problems_mean_what_they_mean_over_http() {
        let cases = [
            (ProblemKind::Overloaded, Trouble::Overloaded),
            (ProblemKind::Unavailable, Trouble::Unavailable),
            (ProblemKind::OutcomeUnknown, Trouble::TimedOut),
        ];
        for (kind, trouble) in cases {
            let reply = problem(kind, None);
            assert_eq!(read(&reply, "c"), Meaning::Again(trouble));
            let seconds = kind.retry_after_s().map(|seconds| Duration::from_secs(seconds.into()));
            assert_eq!(retry_after(&reply), seconds, "{kind:?}");
        }
        let sold_out = |position| read(&problem(ProblemKind::SoldOut, position), "c");
        let answer = Answer::Refused(Refusal::SoldOut);
        assert!(matches!(
            sold_out(PLACE),
            Meaning::Definite { answer: told, contradiction: None, .. } if told == answer
        ));
        assert!(matches!(sold_out(None), Meaning::Definite { contradiction: Some(_), .. }));
        let nothing = GrabReply { number: 1, reply: None };
        assert_eq!(read(&nothing, "c"), Meaning::Again(Trouble::Unexpected));
    }
}
