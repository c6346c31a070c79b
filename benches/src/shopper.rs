//! Contestants `http` and `noop`: shoppers on their connections, on a thread of their own as if
//! they were another process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use seckill_load::{Ask, Fleet, HttpReply};
use tokio::runtime;
use tokio::task::JoinSet;

use crate::lap::{Tally, Window};
use crate::sale::OpenSale;
use crate::{noop, server};

/// Durable and yours. A no-op says so too.
const CREATED: u16 = 201;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// After an answer that was not the one hoped for.
const PAUSE: Duration = Duration::from_millis(10);

/// What they ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Grab,
    Noop,
}

impl Wish {
    fn path(self, promotion_id: &str) -> String {
        match self {
            Self::Grab => server::grab_path(promotion_id),
            Self::Noop => noop::path(promotion_id),
        }
    }
}

/// Shoppers of one kind.
#[derive(Clone)]
pub(crate) struct Shoppers {
    wish: Wish,
    sale: Arc<OpenSale>,
    address: SocketAddr,
    server: Arc<Fleet>,
    connections: u32,
}

impl Shoppers {
    pub(crate) fn new(
        wish: Wish,
        sale: &Arc<OpenSale>,
        address: SocketAddr,
        connections: u32,
    ) -> anyhow::Result<Self> {
        let server = Arc::new(fleet(address)?);
        Ok(Self { wish, sale: Arc::clone(sale), address, server, connections })
    }

    pub(crate) fn connections(&self) -> u32 {
        self.connections
    }

    pub(crate) async fn lap(&self, length: Duration) -> anyhow::Result<Tally> {
        // Connections belong to the runtime that made them.
        let shoppers = Self { server: Arc::new(fleet(self.address)?), ..self.clone() };
        let thread = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(shoppers.shop(length))
        };
        tokio::task::spawn_blocking(thread).await.context("the generator ended badly")?
    }

    async fn shop(self, length: Duration) -> anyhow::Result<Tally> {
        let window = Window::of(length);
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            tasks.spawn(self.clone().client(window));
        }
        Tally::gather(window, tasks).await
    }

    async fn client(self, window: Window) -> anyhow::Result<Tally> {
        let mut tally = Tally::new(window);
        while !window.is_over() {
            let Some(request) = self.next_request()? else { break };
            let begun = Instant::now();
            if self.ask(&request).await?.status == CREATED {
                tally.answered(begun);
            } else {
                tally.failed();
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(tally)
    }

    async fn ask(&self, request: &Ask) -> anyhow::Result<HttpReply> {
        let answer = self.server.send(request).await;
        answer.map_err(|error| anyhow::anyhow!("no answer: {error:?}"))
    }

    fn next_request(&self) -> anyhow::Result<Option<Ask>> {
        let number = match self.wish {
            Wish::Grab => self.sale.next_customer(),
            Wish::Noop => Some(0),
        };
        let Some(number) = number else { return Ok(None) };
        let customer_id = self.sale.crowd.customer_id(number);
        let path = self.wish.path(&self.sale.wanted_by(number).id);
        let body = format!(r#"{{"customer_id":"{customer_id}"}}"#);
        Ok(Some(Ask::post(path.parse()?, body.into())))
    }

    /// One request outside of any lap: the body of its answer.
    pub(crate) async fn ask_once(&self) -> anyhow::Result<Vec<u8>> {
        let request = self.next_request()?.context("nobody is left")?;
        let reply = self.ask(&request).await?;
        anyhow::ensure!(reply.status == CREATED, "not granted but {}", reply.status);
        Ok(reply.body.to_vec())
    }
}

fn fleet(address: SocketAddr) -> anyhow::Result<Fleet> {
    Fleet::new(&[format!("http://{address}")], ANSWER_TIMEOUT)
}
