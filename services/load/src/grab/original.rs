//! What the original's grab route answers, in its words.

use super::Meaning;
use crate::connection::HttpReply;
use crate::ledger::{Answer, Refusal, Trouble};

const OUT_OF_STOCK: &[u8] = b"Request rejected due to coupon out of stock";
const DUPLICATE: &[u8] = b"Request rejected duplicate order";

/// After an unknown outcome a duplicate is the customer's own success; without one it is a refusal
/// that nothing explains.
pub(super) fn read(reply: &HttpReply, doubted: bool) -> Meaning {
    let body = reply.body.trim_ascii();
    match reply.status {
        200 => yours(Answer::Granted(None)),
        429 if body == OUT_OF_STOCK => Meaning::refused(Refusal::SoldOut),
        429 if body == DUPLICATE && doubted => yours(Answer::AlreadyYours(None)),
        429 if body == DUPLICATE => Meaning::refused(Refusal::LimitReached),
        429 => Meaning::Again(Trouble::Overloaded),
        503 => Meaning::Again(Trouble::Unavailable),
        504 => Meaning::Again(Trouble::TimedOut),
        400 if body.starts_with(b"Invalid promotion") => Meaning::refused(Refusal::Finished),
        400..=499 => Meaning::refused(Refusal::Invalid),
        _ => Meaning::Again(Trouble::Unexpected),
    }
}

const fn yours(answer: Answer) -> Meaning {
    Meaning::Definite { answer, position: None, contradiction: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str, doubted: bool) -> Meaning {
        super::read(&HttpReply { status, retry_after: None, body: body.to_owned().into() }, doubted)
    }

    #[test]
    fn the_originals_words_are_understood() {
        assert_eq!(read(200, "Request accepted", false), yours(Answer::Granted(None)));
        let sold_out = "Request rejected due to coupon out of stock";
        assert_eq!(read(429, sold_out, false), Meaning::refused(Refusal::SoldOut));
        let over = "Invalid promotion {promotion=p}";
        assert_eq!(read(400, over, false), Meaning::refused(Refusal::Finished));
        assert_eq!(read(429, "slow down", false), Meaning::Again(Trouble::Overloaded));
    }

    #[test]
    fn a_duplicate_is_a_success_only_after_doubt() {
        let duplicate = "Request rejected duplicate order";
        assert_eq!(read(429, duplicate, true), yours(Answer::AlreadyYours(None)));
        assert_eq!(read(429, duplicate, false), Meaning::refused(Refusal::LimitReached));
    }
}
