//! Where requests go: the nodes of one role.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Method, Request, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::connection::{Body, HttpReply};
use crate::wire::{Http, Wire};

/// How long the first connection to a node may take.
const FIRST_CONNECTION: Duration = Duration::from_secs(1);

/// A request before it is known which node gets it, so that the same can be sent again.
#[derive(Debug, Clone)]
pub struct Ask {
    pub(crate) method: Method,
    pub(crate) path: Uri,
    pub(crate) body: Bytes,
    pub(crate) idempotency_key: Option<HeaderValue>,
    /// Not to be passed on to another node.
    pub(crate) straight: bool,
}

impl Ask {
    /// A request without a body.
    ///
    /// # Errors
    /// Not a path with an optional query.
    pub fn get(path: &str) -> Result<Self> {
        Ok(Self::of(Method::GET, path_of(path)?, Bytes::new()))
    }

    /// A request with a body of JSON.
    #[must_use]
    pub const fn post(path: Uri, body: Bytes) -> Self {
        Self::of(Method::POST, path, body)
    }

    const fn of(method: Method, path: Uri, body: Bytes) -> Self {
        Self { method, path, body, idempotency_key: None, straight: false }
    }
}

/// A request without an answer, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// It never left.
    Unsent(String),
    /// Its outcome is unknown.
    Lost(String),
}

/// The nodes of a role. Requests go to them in turn, so the next try goes to another node.
pub struct Fleet {
    nodes: Vec<Arc<Node>>,
    next: AtomicUsize,
    request_timeout: Duration,
    http: Http,
}

impl Fleet {
    /// The nodes at these URLs, asked over HTTP/1.1.
    ///
    /// # Errors
    /// A URL that is not `http://HOST[:PORT]`.
    pub fn new(urls: &[String], request_timeout: Duration) -> Result<Self> {
        Self::over(Http::One, urls, request_timeout)
    }

    /// The nodes at these URLs.
    ///
    /// # Errors
    /// As [`Fleet::new`].
    pub fn over(http: Http, urls: &[String], request_timeout: Duration) -> Result<Self> {
        let node = |url: &String| Node::new(url, http).map(Arc::new);
        let nodes = urls.iter().map(node).collect::<Result<Vec<_>>>()?;
        if nodes.is_empty() {
            bail!("no node to send to");
        }
        Ok(Self { nodes, next: AtomicUsize::new(0), request_timeout, http })
    }

    /// # Errors
    /// Nobody takes a connection at any of the nodes within [`FIRST_CONNECTION`].
    pub(crate) async fn assert_somebody_answers(&self) -> Result<()> {
        let mut reasons = Vec::new();
        for node in &self.nodes {
            match node.wire.assert_reached(FIRST_CONNECTION).await {
                Ok(()) => return Ok(()),
                Err(Unanswered::Unsent(reason) | Unanswered::Lost(reason)) => reasons.push(reason),
            }
        }
        bail!("nobody answers at {}; `seckill up` starts a system", reasons.join(", "))
    }

    /// Sends a request once: to the node whose turn it is, or to one after it where that cannot be reached.
    ///
    /// # Errors
    /// [`Unanswered`], after at most the time to connect and to answer that this fleet grants for each node.
    pub async fn send(&self, ask: &Ask) -> Result<HttpReply, Unanswered> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut answered = self.send_to(self.node(turn), ask).await;
        for other in 1..self.nodes.len() {
            if !matches!(answered, Err(Unanswered::Unsent(_))) {
                break;
            }
            answered = self.send_to(self.node(turn + other), ask).await;
        }
        answered
    }

    /// One more node, asked as these are.
    pub(crate) fn another(&self, url: &str) -> Result<Node> {
        Node::new(url, self.http)
    }

    /// The node whose turn it is.
    pub(crate) fn next(&self) -> Arc<Node> {
        Arc::clone(self.node(self.next.fetch_add(1, Ordering::Relaxed)))
    }

    fn node(&self, turn: usize) -> &Arc<Node> {
        &self.nodes[turn % self.nodes.len()]
    }

    /// Closes all connections that carry nothing now.
    pub(crate) fn close_idle(&self) {
        self.nodes.iter().for_each(|node| node.close_idle());
    }

    /// Sends a request once, to a node that may be another one.
    pub(crate) async fn send_to(&self, node: &Node, ask: &Ask) -> Result<HttpReply, Unanswered> {
        node.send(ask, self.request_timeout).await
    }
}

