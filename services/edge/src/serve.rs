//! A listener that waits for no client longer than it must, takes no more when told to stop, and
//! finishes what it has.

use seckill_proto::ProblemKind;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{Method, Uri};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Problem;
use crate::connections::{Attendant, Connections};

/// How long clients that keep their connections may go on asking once the listener stops: each gets
/// its answer and is told to close. A connection that is closed while a request is on its way to it
/// would be a request without an answer.
pub const LAST_REQUESTS: Duration = Duration::from_millis(500);
/// How long requests may then take to finish.
const DRAIN: Duration = Duration::from_secs(8);
/// After a connection could not be taken, for want of descriptors as a rule.
const TAKE_AGAIN: Duration = Duration::from_millis(50);

/// Serves HTTP/1.1 and HTTP/2, as each client begins, on whatever the routes are at the moment, until `stop`; then lets requests finish
/// for a bounded time.
pub async fn serve(
    listener: TcpListener,
    routes: watch::Receiver<Router>,
    connections: Arc<Connections>,
    stop: CancellationToken,
) {
    let no_more = CancellationToken::new();
    let attendant = Attendant::new(routes, stop.clone(), no_more.clone());
    let mut open = JoinSet::new();
    let take = |open: &mut JoinSet<()>, stream: TcpStream| {
        if let Some(place) = connections.place() {
            open.spawn(Arc::clone(&attendant).attend(stream, place));
        }
    };
    let mut failing = false;
    loop {
        let taken = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => continue,
            taken = listener.accept() => taken,
        };
        match taken {
            Ok((stream, _)) => take(&mut open, stream),
            Err(error) if is_of_client(&error) => continue,
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "connections cannot be taken");
                }
                tokio::time::sleep(TAKE_AGAIN).await;
                failing = true;
                continue;
            }
        }
        failing = false;
    }
    // Whoever has connected by now is not reset.
    let _ = listener.into_std().map(|listener| {
        waiting(&listener).for_each(|stream| take(&mut open, stream));
    });
    finish(open, &no_more).await;
}

/// The connections that wait to be taken, without waiting for more, and for a bounded time.
fn waiting(listener: &std::net::TcpListener) -> impl Iterator<Item = TcpStream> {
    let begun = Instant::now();
    let taken = std::iter::from_fn(move || match listener.accept() {
        Ok((stream, _)) if begun.elapsed() < LAST_REQUESTS => Some(Some(stream)),
        Err(error) if is_of_client(&error) => Some(None),
        Ok(_) | Err(_) => None,
    });
    taken.flatten().filter_map(|stream| {
        stream.set_nonblocking(true).ok()?;
        TcpStream::from_std(stream).ok()
    })
}

async fn finish(mut open: JoinSet<()>, no_more: &CancellationToken) {
    let _ = tokio::time::timeout(LAST_REQUESTS, all_of(&mut open)).await;
    no_more.cancel();
    let _ = tokio::time::timeout(DRAIN, all_of(&mut open)).await;
    if !open.is_empty() {
        tracing::warn!(cut = open.len(), "requests were still open after {DRAIN:?} and are cut");
    }
}

async fn all_of(open: &mut JoinSet<()>) {
    while open.join_next().await.is_some() {}
}

/// A client that went away before it was taken is no matter of the listener.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// The answer to a path that does not exist.
pub async fn not_found(uri: Uri) -> Problem {
    Problem::new(ProblemKind::NoSuchRoute, format!("{} is not a path of this server.", uri.path()))
}

