//! A listener that takes no more when told to stop, and finishes what it has.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Problem;

/// How long requests may take to finish once the listener stops.
const DRAIN: Duration = Duration::from_secs(8);

/// Serves until `stop`, then lets requests finish for a bounded time.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = listener.tap_io(|stream| {
        // Without it a small answer may wait 40 ms for the client's acknowledgement.
        let _ = stream.set_nodelay(true);
    });
    let stopping = stop.clone();
    let server = axum::serve(listener, routes)
        .with_graceful_shutdown(async move { stopping.cancelled().await });
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        result = server => result,
        () = overdue => {
            tracing::warn!("requests were still open after {DRAIN:?} and are cut");
            Ok(())
        }
    }
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
