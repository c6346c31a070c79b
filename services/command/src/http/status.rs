//! What a node says of itself, as a stream: each status with its length before it, as protobuf does that, and an empty one
//! now and then as a sign of life.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream, Stream};
use prost::Message;
use seckill_proto::v1::NodeStatus;
use tokio_util::sync::CancellationToken;

/// How often a node gives a sign of life.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// One that has given none for so long is not heard any more.
const SILENT: Duration = Duration::from_secs(1);
/// No node has more to say.
const MAX_BYTES: usize = 16 << 20;

/// Ends when `close` is cancelled.
pub(crate) fn encode(
    statuses: BoxStream<'static, NodeStatus>,
    close: CancellationToken,
) -> impl Stream<Item = Result<Vec<u8>, Infallible>> + Send {
    stream::unfold((statuses, close), async |(mut statuses, close)| {
        let next = async {
            match tokio::time::timeout(HEARTBEAT, statuses.next()).await {
                Ok(status) => status,
                Err(_) => Some(NodeStatus::default()),
            }
        };
        let status = close.run_until_cancelled(next).await??;
        Some((Ok(status.encode_length_delimited_to_vec()), (statuses, close)))
    })
}

/// Ends where the other node is not heard any more, or does not speak this.
pub(crate) fn decode(response: reqwest::Response) -> BoxStream<'static, NodeStatus> {
    let from = (response, BytesMut::new());
    stream::unfold(from, async |(mut response, mut buffer)| {
        loop {
            while let Some(frame) = take_frame(&mut buffer)? {
                let status = NodeStatus::decode(frame).ok()?;
                if !status.endpoint.is_empty() {
                    return Some((status, (response, buffer)));
                }
            }
            let chunk = tokio::time::timeout(SILENT, response.chunk()).await;
            buffer.extend_from_slice(&chunk.ok()?.ok()??);
        }
    })
    .boxed()
}

/// The next frame where all of it is there; none at all where what comes is nonsense.
fn take_frame(buffer: &mut BytesMut) -> Option<Option<Bytes>> {
    let mut rest = &buffer[..];
    let length = match prost::decode_length_delimiter(&mut rest) {
        Ok(length) if length <= MAX_BYTES => length,
        Err(_) if buffer.len() < 10 => return Some(None), // a length may be as long
        Ok(_) | Err(_) => return None,
    };
    if rest.len() < length {
        return Some(None);
    }
    let prefix = buffer.len() - rest.len();
    buffer.advance(prefix);
    Some(Some(buffer.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_whatever_the_pieces() {
        let status =
            |endpoint: &str| NodeStatus { endpoint: endpoint.into(), ..NodeStatus::default() };
        let told = [status(&"a".repeat(200)), status(""), status("b")];
        let bytes: Vec<u8> =
            told.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
        for piece in 1..bytes.len() {
            let (mut buffer, mut heard) = (BytesMut::new(), Vec::new());
            for chunk in bytes.chunks(piece) {
                buffer.extend_from_slice(chunk);
                while let Some(frame) = take_frame(&mut buffer).expect("no nonsense") {
                    heard.push(NodeStatus::decode(frame).expect("a status"));
                }
            }
            assert_eq!(heard, told, "in pieces of {piece}");
        }
    }

    #[test]
    fn nonsense_is_not_waited_for() {
        for nonsense in [&[0xff; 10][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]] {
            assert!(take_frame(&mut BytesMut::from(nonsense)).is_none());
        }
    }
}