/// One node, and the connections to it.
pub(crate) struct Node {
    url: String,
    authority: Authority,
    host: HeaderValue,
    wire: Wire,
}

impl Node {
    pub(crate) fn new(url: &str, http: Http) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url} is not a URL"))?;
        let plain = uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none();
        let (true, Some(authority)) = (plain, uri.authority()) else {
            bail!("{url} is not of the form http://HOST[:PORT]");
        };
        let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        let host = HeaderValue::from_str(authority.as_str())?;
        let (authority, wire) = (authority.clone(), Wire::new(http, address));
        Ok(Self { url: url.to_owned(), authority, host, wire })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    async fn send(&self, ask: &Ask, limit: Duration) -> Result<HttpReply, Unanswered> {
        let request = self.request(ask).map_err(|error| Unanswered::Unsent(error.to_string()))?;
        self.wire.exchange(request, limit).await
    }

    fn request(&self, ask: &Ask) -> Result<Request<Body>> {
        let mut request = Request::new(Full::new(ask.body.clone()));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = self.uri(&ask.path)?;
        if self.wire.http() == Http::One {
            request.headers_mut().insert(HOST, self.host.clone());
        }
        let headers = request.headers_mut();
        if !ask.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if ask.straight {
            headers.insert("seckill-forward", HeaderValue::from_static("never"));
        }
        if let Some(key) = &ask.idempotency_key {
            headers.insert("idempotency-key", key.clone());
        }
        Ok(request)
    }

    /// HTTP/2 names the host in the request's URI, HTTP/1.1 in a header.
    fn uri(&self, path: &Uri) -> Result<Uri> {
        if self.wire.http() == Http::One {
            return Ok(path.clone());
        }
        let mut parts = path.clone().into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        Ok(Uri::from_parts(parts)?)
    }

    pub(crate) fn close_idle(&self) {
        self.wire.close_idle();
    }
}

/// # Errors
/// Not a path with an optional query.
pub(crate) fn path_of(path: &str) -> Result<Uri> {
    path.parse().with_context(|| format!("{path} is not a path"))
}

/// What stands in a segment of a path as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// An id as one segment of a path.
pub(crate) fn segment(id: &str) -> String {
    utf8_percent_encode(id, PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_segment() {
        assert_eq!(segment("spring-sale_1~"), "spring-sale_1~");
        assert_eq!(segment("a/b ?%..春"), "a%2Fb%20%3F%25%2E%2E%E6%98%A5");
    }

    #[test]
    fn only_plain_http_is_taken() {
        for url in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1/"] {
            assert!(Node::new(url, Http::One).is_ok(), "{url}");
        }
        for url in ["https://a", "localhost:8080", "http://a/b", "http://a?x", ""] {
            assert!(Node::new(url, Http::One).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn nobody_listening_is_known_as_unsent() {
        let fleet =
            Fleet::new(&[String::from("http://127.0.0.1:1")], Duration::from_secs(1)).unwrap();
        let outcome = fleet.send(&Ask::get("/").unwrap()).await;
        assert!(matches!(outcome, Err(Unanswered::Unsent(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_node_that_cannot_be_reached_is_passed_over() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = format!("http://{}", listener.local_addr().unwrap());
        let answering = tokio::spawn(async move {
            let (connection, _) = listener.accept().await.unwrap();
            let mut connection = connection.into_std().unwrap();
            let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            std::io::Write::write_all(&mut connection, answer).unwrap();
        });
        let urls = [String::from("http://127.0.0.1:1"), String::from("http://127.0.0.1:2"), there];
        let fleet = Fleet::new(&urls, Duration::from_secs(1)).unwrap();
        let reply = fleet.send(&Ask::get("/").unwrap()).await;
        assert_eq!(reply.unwrap().status, 204);
        answering.await.unwrap();
    }
}