/// The answer to a method that a path does not take.
pub async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(ProblemKind::MethodNotAllowed, format!("{} does not take {method}.", uri.path()))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::body::{Body, Bytes};
    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use http_body_util::BodyExt;
    use hyper::client::conn::http2::SendRequest;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::connections::{FIRST_REQUEST, IDLE, WRITE};
    use crate::read_body;

    /// A server that runs until this is dropped.
    struct Server {
        address: SocketAddr,
        connections: Arc<Connections>,
        stop: CancellationToken,
        task: AbortOnDropHandle<()>,
    }

    async fn server(most: usize) -> Server {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let listener = socket.listen(2_048).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let body =
            |request: Request| async { read_body(request, 1_024).await.map(|_: Bytes| "taken") };
        let routes = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/", post(body))
            .route("/healthz", get(|| async { "ok" }))
            .route("/large", get(|| async { "x".repeat(200_000) }));
        let (connections, stop) = (Connections::at_most(most), CancellationToken::new());
        let (_, routes) = watch::channel(routes);
        let serving = serve(listener, routes, Arc::clone(&connections), stop.clone());
        Server { address, connections, stop, task: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    /// What a server says to these bytes before it closes, and after how long.
    async fn said_to(bytes: &[u8]) -> (String, Duration) {
        let server = server(10).await;
        said_on(server.address, bytes).await
    }

    async fn said_on(address: SocketAddr, bytes: &[u8]) -> (String, Duration) {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(bytes).await.expect("written");
        let begun = Instant::now();
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said).await; // reset: what was said counts
        (said, begun.elapsed())
    }

    /// Asks once and keeps the connection.
    async fn ask(address: SocketAddr) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let said = ask_again(&mut stream).await.expect("an answer");
        (stream, said)
    }

    async fn ask_again(stream: &mut TcpStream) -> io::Result<String> {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        let mut said = vec![0; 4_096];
        let read = stream.read(&mut said).await?;
        Ok(String::from_utf8_lossy(&said[..read]).into_owned())
    }

    #[tokio::test]
    async fn connections_above_the_limit_are_told_so_and_closed() {
        let server = server(2).await;
        let (mut first, said) = ask(server.address).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        let _second = ask(server.address).await;
        let (_third, said) = ask(server.address).await;
        assert!(
            said.starts_with("HTTP/1.1 503") && said.contains("too-many-connections"),
            "{said}"
        );
        assert!(said.contains("connection: close"), "{said}");
        assert_eq!(server.connections.open(), 2);
        let (probe, _) = said_on(server.address, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(
            probe.starts_with("HTTP/1.1 200") && probe.contains("connection: close"),
            "{probe}"
        );
        // Those that are open are served on, and a place that is free again is given again.
        assert!(ask_again(&mut first).await.expect("an answer").starts_with("HTTP/1.1 200"));
        drop(first);
        while server.connections.open() == 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (_fourth, said) = ask(server.address).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_dropped() {
        let server = server(10).await;
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        let asked = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200);
        stream.write_all(&asked).await.expect("written");
        let begun = Instant::now();
        while server.connections.open() > 0 || begun.elapsed().is_zero() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(begun.elapsed() <= WRITE * 2, "it is still there");
        }
    }

    #[tokio::test]
    async fn nobody_who_keeps_asking_is_reset_by_the_end() {
        let server = server(200).await;
        let address = server.address;
        let mut clients = JoinSet::new();
        for _ in 0..100 {
            let (mut stream, _) = ask(address).await;
            clients.spawn(async move {
                loop {
                    let said = ask_again(&mut stream).await?;
                    if said.contains("connection: close") {
                        return Ok::<_, io::Error>(said);
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.stop.cancel();
        while let Some(ended) = clients.join_next().await {
            let said = ended.expect("no panic").expect("no reset");
            assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        }
        server.task.await.expect("it ends");
    }

    /// A client that speaks HTTP/2: its connection, and what ends when that does.
    async fn http2(address: SocketAddr) -> (SendRequest<Body>, AbortOnDropHandle<()>) {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        let running = tokio::spawn(async move { drop(connection.await) });
        (sender, AbortOnDropHandle::new(running))
    }

    async fn ask_over_http2(
        sender: &mut SendRequest<Body>,
        uri: &str,
    ) -> hyper::Result<(StatusCode, usize)> {
        let request = Request::get(uri).body(Body::empty()).expect("a request");
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes().len()))
    }

    #[tokio::test]
    async fn who_begins_with_http2_is_answered_so() {
        let server = server(10).await;
        let (sender, _running) = http2(server.address).await;
        let answers = (0..500).map(|_| {
            let mut sender = sender.clone();
            async move { ask_over_http2(&mut sender, "http://x/large").await.expect("an answer") }
        });
        let answers = futures::future::join_all(answers).await;
        assert!(answers.iter().all(|answer| *answer == (StatusCode::OK, 200_000)));
        assert_eq!(server.connections.open(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_no_more_over_http2_is_closed() {
        let server = server(10).await;
        let (mut sender, running) = http2(server.address).await;
        let answer = ask_over_http2(&mut sender, "http://x/").await.expect("an answer");
        assert_eq!(answer, (StatusCode::OK, "hello".len()));
        let begun = Instant::now();
        running.await.expect("it ends");
        let after = begun.elapsed();
        assert!(after >= IDLE && after < IDLE * 2, "{after:?}");
    }

    #[tokio::test]
    async fn nobody_who_keeps_asking_over_http2_is_left_without_an_answer_by_the_end() {
        let server = server(10).await;
        let (mut sender, _running) = http2(server.address).await;
        let mut asking = JoinSet::new();
        asking.spawn(async move {
            let mut answered = 0;
            // A request that was never sent is refused as such.
            while sender.ready().await.is_ok() {
                match ask_over_http2(&mut sender, "http://x/").await {
                    Ok((status, _)) => assert_eq!(status, StatusCode::OK),
                    Err(error) => assert!(error.is_canceled() || error.is_closed(), "{error:?}"),
                }
                answered += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            answered
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.stop.cancel();
        let begun = Instant::now();
        server.task.await.expect("it ends");
        assert!(begun.elapsed() < LAST_REQUESTS * 3, "{:?}", begun.elapsed());
        assert!(asking.join_next().await.expect("a client").expect("no panic") > 10);
    }

    #[tokio::test]
    async fn nobody_who_waits_to_be_taken_is_reset_by_the_end() {
        let server = server(2_000).await;
        let mut clients = Vec::new();
        // Nobody else runs meanwhile: all of them wait in the queue.
        for _ in 0..1_000 {
            let mut stream = std::net::TcpStream::connect(server.address).expect("a connection");
            io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
            clients.push(stream);
        }
        server.stop.cancel();
        server.task.await.expect("it ends");
        for mut stream in clients {
            let mut said = String::new();
            io::Read::read_to_string(&mut stream, &mut said).expect("no reset");
            assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        }
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
