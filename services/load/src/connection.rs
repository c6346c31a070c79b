//! Connections: of HTTP/1.1, driven by the task that uses it, and of HTTP/2, which many share.
//!
//! Of HTTP/1.1: hyper wants its connection polled; the usual spawned task would cost two hand-overs between
//! tasks for every request, and the generator shares its cores with the server. So the exchange
//! polls both. A connection is therefore blind while idle: that the server closed it shows at the
//! next exchange, as a request that never left.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::client::conn::{TrySendError, http2};
use hyper::header::RETRY_AFTER;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// Polls of both sides before the task is handed back: head and body of an answer mostly arrive
/// together, and take two.
const ROUNDS: usize = 3;

pub(crate) type Body = Full<Bytes>;
type Driver = http1::Connection<TokioIo<TcpStream>, Body>;

/// What the server said.
#[derive(Debug, Clone)]
pub struct HttpReply {
    /// The HTTP status.
    pub status: u16,
    /// After how long to try again.
    pub retry_after: Option<Duration>,
    /// The whole body.
    pub body: Bytes,
}

/// An exchange without an answer.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Not a byte left: here is the request again.
    Unsent(Box<Request<Body>>, String),
    /// It may have been acted on.
    Lost(String),
}

pub(crate) struct Connection {
    sender: SendRequest<Body>,
    driver: Option<Pin<Box<Driver>>>,
}

impl Connection {
    /// # Errors
    /// Nobody listens there, as text.
    pub(crate) async fn open(address: &str) -> Result<Self, String> {
        let stream = TokioIo::new(connect(address).await.map_err(|error| error.to_string())?);
        let (sender, driver) = http1::handshake(stream).await.map_err(|error| describe(&error))?;
        Ok(Self { sender, driver: Some(Box::pin(driver)) })
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.driver.is_some()
    }

    /// Sends a request and reads its whole answer. Dropped half-way, the connection is no use.
    ///
    /// # Errors
    /// [`Broken`], which knows whether the request can have arrived.
    pub(crate) async fn exchange(&mut self, request: Request<Body>) -> Result<HttpReply, Broken> {
        let Self { sender, driver } = self;
        let mut asking = pin!(ask(sender, request));
        poll_fn(|context| {
            for _ in 0..ROUNDS {
                drive(driver, context);
                if let Poll::Ready(answer) = asking.as_mut().poll(context) {
                    return Poll::Ready(answer);
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn drive(driver: &mut Option<Pin<Box<Driver>>>, context: &mut Context<'_>) {
    if let Some(running) = driver
        && running.as_mut().poll(context).is_ready()
    {
        *driver = None;
    }
}

async fn ask(sender: &mut SendRequest<Body>, request: Request<Body>) -> Result<HttpReply, Broken> {
    if let Err(error) = sender.ready().await {
        return Err(Broken::Unsent(Box::new(request), error.to_string()));
    }
    whole(sender.try_send_request(request).await).await
}

/// One connection of HTTP/2 from those who share it: each request is a stream of its own.
#[derive(Clone)]
pub(crate) struct Shared(http2::SendRequest<Body>);

impl Shared {
    /// # Errors
    /// Nobody listens there, as text.
    pub(crate) async fn open(address: &str) -> Result<Self, String> {
        let stream = TokioIo::new(connect(address).await.map_err(|error| error.to_string())?);
        let opened = http2::handshake(TokioExecutor::new(), stream).await;
        let (sender, driver) = opened.map_err(|error| describe(&error))?;
        tokio::spawn(driver); // ends with the last who shares it
        Ok(Self(sender))
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.0.is_closed()
    }

    /// As [`Connection::exchange`], but dropped half-way it harms nobody else.
    pub(crate) async fn exchange(&mut self, request: Request<Body>) -> Result<HttpReply, Broken> {
        whole(self.0.try_send_request(request).await).await
    }
}

async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The whole answer.
async fn whole(
    sent: Result<Response<Incoming>, TrySendError<Request<Body>>>,
) -> Result<HttpReply, Broken> {
    let response = sent.map_err(|mut refused| {
        let request = refused.take_message();
        let error = refused.into_error();
        match request {
            Some(request) => Broken::Unsent(Box::new(request), describe(&error)),
            None => Broken::Lost(describe(&error)),
        }
    })?;
    let status = response.status().as_u16();
    let retry_after = retry_after(&response);
    let collected = response.into_body().collect().await;
    let body = collected.map_err(|error| Broken::Lost(describe(&error)))?.to_bytes();
    Ok(HttpReply { status, retry_after, body })
}

fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
