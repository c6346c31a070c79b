//! A listener that waits for no request longer than it must, takes no more when told to stop, and
//! finishes what it has.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Problem;

/// How long requests may take to finish once the listener stops.
const DRAIN: Duration = Duration::from_secs(8);
/// How long a new connection may take to come up with its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// How long a connection may then stay without the whole head of a next one. Clients that keep
/// connections for longer find some of them closed.
const IDLE: Duration = Duration::from_secs(75);

/// Serves HTTP/1.1 until `stop`, then lets requests finish for a bounded time.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener.into_std()?)?
        // Without it a small answer may wait 40 ms for the client's acknowledgement.
        .acceptor(NoDelayAcceptor::new())
        .http1_only()
        .handle(handle.clone())
        .first_request_timeout(FIRST_REQUEST)
        .accept_error_handler(|_, error| tracing::warn!(%error, "a connection was not taken"));
    server.http_builder().http1().header_read_timeout(IDLE);
    let mut serving = std::pin::pin!(server.serve(routes.into_make_service()));
    tokio::select! {
        ended = &mut serving => return ended,
        () = stop.cancelled() => handle.graceful_shutdown(Some(DRAIN)),
    }
    // A crowd that goes on connecting keeps the listener from noticing for a while.
    let ended = tokio::time::timeout(DRAIN * 2, serving).await;
    let cut = handle.connection_count();
    if cut > 0 {
        tracing::warn!(cut, "requests were still open after {DRAIN:?} and are cut");
    }
    ended.unwrap_or(Ok(()))
}

/// The answer to a path that does not exist.
pub async fn not_found(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no-such-route",
        "There is nothing at this path",
        format!("{} is not a path of this server.", uri.path()),
    )
}

/// The answer to a method that a path does not take.
pub async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "The path does not take this method",
        format!("{} does not take {method}.", uri.path()),
    )
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::extract::Request;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::Instant;

    use super::*;
    use crate::read_body;

    /// What a server says to these bytes before it closes, and after how long.
    async fn said_to(bytes: &[u8]) -> (String, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let body = |request: Request| async { read_body(request).await.map(|_: Bytes| "taken") };
        let routes = Router::new().route("/", get(|| async { "hello" })).route("/", post(body));
        let server = tokio::spawn(serve(listener, routes, CancellationToken::new()));
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(bytes).await.expect("written");
        let begun = Instant::now();
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said).await; // reset: what was said counts
        server.abort();
        (said, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_for_nothing_is_closed() {
        let cases: [&[u8]; 2] = [b"", b"GET / HTTP/1.1\r\nhost: x\r\n"];
        for bytes in cases {
            let (said, after) = said_to(bytes).await;
            assert!(said.is_empty(), "{said}");
            assert!(after >= FIRST_REQUEST && after < FIRST_REQUEST * 2, "{after:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_no_more_is_closed() {
        let (said, after) = said_to(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(said.ends_with("hello"), "{said}");
        assert!(after >= IDLE && after < IDLE * 2, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf";
        let (said, after) = said_to(head).await;
        assert!(said.starts_with("HTTP/1.1 408"), "{said}");
        assert!(after < IDLE * 2, "{after:?}");
    }
}
