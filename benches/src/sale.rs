//! The system under test: a command node that owns all partitions, and promotions that never sell
//! out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use seckill_command::{Dispatcher, Node, NodeConfig};
use seckill_load::Crowd;
use seckill_log::Log;
use seckill_proto::partition_of;
use seckill_proto::v1::{Answer, Command, GrabCoupon, SchedulePromotion, Terms, answer, command};
use seckill_telemetry::Health;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long it may take to own everything, to start a promotion, to give everything up.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);
const OPENED_AT_ONCE: usize = 256;

/// All customers of a run. The owner remembers each of them, so there is a bound.
pub(crate) const MOST: u32 = 50_000_000;

/// A promotion and where it lives.
pub(crate) struct Target {
    pub(crate) id: String,
    pub(crate) partition: u32,
}

/// Promotions that are open, and who will come.
pub(crate) struct OpenSale {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) promotions: Vec<Target>,
    pub(crate) crowd: Crowd,
}

/// The node that a sale runs on.
pub(crate) struct Owned {
    node: Node,
    health: Health,
    stop: CancellationToken,
}

impl Owned {
    /// Starts a node and waits until it owns every partition.
    pub(crate) async fn start(log: Arc<dyn Log>) -> anyhow::Result<Self> {
        let (health, stop) = (Health::default(), CancellationToken::new());
        // Nobody forwards to a node that owns everything.
        let config = NodeConfig::new("bench", "http://127.0.0.1:9");
        let node = Node::start(log, config, health.clone(), stop.clone()).await?;
        let owned = Self { node, health, stop };
        owned.until_ready().await?;
        Ok(owned)
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.health.not_ready().is_empty() {
            if Instant::now() >= deadline {
                bail!("not ready after {PATIENCE:?}: {:?}", self.health.not_ready());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    pub(crate) fn dispatcher(&self) -> Dispatcher {
        self.node.dispatcher()
    }

    /// Gives everything up.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.node.stopped()).await.context("the node does not stop")
    }
}

impl OpenSale {
    /// Opens so many promotions, the first ones each in a partition of its own.
    pub(crate) async fn open(
        dispatcher: Dispatcher,
        promotions: u32,
        partitions: u32,
    ) -> anyhow::Result<Self> {
        let places = (0..promotions).map(|number| in_partition(number % partitions, partitions));
        Self::of(dispatcher, places.collect(), u32::MAX).await
    }

    /// Opens promotions that do not exist yet, each with so many coupons; the first customer is given one of them.
    pub(crate) async fn of(
        dispatcher: Dispatcher,
        promotions: Vec<Target>,
        coupons: u32,
    ) -> anyhow::Result<Self> {
        let sale = Self { dispatcher, promotions, crowd: Crowd::fresh() };
        let opening = sale.promotions.iter().map(async |promotion| {
            let answer = sale.dispatcher.send(schedule(&promotion.id, coupons)).await?;
            ensure!(is_accepted(&answer), "the promotion was refused: {answer:?}");
            sale.until_started(promotion).await
        });
        stream::iter(opening).buffer_unordered(OPENED_AT_ONCE).try_collect::<()>().await?;
        Ok(sale)
    }

    /// Grabs until somebody is given a coupon.
    async fn until_started(&self, promotion: &Target) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let number = self.next_customer().context("nobody is left")?;
            if is_accepted(&self.dispatcher.send(self.grab(&promotion.id, number)).await?) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("a promotion did not start in {PATIENCE:?}")
    }

    /// The number of a customer who has not come yet, while there is one.
    pub(crate) fn next_customer(&self) -> Option<u32> {
        self.crowd.next(MOST)
    }

    /// The promotion that a customer comes for.
    pub(crate) fn wanted_by(&self, number: u32) -> &Target {
        &self.promotions[number as usize % self.promotions.len()]
    }

    pub(crate) fn grab(&self, promotion_id: &str, number: u32) -> Command {
        let customer_id = self.crowd.customer_id(number);
        let grab = GrabCoupon { customer_id, idempotency_key: String::new() };
        Command { promotion_id: promotion_id.to_owned(), body: Some(command::Body::Grab(grab)) }
    }
}

pub(crate) fn is_accepted(answer: &Answer) -> bool {
    matches!(answer.outcome, Some(answer::Outcome::Accepted(_)))
}

pub(crate) fn in_partition(partition: u32, partitions: u32) -> Target {
    let mut ids = std::iter::repeat_with(|| Uuid::new_v4().to_string());
    let id = ids.find(|id| partition_of(id, partitions) == partition);
    Target { id: id.expect("ids never end"), partition }
}

pub(crate) fn schedule(promotion_id: &str, coupons: u32) -> Command {
    let terms = Terms {
        name: "a sale without end".into(),
        coupons,
        discount: 0.5,
        starts_at_ms: 0,
        finishes_at_ms: None,
        limit_per_customer: 1,
    };
    let schedule = SchedulePromotion { terms: Some(terms) };
    Command { promotion_id: promotion_id.to_owned(), body: Some(command::Body::Schedule(schedule)) }
}
