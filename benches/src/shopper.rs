//! Shoppers on their connections, on a thread of their own as if they were another process.

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
const SOLD_OUT: u16 = 409;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// After an answer that was not the one hoped for.
const PAUSE: Duration = Duration::from_millis(10);

/// What shoppers ask for, one request after another.
pub(crate) trait Wish: Send + Sync {
    /// The next request; none once nobody is left.
    ///
    /// # Errors
    /// It is none.
    fn next(&self) -> anyhow::Result<Option<Ask>>;

    /// The status hoped for.
    fn hoped(&self) -> u16;
}

/// What customers of a sale ask for.
pub(crate) enum OfSale {
    Grab(Arc<OpenSale>),
    /// A coupon of a promotion that has none left.
    SoldOut(Arc<OpenSale>),
    Noop(Arc<OpenSale>),
}

impl OfSale {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Grab(_) => "http",
            Self::SoldOut(_) => "http, sold out",
            Self::Noop(_) => "noop",
        }
    }
}

impl Wish for OfSale {
    fn next(&self) -> anyhow::Result<Option<Ask>> {
        let (Self::Grab(sale) | Self::SoldOut(sale) | Self::Noop(sale)) = self;
        let number = if let Self::Noop(_) = self { Some(0) } else { sale.next_customer() };
        let Some(number) = number else { return Ok(None) };
        let promotion_id = &sale.wanted_by(number).id;
        let path = match self {
            Self::Grab(_) | Self::SoldOut(_) => server::grab_path(promotion_id),
            Self::Noop(_) => noop::path(promotion_id),
        };
        let body = format!(r#"{{"customer_id":"{}"}}"#, sale.crowd.customer_id(number));
        Ok(Some(Ask::post(path.parse()?, body.into())))
    }

    fn hoped(&self) -> u16 {
        match self {
            Self::Grab(_) | Self::Noop(_) => CREATED,
            Self::SoldOut(_) => SOLD_OUT,
        }
    }
}

/// Shoppers who all wish for the same, each on a connection of its own.
#[derive(Clone)]
pub(crate) struct Shoppers {
    wish: Arc<dyn Wish>,
    /// Where they ask.
    url: String,
    connections: u32,
}

impl Shoppers {
    pub(crate) fn new(wish: Arc<dyn Wish>, url: String, connections: u32) -> Self {
        Self { wish, url, connections }
    }

    pub(crate) async fn lap(&self, length: Duration) -> anyhow::Result<Tally> {
        let shoppers = self.clone();
        let thread = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(shoppers.shop(length))
        };
        tokio::task::spawn_blocking(thread).await.context("the generator ended badly")?
    }

    async fn shop(self, length: Duration) -> anyhow::Result<Tally> {
        let (server, window) = (Arc::new(self.fleet()?), Window::of(length));
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            tasks.spawn(client(Arc::clone(&self.wish), Arc::clone(&server), window));
        }
        Tally::gather(window, tasks).await
    }

    /// One request outside of any lap: the body of its answer.
    pub(crate) async fn ask_once(&self) -> anyhow::Result<Vec<u8>> {
        let request = self.wish.next()?.context("nobody is left")?;
        let reply = ask(&self.fleet()?, &request).await?;
        anyhow::ensure!(reply.status == self.wish.hoped(), "not granted but {}", reply.status);
        Ok(reply.body.to_vec())
    }

    fn fleet(&self) -> anyhow::Result<Fleet> {
        Fleet::new(std::slice::from_ref(&self.url), ANSWER_TIMEOUT)
    }
}

async fn client(wish: Arc<dyn Wish>, server: Arc<Fleet>, window: Window) -> anyhow::Result<Tally> {
    let (mut tally, hoped) = (Tally::new(window), wish.hoped());
    while !window.is_over() {
        let Some(request) = wish.next()? else { break };
        let begun = Instant::now();
        if ask(&server, &request).await?.status == hoped {
            tally.answered(begun);
        } else {
            tally.failed();
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(tally)
}

async fn ask(server: &Fleet, request: &Ask) -> anyhow::Result<HttpReply> {
    let answer = server.send(request).await;
    answer.map_err(|error| anyhow::anyhow!("no answer: {error:?}"))
}
