//! How requests get to one node: over connections of HTTP/1.1, each with one request at a time, or over a few of HTTP/2,
//! which all requests share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::Request;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::connection::{Body, Broken, Connection, HttpReply, Shared};
use crate::target::Unanswered;

/// A connection that was not used for so long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// Connections of HTTP/2 to one node, so that it can read them on all of its cores.
const SHARED: usize = 4;

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1: as many connections as there are requests under way.
    One,
    /// HTTP/2, without asking whether the node speaks it: a few connections for all requests.
    Two,
}

/// To one node.
pub(crate) struct Wire {
    address: String,
    connections: Connections,
}

enum Connections {
    /// Those that carry nothing now, each with the time since when; the last one is used next.
    Idle(Mutex<VecDeque<(Instant, Connection)>>),
    Shared {
        places: [tokio::sync::Mutex<Option<Shared>>; SHARED],
        next: AtomicUsize,
    },
}

impl Wire {
    pub(crate) fn new(http: Http, address: String) -> Self {
        let connections = match http {
            Http::One => Connections::Idle(Mutex::default()),
            Http::Two => {
                Connections::Shared { places: Default::default(), next: AtomicUsize::default() }
            }
        };
        Self { address, connections }
    }

    pub(crate) fn http(&self) -> Http {
        match self.connections {
            Connections::Idle(_) => Http::One,
            Connections::Shared { .. } => Http::Two,
        }
    }

    /// # Errors
    /// Nobody takes a connection there.
    pub(crate) async fn assert_reached(&self, limit: Duration) -> Result<(), Unanswered> {
        match &self.connections {
            Connections::Idle(idle) => {
                let connection = self.opened(Connection::open(&self.address), limit).await?;
                keep(idle, connection);
            }
            Connections::Shared { places, .. } => {
                self.opened(sharing(&places[0], &self.address), limit).await?;
            }
        }
        Ok(())
    }

    /// Sends a request once and reads its answer.
    ///
    /// # Errors
    /// [`Unanswered`], after at most the time to connect and to answer.
    pub(crate) async fn exchange(
        &self,
        mut request: Request<Body>,
        limit: Duration,
    ) -> Result<HttpReply, Unanswered> {
        match &self.connections {
            Connections::Idle(idle) => loop {
                let old = idle.lock().pop_back();
                let reused = old.is_some();
                let mut connection = match old {
                    Some((_, connection)) => connection,
                    None => self.opened(Connection::open(&self.address), limit).await?,
                };
                match answered(connection.exchange(request), limit).await {
                    Ok(reply) => {
                        keep(idle, connection);
                        return Ok(reply);
                    }
                    Err(Broken::Unsent(back, _)) if reused => request = *back,
                    Err(broken) => return Err(broken.into()),
                }
            },
            Connections::Shared { places, next } => {
                let place = &places[next.fetch_add(1, Ordering::Relaxed) % SHARED];
                let mut connection = self.opened(sharing(place, &self.address), limit).await?;
                Ok(answered(connection.exchange(request), limit).await?)
            }
        }
    }

    async fn opened<C>(
        &self,
        opening: impl Future<Output = Result<C, String>>,
        limit: Duration,
    ) -> Result<C, Unanswered> {
        match timeout(limit, opening).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(reason)) => Err(Unanswered::Unsent(format!("{}: {reason}", self.address))),
            Err(_) => Err(Unanswered::Unsent(format!("{}: no connection", self.address))),
        }
    }

    /// Closes the connections that carry nothing now.
    pub(crate) fn close_idle(&self) {
        match &self.connections {
            Connections::Idle(idle) => idle.lock().clear(),
            // Each is closed once the last request on it is answered.
            Connections::Shared { places, .. } => {
                places.iter().filter_map(|place| place.try_lock().ok()).for_each(|mut place| {
                    place.take();
                });
            }
        }
    }
}

/// The connection of a place; a new one where there is none that takes requests.
async fn sharing(
    place: &tokio::sync::Mutex<Option<Shared>>,
    address: &str,
) -> Result<Shared, String> {
    let mut place = place.lock().await;
    if let Some(open) = place.as_ref().filter(|connection| connection.is_open()) {
        return Ok(open.clone());
    }
    Ok(place.insert(Shared::open(address).await?).clone())
}

async fn answered(
    exchange: impl Future<Output = Result<HttpReply, Broken>>,
    limit: Duration,
) -> Result<HttpReply, Broken> {
    let late = |_| Err(Broken::Lost(format!("no answer within {limit:?}")));
    timeout(limit, exchange).await.unwrap_or_else(late)
}

fn keep(idle: &Mutex<VecDeque<(Instant, Connection)>>, connection: Connection) {
    if !connection.is_open() {
        return;
    }
    let mut idle = idle.lock();
    while idle.front().is_some_and(|(since, _)| since.elapsed() > IDLE) {
        idle.pop_front();
    }
    idle.push_back((Instant::now(), connection));
}

impl From<Broken> for Unanswered {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Unsent(_, reason) => Self::Unsent(reason),
            Broken::Lost(reason) => Self::Lost(reason),
        }
    }
}
