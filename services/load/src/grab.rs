//! One customer's grab: the same request again and again, until a definite answer.

mod history;
mod native;
mod original;
mod streamed;

use std::sync::Arc;
use std::time::{Duration, Instant};

use seckill_checker::now_us;
use seckill_proto::Position;

use crate::backoff::Backoff;
use crate::crowd::Crowd;
use crate::ledger::{Answer, Ledger, Refusal, Told, Trouble};
use crate::promotion::{Offer, said};
use crate::target::Unanswered;
use crate::way::{Reply, Way};

pub(crate) use history::History;

/// Which routes are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `/v1/...`
    Native,
    /// The original's `/command/coupons/`.
    Original,
}

/// A customer wants a coupon.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) customer: u32,
    pub(crate) sale: Arc<Offer>,
    /// When the customer meant to come; latency runs from here.
    pub(crate) came: Instant,
}

/// What one reply means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    Definite {
        answer: Answer,
        position: Option<Position>,
        /// How the reply contradicts the request or itself.
        contradiction: Option<String>,
    },
    Again(Trouble),
}

impl Meaning {
    const fn refused(refusal: Refusal) -> Self {
        Self::Definite { answer: Answer::Refused(refusal), position: None, contradiction: None }
    }
}

/// Everything a customer needs to grab.
pub(crate) struct Counter {
    pub(crate) way: Way,
    pub(crate) crowd: Crowd,
    pub(crate) ledger: Ledger,
    pub(crate) dialect: Dialect,
    pub(crate) give_up: Duration,
    /// Where every request is written down, if anywhere.
    pub(crate) history: Option<History>,
}

impl Counter {
    /// Grabs, and writes into the ledger what was told.
    pub(crate) async fn grab(&self, visit: &Visit) -> Told {
        self.ledger.customer_came();
        let told = self.insist(visit).await;
        self.ledger.told(told, visit.came.elapsed());
        told
    }

    async fn insist(&self, visit: &Visit) -> Told {
        let deadline = visit.came + self.give_up;
        let customer_id = self.crowd.customer_id(visit.customer);
        let mut doubted = false;
        let mut backoff = Backoff::new();
        let told = |doubted, answer| Told {
            customer: visit.customer,
            sale: visit.sale.index,
            doubted,
            answer,
        };
        while Instant::now() < deadline {
            let asked = self.history.as_ref().map(|_| now_us());
            let (meaning, retry_after) = self.ask_once(&visit.sale, &customer_id, doubted).await;
            if let (Some(history), Some(asked)) = (&self.history, asked) {
                history.note(asked, &visit.sale, &customer_id, &meaning);
            }
            match meaning {
                Meaning::Definite { answer, position, contradiction } => {
                    self.note(position, contradiction);
                    return told(doubted, answer);
                }
                Meaning::Again(trouble) => {
                    self.ledger.trouble(trouble);
                    doubted |= trouble.leaves_doubt();
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::time::sleep(backoff.pause(retry_after).min(left)).await;
        }
        told(doubted, Answer::GaveUp)
    }

    async fn ask_once(
        &self,
        sale: &Offer,
        customer_id: &str,
        doubted: bool,
    ) -> (Meaning, Option<Duration>) {
        self.ledger.request_sent();
        match self.way.ask(sale, customer_id).await {
            Ok(Reply::Http(reply)) => {
                let meaning = match self.dialect {
                    Dialect::Native => native::read(&reply, sale, customer_id),
                    Dialect::Original => original::read(&reply, doubted),
                };
                self.look_twice(&meaning, || said(&reply));
                (meaning, reply.retry_after)
            }
            Ok(Reply::Streamed(reply)) => {
                let meaning = streamed::read(&reply, customer_id);
                self.look_twice(&meaning, || format!("{reply:?}"));
                (meaning, streamed::retry_after(&reply))
            }
            Err(Unanswered::Unsent(reason)) => {
                self.ledger.surprise(&format!("not sent: {reason}"));
                (Meaning::Again(Trouble::Unsent), None)
            }
            Err(Unanswered::Lost(reason)) => {
                self.ledger.surprise(&format!("connection lost: {reason}"));
                (Meaning::Again(Trouble::Lost), None)
            }
        }
    }

    fn look_twice(&self, meaning: &Meaning, said: impl FnOnce() -> String) {
        let odd = matches!(
            meaning,
            Meaning::Again(Trouble::Unexpected)
                | Meaning::Definite {
                    answer: Answer::Refused(Refusal::Invalid | Refusal::NotFound),
                    ..
                }
        );
        if odd {
            self.ledger.surprise(&said());
        }
    }

    fn note(&self, position: Option<Position>, contradiction: Option<String>) {
        if let Some(position) = position {
            self.ledger.position(position);
        }
        if let Some(contradiction) = contradiction {
            self.ledger.contradiction(contradiction);
        }
    }
}
