//! `seckill.v1.Grabs`, over gRPC: many grabs in one stream.

use std::collections::HashMap;
use std::future::ready;

use axum::Router;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, FuturesUnordered, ReadyChunks};
use futures::{FutureExt, StreamExt};
use seckill_edge::{LAST_REQUESTS, Problem, checked};
use seckill_proto::Position;
use seckill_proto::v1::grab_reply::Reply;
use seckill_proto::v1::grabs_server::{self, GrabsServer};
use seckill_proto::v1::{self, Closing, GrabCoupon, GrabReply, GrabRequest, Granted, LogPosition};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use utoipa_axum::router::OpenApiRouter;

use crate::{Dispatcher, Told, accepted};

/// Room for the ids and the key of a grab, as long as they may be.
const MAX_REQUEST_BYTES: usize = 1_024;
/// Grabs that are taken at once.
const CHUNK: usize = 1_000;
/// Of one stream, so many may be without an answer; while there are more, no more are taken.
const UNDER_WAY: usize = 4_096;

/// The way in for streams, until `closing`.
pub(crate) fn routes(dispatcher: Dispatcher, closing: CancellationToken) -> OpenApiRouter {
    let service = GrabsServer::new(GrabStreams { dispatcher, closing })
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    Router::new().route_service("/seckill.v1.Grabs/{method}", service).into()
}

struct GrabStreams {
    dispatcher: Dispatcher,
    closing: CancellationToken,
}

#[tonic::async_trait]
impl grabs_server::Grabs for GrabStreams {
    type GrabStream = BoxStream<'static, Result<GrabReply, Status>>;

    async fn grab(
        &self,
        request: Request<Streaming<GrabRequest>>,
    ) -> Result<Response<Self::GrabStream>, Status> {
        let stream = GrabStream {
            dispatcher: self.dispatcher.clone(),
            requests: Some(request.into_inner().ready_chunks(CHUNK)),
            failed: None,
            under_way: FuturesUnordered::new(),
            waiting: 0,
            closing: self.closing.clone(),
            until: None,
        };
        let next = async |mut stream: GrabStream| Some((stream.next().await?, stream));
        let replies = stream::unfold(stream, next).map(|replies| match replies {
            Ok(replies) => stream::iter(replies.into_iter().map(Ok)).left_stream(),
            Err(status) => stream::iter([Err(status)]).right_stream(),
        });
        Ok(Response::new(replies.flatten().boxed()))
    }
}

type Replies = Vec<GrabReply>;

struct GrabStream {
    dispatcher: Dispatcher,
    /// None once there are no more.
    requests: Option<ReadyChunks<Streaming<GrabRequest>>>,
    /// What the stream ends with, once all is answered.
    failed: Option<Status>,
    under_way: FuturesUnordered<BoxFuture<'static, Replies>>,
    /// Grabs that are under way.
    waiting: usize,
    closing: CancellationToken,
    /// When it takes no more, once it has said that it is about to end.
    until: Option<Instant>,
}

impl GrabStream {
    /// The next answers; none when all has been answered and nothing comes any more.
    async fn next(&mut self) -> Option<Result<Replies, Status>> {
        while self.requests.is_some() || !self.under_way.is_empty() {
            let Self { requests, under_way, waiting, closing, until, .. } = self;
            let (is_open, has_room) = (requests.is_some(), *waiting < UNDER_WAY);
            let closes_at = until.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                Some(replies) = under_way.next() => {
                    *waiting -= replies.len();
                    return Some(Ok(replies));
                }
                () = closing.cancelled(), if is_open && until.is_none() => {
                    *until = Some(Instant::now() + LAST_REQUESTS);
                    return Some(Ok(vec![reply(0, Reply::Closing(Closing {}))]));
                }
                () = sleep_until(closes_at), if is_open && until.is_some() => self.requests = None,
                chunk = next_of(requests), if is_open && has_room => self.take(chunk),
            }
        }
        self.failed.take().map(Err)
    }

    /// Has grabs decided. Without any there are no more.
    fn take(&mut self, chunk: Option<Vec<Result<GrabRequest, Status>>>) {
        let Some(chunk) = chunk else { return self.requests = None };
        let (mut by_promotion, mut refused) = (HashMap::<_, Grabs>::new(), Vec::new());
        for request in chunk {
            match request.map(checked_grab) {
                Ok(Ok((number, promotion_id, grab))) => {
                    let of_it = by_promotion.entry(promotion_id).or_default();
                    of_it.numbers.push(number);
                    of_it.grabs.push(grab);
                }
                Ok(Err(reply)) => refused.push(reply),
                Err(status) => {
                    // What follows is not where a message begins.
                    (self.requests, self.failed) = (None, Some(status));
                    break;
                }
            }
        }
        self.waiting += refused.len();
        if !refused.is_empty() {
            self.under_way.push(ready(refused).boxed());
        }
        for (promotion_id, grabs) in by_promotion {
            self.waiting += grabs.numbers.len();
            self.under_way.push(decide(self.dispatcher.clone(), promotion_id, grabs).boxed());
        }
    }
}

async fn next_of(
    requests: &mut Option<ReadyChunks<Streaming<GrabRequest>>>,
) -> Option<Vec<Result<GrabRequest, Status>>> {
    requests.as_mut()?.next().await
}

/// Grabs of one promotion.
#[derive(Default)]
struct Grabs {
    numbers: Vec<u64>,
    grabs: Vec<GrabCoupon>,
}

async fn decide(dispatcher: Dispatcher, promotion_id: String, grabs: Grabs) -> Replies {
    let Grabs { numbers, grabs } = grabs;
    match dispatcher.send_grabs(&promotion_id, grabs).await {
        Ok(told) => {
            numbers.into_iter().zip(told).map(|(number, told)| answer(number, told)).collect()
        }
        Err(failure) => {
            numbers.into_iter().map(|number| answer(number, Err(failure.clone()))).collect()
        }
    }
}

/// What is asked, or what is wrong with it.
fn checked_grab(request: GrabRequest) -> Result<(u64, String, GrabCoupon), GrabReply> {
    let GrabRequest { number, promotion_id, customer_id, idempotency_key } = request;
    let check = || {
        let promotion_id = checked("promotion_id", promotion_id)?;
        let customer_id = checked("customer_id", customer_id)?;
        let idempotency_key = match idempotency_key.is_empty() {
            true => idempotency_key,
            false => checked("idempotency_key", idempotency_key)?,
        };
        Ok((number, promotion_id, GrabCoupon { customer_id, idempotency_key }))
    };
    check().map_err(|wrong| reply(number, Reply::Problem(problem(&wrong))))
}

fn answer(number: u64, told: Told) -> GrabReply {
    let told = told.map_err(Problem::from).and_then(|answer| accepted(&answer));
    reply(
        number,
        match told {
            Ok((accepted, position)) => Reply::Granted(Granted {
                repeated: accepted.repeated,
                serial: accepted.serial,
                granted_at_ms: accepted.at_ms,
                position: Some(place(position)),
            }),
            Err(refused) => Reply::Problem(problem(&refused)),
        },
    )
}

fn problem(problem: &Problem) -> v1::Problem {
    let kind = problem.kind();
    v1::Problem {
        r#type: kind.urn(),
        status: kind.status().into(),
        detail: problem.detail().to_owned(),
        position: problem.position().map(place),
        retry_after_s: kind.retry_after_s().unwrap_or_default(),
    }
}

fn place(Position { partition, offset }: Position) -> LogPosition {
    LogPosition { partition, offset }
}

fn reply(number: u64, reply: Reply) -> GrabReply {
    GrabReply { number, reply: Some(reply) }
}
