//! What the native grab route answers.

use std::borrow::Cow;
use std::num::NonZeroU32;

use seckill_proto::{Position, ProblemKind};
use serde::Deserialize;

use super::Meaning;
use crate::connection::HttpReply;
use crate::ledger::{Answer, Refusal, Trouble};
use crate::promotion::{Offer, said};

#[derive(Deserialize)]
struct Coupon<'a> {
    #[serde(borrow)]
    coupon_id: Cow<'a, str>,
    #[serde(borrow)]
    promotion_id: Cow<'a, str>,
    serial: u32,
    #[serde(borrow)]
    customer_id: Cow<'a, str>,
    #[serde(borrow)]
    position: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Problem<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    position: Option<Cow<'a, str>>,
}

pub(super) fn read(reply: &HttpReply, sale: &Offer, customer_id: &str) -> Meaning {
    match reply.status {
        201 => yours(reply, sale, customer_id, Answer::Granted),
        200 => yours(reply, sale, customer_id, Answer::AlreadyYours),
        404 | 409 => refused(reply),
        status => match trouble(status) {
            Some(trouble) => Meaning::Again(trouble),
            None => Meaning::refused(Refusal::Invalid),
        },
    }
}

/// What a status means with which nothing is refused.
pub(super) const fn trouble(status: u16) -> Option<Trouble> {
    match status {
        429 => Some(Trouble::Overloaded),
        421 | 503 => Some(Trouble::Unavailable),
        504 => Some(Trouble::TimedOut),
        400..=499 => None,
        _ => Some(Trouble::Unexpected),
    }
}

fn refused(reply: &HttpReply) -> Meaning {
    let problem: Option<Problem<'_>> = serde_json::from_slice(&reply.body).ok();
    let position = problem.as_ref().and_then(|problem| problem.position.as_ref()?.parse().ok());
    let refusal = refusal(problem.and_then(|of| ProblemKind::of_urn(&of.kind)));
    let unplaced = position.is_none() && refusal != Refusal::Invalid;
    let contradiction = unplaced.then(|| format!("a refusal without a position: {}", said(reply)));
    Meaning::Definite { answer: Answer::Refused(refusal), position, contradiction }
}

pub(super) fn refusal(kind: Option<ProblemKind>) -> Refusal {
    match kind {
        Some(ProblemKind::SoldOut) => Refusal::SoldOut,
        Some(ProblemKind::LimitReached) => Refusal::LimitReached,
        Some(ProblemKind::NotStarted) => Refusal::NotStarted,
        Some(ProblemKind::Finished) => Refusal::Finished,
        Some(ProblemKind::NotFound) => Refusal::NotFound,
        Some(_) | None => Refusal::Invalid,
    }
}

fn yours(
    reply: &HttpReply,
    sale: &Offer,
    customer_id: &str,
    answer: fn(Option<NonZeroU32>) -> Answer,
) -> Meaning {
    let Ok(coupon) = serde_json::from_slice::<Coupon<'_>>(&reply.body) else {
        let contradiction = Some(format!("{customer_id} cannot read {}", said(reply)));
        return Meaning::Definite { answer: answer(None), position: None, contradiction };
    };
    let serial = NonZeroU32::new(coupon.serial);
    let position: Option<Position> = coupon.position.parse().ok();
    let fits = position.is_some() && coupon.fits(sale, customer_id);
    let contradiction = (!fits).then(|| format!("{customer_id} was told {}", said(reply)));
    Meaning::Definite { answer: answer(serial), position, contradiction }
}

impl Coupon<'_> {
    fn fits(&self, sale: &Offer, customer_id: &str) -> bool {
        let named = self.coupon_id.strip_prefix(sale.id.as_str()).and_then(|n| n.strip_prefix('-'));
        self.promotion_id == sale.id
            && self.customer_id == customer_id
            && self.serial > 0
            && named.is_some_and(|serial| serial == self.serial.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promotion::Claim;
    use crate::promotion::tests::sale;

    fn reply(status: u16, body: &str) -> HttpReply {
        HttpReply { status, retry_after: None, body: body.to_owned().into() }
    }

    fn coupon(id: &str, promotion: &str, serial: u32, customer: &str, position: &str) -> String {
        format!(
            r#"{{"coupon_id":"{id}","promotion_id":"{promotion}","serial":{serial},"customer_id":"{customer}","grabbed_at":1,"position":"{position}"}}"#
        )
    }

    #[test]
    fn a_coupon_is_read() {
        let body = coupon("p-2", "p", 2, "c", "0:9");
        let meaning = |answer: fn(Option<NonZeroU32>) -> Answer| Meaning::Definite {
            answer: answer(NonZeroU32::new(2)),
            position: Some(Position { partition: 0, offset: 9 }),
            contradiction: None,
        };
        let sale = sale("p", 3, Claim::Ours);
        assert_eq!(read(&reply(201, &body), &sale, "c"), meaning(Answer::Granted));
        assert_eq!(read(&reply(200, &body), &sale, "c"), meaning(Answer::AlreadyYours));
    }

    #[test]
    fn an_answer_to_something_else_is_noticed() {
        let sale = sale("p", 3, Claim::Ours);
        for body in [
            coupon("p-1", "p", 2, "c", "0:9"),
            coupon("q-2", "p", 2, "c", "0:9"),
            coupon("q-2", "q", 2, "c", "0:9"),
            coupon("p-2", "p", 2, "d", "0:9"),
            coupon("p-0", "p", 0, "c", "0:9"),
            coupon("p-2", "p", 2, "c", "nowhere"),
            String::from("{}"),
        ] {
            let meaning = read(&reply(201, &body), &sale, "c");
            let noticed = matches!(meaning, Meaning::Definite { contradiction: Some(_), answer, .. } if answer.is_yours());
            assert!(noticed, "{body}");
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        let sale = sale("p", 3, Claim::Ours);
        for (name, refusal) in [
            ("sold-out", Refusal::SoldOut),
            ("limit-reached", Refusal::LimitReached),
            ("not-started", Refusal::NotStarted),
            ("finished", Refusal::Finished),
            ("something", Refusal::Invalid),
        ] {
            let body = format!(r#"{{"type":"urn:seckill:problem:{name}","status":409}}"#);
            let Meaning::Definite { answer, contradiction, .. } =
                read(&reply(409, &body), &sale, "c")
            else {
                panic!("{name} is definite")
            };
            let (is_known, noticed) = (refusal != Refusal::Invalid, contradiction.is_some());
            assert_eq!((answer, noticed), (Answer::Refused(refusal), is_known));
        }
        let placed = r#"{"type":"urn:seckill:problem:sold-out","position":"0:7"}"#;
        let placed = read(&reply(409, placed), &sale, "c");
        assert!(matches!(placed, Meaning::Definite { contradiction: None, position: Some(_), .. }));
        assert_eq!(read(&reply(400, "x"), &sale, "c"), Meaning::refused(Refusal::Invalid));
    }

    #[test]
    fn what_is_not_definite_is_asked_again() {
        let sale = sale("p", 3, Claim::Ours);
        for (status, trouble) in [
            (429, Trouble::Overloaded),
            (421, Trouble::Unavailable),
            (503, Trouble::Unavailable),
            (504, Trouble::TimedOut),
            (500, Trouble::Unexpected),
            (302, Trouble::Unexpected),
        ] {
            assert_eq!(read(&reply(status, "{}"), &sale, "c"), Meaning::Again(trouble));
        }
    }
}
