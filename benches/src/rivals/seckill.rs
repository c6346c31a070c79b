//! This system: `seckill up`, on its embedded log, with its views.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use axum::http::Uri;
use seckill_load::{Ask, Fleet, grab_stream};
use seckill_proto::v1::grab_reply::Reply;
use seckill_proto::v1::{GrabReply, GrabRequest};
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::transport::Endpoint;

use super::process::Server;
use super::shop::{Buyer, Shop};
use crate::machine::free_port;

/// What its names begin with.
pub(super) const NAME: &str = "seckill";
const PROMOTION: &str = "hot";
const GRANTED: &str = "\"status\":201";
const TIMEOUT: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(30);

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A request each.
    Requests,
    Batches,
    Stream,
}

pub(super) struct Seckill {
    way: Way,
    server: Arc<Server>,
}

impl Seckill {
    /// Opens a promotion on a system of its own: it can be asked in each of these ways.
    pub(super) async fn start(program: &Path, folder: &Path, ways: &[Way]) -> Result<Vec<Self>> {
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        let mut command = Command::new(program);
        command.args(["up", "--log", "error", "--listen", &listen, "--data"]);
        command.arg(folder.join("seckill"));
        let server = Arc::new(Server::start(&mut command, port, &folder.join("seckill.log"))?);
        let fleet = fleet(port)?;
        let terms =
            format!(r#"{{"id":"{PROMOTION}","name":"hot","coupons":{},"discount":0.5}}"#, u32::MAX);
        let offer = Ask::post("/v1/promotions".parse()?, terms.into());
        let first: Uri = grab_path().parse()?;
        let deadline = Instant::now() + SOON;
        loop {
            let offered = fleet.send(&offer).await.is_ok_and(|reply| reply.status < 300);
            let body = r#"{"customer_id":"the first"}"#.to_owned();
            let grabbed = fleet.send(&Ask::post(first.clone(), body.into())).await;
            if offered && grabbed.is_ok_and(|reply| reply.status < 300) {
                break;
            }
            ensure!(Instant::now() < deadline, "the promotion does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(ways.iter().map(|way| Self { way: *way, server: Arc::clone(&server) }).collect())
    }
}

#[async_trait]
impl Shop for Seckill {
    fn name(&self) -> String {
        let way = match self.way {
            Way::Requests => "HTTP/1.1",
            Way::Batches => "batches",
            Way::Stream => "gRPC",
        };
        format!("{NAME} {way}")
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn buyer(&self) -> Result<Box<dyn Buyer>> {
        let port = self.server.port;
        Ok(match self.way {
            Way::Requests => Box::new(Requests(fleet(port)?, grab_path().parse()?)),
            Way::Batches => {
                Box::new(Batches(fleet(port)?, format!("{}:batch", grab_path()).parse()?))
            }
            Way::Stream => Box::new(Stream::open(port).await?),
        })
    }
}

fn fleet(port: u16) -> Result<Fleet> {
    Fleet::new(&[format!("http://127.0.0.1:{port}")], TIMEOUT)
}

fn grab_path() -> String {
    format!("/v1/promotions/{PROMOTION}/grabs")
}

struct Requests(Fleet, Uri);

#[async_trait]
impl Buyer for Requests {
    async fn grab(&mut self, customers: Vec<String>) -> Result<()> {
        for customer in customers {
            let body = format!(r#"{{"customer_id":"{customer}"}}"#);
            let answered = self.0.send(&Ask::post(self.1.clone(), body.into())).await;
            let reply = answered.map_err(|error| anyhow::anyhow!("no answer: {error:?}"))?;
            ensure!(reply.status == 201, "not granted but {}", reply.status);
        }
        Ok(())
    }
}

struct Batches(Fleet, Uri);

#[async_trait]
impl Buyer for Batches {
    async fn grab(&mut self, customers: Vec<String>) -> Result<()> {
        let grabs = customers.iter().map(|customer| format!(r#"{{"customer_id":"{customer}"}}"#));
        let body = format!(r#"{{"grabs":[{}]}}"#, grabs.collect::<Vec<_>>().join(","));
        let answered = self.0.send(&Ask::post(self.1.clone(), body.into())).await;
        let reply = answered.map_err(|error| anyhow::anyhow!("no answer: {error:?}"))?;
        let granted = std::str::from_utf8(&reply.body)?.matches(GRANTED).count();
        ensure!(granted == customers.len(), "{granted} of {} were granted", customers.len());
        Ok(())
    }
}

struct Stream {
    requests: mpsc::Sender<GrabRequest>,
    replies: Streaming<GrabReply>,
}

impl Stream {
    async fn open(port: u16) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
        let opened = grab_stream(&endpoint.tcp_nodelay(true)).await;
        let (requests, replies) = opened.map_err(anyhow::Error::msg)?;
        Ok(Self { requests, replies })
    }
}

#[async_trait]
impl Buyer for Stream {
    async fn grab(&mut self, customers: Vec<String>) -> Result<()> {
        let count = customers.len();
        for (number, customer_id) in (0..).zip(customers) {
            let grab = GrabRequest {
                number,
                promotion_id: PROMOTION.to_owned(),
                customer_id,
                ..GrabRequest::default()
            };
            self.requests.send(grab).await.context("the stream takes no more")?;
        }
        for _ in 0..count {
            let reply = self.replies.message().await?.context("the stream has ended")?;
            match reply.reply {
                Some(Reply::Granted(_)) => {}
                other => bail!("not granted but {other:?}"),
            }
        }
        Ok(())
    }
}
