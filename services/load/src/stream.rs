//! Grabs over gRPC: a few streams to each node, on which all customers go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::stream;
use parking_lot::Mutex;
use seckill_proto::v1::grab_reply::Reply;
use seckill_proto::v1::grabs_client::GrabsClient;
use seckill_proto::v1::{GrabReply, GrabRequest};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tonic::Streaming;
use tonic::transport::Endpoint;

use crate::target::Unanswered;

/// To one node, each over a connection of its own, so that a node can read them on all of its cores.
const STREAMS: usize = 4;
/// Grabs that wait to be sent on one.
const UNSENT: usize = 4_096;

type Answered = Result<GrabReply, Unanswered>;

/// The streams to some nodes.
pub(crate) struct Streams {
    places: Vec<Place>,
    next: AtomicUsize,
    request_timeout: Duration,
}

/// Where a stream is, or will be.
struct Place {
    endpoint: Endpoint,
    url: String,
    stream: tokio::sync::Mutex<Option<Arc<Stream>>>,
}

impl Streams {
    /// To the nodes at these URLs.
    ///
    /// # Errors
    /// A URL that is none.
    pub(crate) fn new(urls: &[String], request_timeout: Duration) -> Result<Self> {
        let place = |url: &String| {
            let endpoint = Endpoint::from_shared(url.clone());
            let endpoint = endpoint.with_context(|| format!("{url} is not a URL"))?;
            let endpoint = endpoint.connect_timeout(request_timeout).tcp_nodelay(true);
            Ok(Place { endpoint, url: url.clone(), stream: tokio::sync::Mutex::default() })
        };
        // The nodes alternate: the place after one that is not reached is of another node.
        let places = (0..STREAMS).flat_map(|_| urls.iter().map(place)).collect::<Result<_>>()?;
        Ok(Self { places, next: AtomicUsize::default(), request_timeout })
    }

    /// Sends a grab once: to the node whose turn it is, or to one after it where that cannot be reached.
    pub(crate) async fn ask(&self, grab: &GrabRequest) -> Answered {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut answered = Err(Unanswered::Unsent("there is no node".to_owned()));
        for other in 0..self.places.len() / STREAMS {
            let place = &self.places[(turn + other) % self.places.len()];
            answered = place.ask(grab.clone(), self.request_timeout).await;
            if !matches!(answered, Err(Unanswered::Unsent(_))) {
                break;
            }
        }
        answered
    }
}

impl Place {
    async fn ask(&self, grab: GrabRequest, limit: Duration) -> Answered {
        let stream = match timeout(limit, self.stream()).await {
            Ok(stream) => stream.map_err(Unanswered::Unsent)?,
            Err(_) => return Err(Unanswered::Unsent(format!("{}: no connection", self.url))),
        };
        let answer = stream.send(grab).await?;
        match timeout(limit, answer).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => Err(Unanswered::Lost("the stream broke off".to_owned())),
            Err(_) => Err(Unanswered::Lost(format!("no answer within {limit:?}"))),
        }
    }

    /// One that takes grabs.
    async fn stream(&self) -> Result<Arc<Stream>, String> {
        let mut place = self.stream.lock().await;
        if let Some(stream) = place.as_ref().filter(|stream| stream.is_open()) {
            return Ok(Arc::clone(stream));
        }
        let opened = Stream::open(&self.endpoint).await;
        let stream = opened.map_err(|reason| format!("{}: {reason}", self.url))?;
        Ok(Arc::clone(place.insert(stream)))
    }
}

struct Stream {
    /// None once it takes no more.
    requests: Mutex<Option<mpsc::Sender<GrabRequest>>>,
    next: AtomicU64,
    /// Who waits for the answer with a number.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answered>>>,
}

impl Stream {
    async fn open(endpoint: &Endpoint) -> Result<Arc<Self>, String> {
        let (requests, replies) = grab_stream(endpoint).await?;
        let stream = Arc::new(Self {
            requests: Mutex::new(Some(requests)),
            next: AtomicU64::default(),
            waiting: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&stream).read(replies));
        Ok(stream)
    }

    fn is_open(&self) -> bool {
        self.requests.lock().is_some()
    }

    async fn send(&self, mut grab: GrabRequest) -> Result<oneshot::Receiver<Answered>, Unanswered> {
        let unsent = || Unanswered::Unsent("the stream takes no more".to_owned());
        let requests = self.requests.lock().clone().ok_or_else(unsent)?;
        grab.number = self.next.fetch_add(1, Ordering::Relaxed);
        let (number, (told, answer)) = (grab.number, oneshot::channel());
        self.waiting.lock().insert(number, told);
        if requests.send(grab).await.is_err() {
            self.waiting.lock().remove(&number);
            return Err(unsent());
        }
        Ok(answer)
    }

    /// Hands the answers to those who wait, to the end of the stream.
    async fn read(self: Arc<Self>, mut replies: Streaming<GrabReply>) {
        let reason = loop {
            match replies.message().await {
                Ok(Some(GrabReply { reply: Some(Reply::Closing(_)), .. })) => {
                    drop(self.requests.lock().take());
                }
                Ok(Some(reply)) => {
                    if let Some(told) = self.waiting.lock().remove(&reply.number) {
                        let _ = told.send(Ok(reply)); // who gave up does not wait
                    }
                }
                Ok(None) => break "the stream ended".to_owned(),
                Err(status) => break status.to_string(),
            }
        };
        drop(self.requests.lock().take());
        for (_, told) in self.waiting.lock().drain() {
            let _ = told.send(Err(Unanswered::Lost(reason.clone())));
        }
    }
}

/// Opens a stream: where grabs go in, and answers come out.
///
/// # Errors
/// Nobody listens there, or takes no stream, as text.
pub async fn grab_stream(
    endpoint: &Endpoint,
) -> Result<(mpsc::Sender<GrabRequest>, Streaming<GrabReply>), String> {
    let (requests, sent) = mpsc::channel(UNSENT);
    let sent =
        stream::unfold(sent, async |mut sent: mpsc::Receiver<_>| Some((sent.recv().await?, sent)));
    let channel = endpoint.connect().await.map_err(|error| describe(&error))?;
    let replies = GrabsClient::new(channel).grab(sent).await;
    Ok((requests, replies.map_err(|status| status.to_string())?.into_inner()))
}

fn describe(error: &tonic::transport::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
