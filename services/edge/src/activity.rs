//! Whether a connection is used: it may not stay for ever without.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Version;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The requests of one connection.
#[derive(Default)]
pub(crate) struct Activity {
    asked: AtomicBool,
    /// Over HTTP/2, where requests have nothing to do with each other. Over HTTP/1.1 hyper waits for the next one itself.
    streams: Arc<Mutex<Option<Streams>>>,
}

struct Streams {
    under_way: usize,
    /// When the last one ended.
    ended: Instant,
}

impl Activity {
    /// There is a request; over HTTP/2 for as long as what comes back lives.
    pub(crate) fn ask(&self, version: Version) -> Option<UnderWay> {
        self.asked.store(true, Ordering::Relaxed);
        (version == Version::HTTP_2).then(|| {
            let mut streams = self.streams.lock();
            let none = || Streams { under_way: 0, ended: Instant::now() };
            streams.get_or_insert_with(none).under_way += 1;
            UnderWay(Arc::clone(&self.streams))
        })
    }

    /// Comes back when there was no request for so long.
    pub(crate) async fn never_asked(&self, timeout: Duration) {
        tokio::time::sleep(timeout).await;
        if self.asked.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }

    /// Comes back when a connection that speaks HTTP/2 has had no request for so long.
    pub(crate) async fn asks_no_more(&self, timeout: Duration) {
        loop {
            let idle_since = match &*self.streams.lock() {
                Some(Streams { under_way: 0, ended }) => *ended,
                Some(_) | None => Instant::now(),
            };
            if idle_since.elapsed() >= timeout {
                return;
            }
            tokio::time::sleep_until(idle_since + timeout).await;
        }
    }
}

/// A request that is under way.
pub(crate) struct UnderWay(Arc<Mutex<Option<Streams>>>);

impl UnderWay {
    /// The same response; the request is over when all of it is sent.
    pub(crate) fn until_sent(self, response: Response) -> Response {
        response.map(|body| Body::new(Sending { body, _under_way: self }))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(streams) = &mut *self.0.lock() {
            streams.under_way -= 1;
            streams.ended = Instant::now();
        }
    }
}

struct Sending {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
