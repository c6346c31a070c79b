//! Contestants `http` and `noop`: shoppers on their connections, on a thread of their own as if
//! they were another process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::runtime;
use tokio::task::JoinSet;

use crate::connection::{Connection, post};
use crate::lap::{Tally, Window};
use crate::sale::Sale;
use crate::{noop, server};

/// Durable and yours. A no-op says so too.
const CREATED: u16 = 201;
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
    pub(crate) wish: Wish,
    pub(crate) sale: Arc<Sale>,
    pub(crate) server: SocketAddr,
    pub(crate) connections: u32,
}

impl Shoppers {
    pub(crate) async fn lap(&self, length: Duration) -> anyhow::Result<Tally> {
        let shoppers = self.clone();
        let thread = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(shoppers.shop(length))
        };
        tokio::task::spawn_blocking(thread).await.context("the generator ended badly")?
    }

    async fn shop(self, length: Duration) -> anyhow::Result<Tally> {
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(Connection::open(self.server).await.context("no connection")?);
        }
        let window = Window::of(length);
        let mut tasks = JoinSet::new();
        for connection in connections {
            tasks.spawn(self.clone().client(connection, window));
        }
        Tally::gather(window, tasks).await
    }

    async fn client(self, mut connection: Connection, window: Window) -> anyhow::Result<Tally> {
        let mut tally = Tally::new(window);
        while !window.is_over() {
            let Some(request) = self.next_request() else { break };
            let begun = Instant::now();
            if connection.ask(&request).await?.status == CREATED {
                tally.answered(begun);
            } else {
                tally.failed();
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(tally)
    }

    fn next_request(&self) -> Option<Vec<u8>> {
        let number = match self.wish {
            Wish::Grab => self.sale.crowd.next()?,
            Wish::Noop => 0,
        };
        let customer_id = self.sale.crowd.customer_id(number);
        let path = self.wish.path(&self.sale.wanted_by(number).id);
        Some(post(&path, &format!(r#"{{"customer_id":"{customer_id}"}}"#)))
    }

    /// One request outside of any lap: the body of its answer.
    pub(crate) async fn ask_once(&self) -> anyhow::Result<Vec<u8>> {
        let mut connection = Connection::open(self.server).await?;
        let request = self.next_request().context("nobody is left")?;
        let reply = connection.ask(&request).await?;
        anyhow::ensure!(reply.status == CREATED, "not granted but {}", reply.status);
        Ok(reply.body.to_vec())
    }
}
