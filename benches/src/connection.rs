//! A keep-alive connection that knows as little HTTP as it needs: the generator shares its cores
//! with the server, so it must be light.

use std::io;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer longer than this is not one that is expected here.
const MOST_BYTES: usize = 1 << 20;

pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer with a Content-Length.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(address: std::net::SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(4_096) })
    }

    /// Sends a request and reads the whole answer to it.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Reply<'_>> {
        self.received.clear();
        self.stream.write_all(request).await?;
        while parse(&self.received)?.is_none() {
            let read = self.stream.read_buf(&mut self.received).await?;
            if read == 0 || self.received.len() > MOST_BYTES {
                bail!("the server closed the connection, or talks without end");
            }
        }
        parse(&self.received)?.context("the answer is whole")
    }
}

/// A POST of JSON; the server's name does not matter to it.
pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

/// `None` while more is to come.
fn parse(received: &[u8]) -> anyhow::Result<Option<Reply<'_>>> {
    let Some(head_length) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&received[..head_length])?;
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("no status in {head:?}"))?;
    let length = content_length(head).with_context(|| format!("no length in {head:?}"))?;
    let body = &received[head_length + 4..];
    Ok((body.len() >= length).then_some(Reply { status, body }))
}

fn content_length(head: &str) -> Option<usize> {
    const NAME: &str = "content-length:";
    let is_it =
        |line: &&str| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME));
    head.split("\r\n").find(is_it)?[NAME.len()..].trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let whole = b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\na: b\r\n\r\nyes";
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]).expect("no error"), None, "{length}");
        }
        let reply = Reply { status: 201, body: b"yes" };
        assert_eq!(parse(whole).expect("no error"), Some(reply));
    }

    #[test]
    fn an_answer_without_a_length_is_none_that_is_expected() {
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse(b"nonsense\r\ncontent-length: 0\r\n\r\n").is_err());
    }
}
