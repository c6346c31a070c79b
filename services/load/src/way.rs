//! How a grab gets to who decides it: alone, with those of others in one request, or in a stream.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use hyper::Uri;
use parking_lot::Mutex;
use seckill_proto::v1::GrabReply;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::connection::HttpReply;
use crate::owners::Owners;
use crate::promotion::Offer;
use crate::stream::Streams;
use crate::target::{Ask, Fleet, Unanswered};

/// Batches of one promotion that are under way at the same time.
const UNDER_WAY: usize = 4;
const OK: u16 = 200;

type Answered = Result<HttpReply, Unanswered>;

/// What came back.
pub(crate) enum Reply {
    Http(HttpReply),
    Streamed(GrabReply),
}

/// The way of all grabs of a run.
pub(crate) struct Way {
    /// Where grabs do not go by requests.
    streams: Option<Streams>,
    roads: Arc<Roads>,
    /// Where grabs go together: how many at most, and the line for each promotion.
    batch: Option<usize>,
    lines: Mutex<HashMap<String, Arc<Line>>>,
}

/// To which node.
struct Roads {
    fleet: Fleet,
    /// Who decides, where grabs go straight there.
    owners: Option<Owners>,
}

impl Roads {
    async fn send(&self, ask: &Ask, promotion_id: &str) -> Answered {
        match &self.owners {
            Some(owners) => owners.send(&self.fleet, ask, promotion_id).await,
            None => self.fleet.send(ask).await,
        }
    }
}

impl Way {
    /// To these nodes; straight to who decides, or as it comes; and so many in one request at most, or each alone.
    pub(crate) fn new(fleet: Fleet, direct: bool, batch: Option<usize>) -> Self {
        let owners = direct.then(Owners::default);
        let roads = Arc::new(Roads { fleet, owners });
        Self { streams: None, roads, batch, lines: Mutex::default() }
    }

    /// The same, in these streams.
    pub(crate) fn over(self, streams: Option<Streams>) -> Self {
        Self { streams, ..self }
    }

    /// # Errors
    /// Nobody takes a connection.
    pub(crate) async fn assert_somebody_answers(&self) -> Result<()> {
        self.roads.fleet.assert_somebody_answers().await
    }

    /// Closes the connections that carry nothing now.
    pub(crate) fn close_idle(&self) {
        self.roads.fleet.close_idle();
        self.roads.owners.iter().for_each(Owners::close_idle);
    }

    /// Asks once for a coupon for a customer.
    pub(crate) async fn ask(&self, sale: &Offer, customer_id: &str) -> Result<Reply, Unanswered> {
        if let Some(streams) = &self.streams {
            return streams.ask(&sale.grab_of_stream(customer_id)).await.map(Reply::Streamed);
        }
        let answered = match self.batch {
            Some(most) => self.ask_among(sale, customer_id, most).await,
            None => self.roads.send(&sale.grab(customer_id), &sale.id).await,
        };
        answered.map(Reply::Http)
    }

    async fn ask_among(&self, sale: &Offer, customer_id: &str, most: usize) -> Answered {
        let line = self.line(sale);
        let (told, answered) = oneshot::channel();
        if line.join(Waiting { grab: sale.grab_of_batch(customer_id), told }) {
            tokio::spawn(send_all(Arc::clone(&self.roads), line, most));
        }
        answered.await.unwrap_or_else(|_| Err(lost("the batch broke off")))
    }

    fn line(&self, sale: &Offer) -> Arc<Line> {
        let mut lines = self.lines.lock();
        if let Some(line) = lines.get(&sale.id) {
            return Arc::clone(line);
        }
        let (promotion_id, path) = (sale.id.clone(), sale.batches());
        let line = Arc::new(Line { promotion_id, path, queue: Mutex::default() });
        lines.insert(sale.id.clone(), Arc::clone(&line));
        line
    }
}

/// Customers who wait for the next batch of a promotion.
struct Line {
    promotion_id: String,
    path: Uri,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Tasks that send batches.
    senders: usize,
}

struct Waiting {
    /// What is asked, as JSON.
    grab: String,
    told: oneshot::Sender<Answered>,
}

impl Line {
    /// Whether another task is to send what waits.
    fn join(&self, waiting: Waiting) -> bool {
        let mut queue = self.queue.lock();
        queue.waiting.push_back(waiting);
        let another = queue.senders < UNDER_WAY;
        queue.senders += usize::from(another);
        another
    }

    /// The next batch. Where nobody waits there is none, and one task fewer.
    fn next(&self, most: usize) -> Option<Vec<Waiting>> {
        let mut queue = self.queue.lock();
        if queue.waiting.is_empty() {
            queue.senders -= 1;
            return None;
        }
        let count = most.min(queue.waiting.len());
        Some(queue.waiting.drain(..count).collect())
    }
}

async fn send_all(roads: Arc<Roads>, line: Arc<Line>, most: usize) {
    loop {
        tokio::task::yield_now().await; // those who were answered together ask again together
        let Some(batch) = line.next(most) else { return };
        let grabs: Vec<&str> = batch.iter().map(|waiting| waiting.grab.as_str()).collect();
        let body = format!("{{\"grabs\":[{}]}}", grabs.join(","));
        let ask = Ask::post(line.path.clone(), Bytes::from(body));
        let answered = roads.send(&ask, &line.promotion_id).await;
        let answers = answers(answered, batch.len());
        for (waiting, answered) in batch.into_iter().zip(answers) {
            let _ = waiting.told.send(answered); // who gave up does not wait
        }
    }
}

#[derive(Deserialize)]
struct Answers<'a> {
    #[serde(borrow)]
    answers: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Status {
    status: u16,
}

/// What each of so many customers was told: the part of the answer that is theirs, or all of it where it is about the
/// request as a whole.
fn answers(answered: Answered, customers: usize) -> Vec<Answered> {
    match &answered {
        Ok(reply) if reply.status == OK => {
            let parts = serde_json::from_slice::<Answers<'_>>(&reply.body);
            match parts {
                Ok(Answers { answers }) if answers.len() == customers => {
                    answers.into_iter().map(part).collect()
                }
                Ok(_) => vec![Err(lost("not as many answers as grabs")); customers],
                Err(error) => vec![Err(lost(&error.to_string())); customers],
            }
        }
        Ok(_) | Err(_) => vec![answered; customers],
    }
}

fn part(answer: &RawValue) -> Answered {
    let Status { status } =
        serde_json::from_str(answer.get()).map_err(|error| lost(&error.to_string()))?;
    let body = Bytes::copy_from_slice(answer.get().as_bytes());
    Ok(HttpReply { status, retry_after: None, body })
}

fn lost(reason: &str) -> Unanswered {
    Unanswered::Lost(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Answered {
        Ok(HttpReply { status, retry_after: None, body: body.to_owned().into() })
    }

    #[test]
    fn each_is_told_its_own_part() {
        let body = r#"{"answers":[{"status":201,"serial":1},{"status":409}]}"#;
        let parts = answers(reply(200, body), 2).into_iter().map(Result::unwrap);
        let parts: Vec<_> = parts.map(|part| (part.status, part.body)).collect();
        assert_eq!(parts[0], (201, Bytes::from(r#"{"status":201,"serial":1}"#)));
        assert_eq!(parts[1], (409, Bytes::from(r#"{"status":409}"#)));
    }

    #[test]
    fn what_is_said_of_all_is_told_to_each() {
        let statuses = answers(reply(503, "{}"), 3).into_iter().map(|of| of.unwrap().status);
        assert_eq!(statuses.collect::<Vec<_>>(), [503; 3]);
        for body in ["{}", r#"{"answers":[]}"#, r#"{"answers":[1,2]}"#] {
            let told = answers(reply(200, body), 2);
            assert!(told.len() == 2 && told.iter().all(Result::is_err), "{body}");
        }
    }
}
