//! A wall clock that jumps opens nothing and finishes nothing, and a log that has seen one that was
//! wrong finds a way out.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::system::{Engines, System, eventually, run, text};
use seckill_command::{Clock, Dispatcher, Node, NodeConfig};
use seckill_log::Log;
use seckill_log::embedded::EmbeddedLog;
use seckill_proto::v1::{
    Answer, Command, GrabCoupon, Refusal, SchedulePromotion, Terms, answer, command,
};
use seckill_telemetry::Health;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_secs(10);
const MINUTE_MS: i64 = 60_000;
const YEAR_MS: i64 = 365 * 24 * 60 * MINUTE_MS;

/// A command node whose wall clock a test sets.
struct Clocked {
    /// What the wall clock is ahead of the real one.
    lead_ms: Arc<AtomicI64>,
    health: Health,
    dispatcher: Dispatcher,
    node: Node,
    stop: CancellationToken,
}

fn now_ms() -> i64 {
    Clock::system().now_ms()
}

impl Clocked {
    async fn start(directory: &Path, lead_ms: i64) -> Self {
        let log = EmbeddedLog::open(directory, Some(1)).expect("a log");
        Self::start_on(Arc::new(log), lead_ms).await
    }

    async fn start_on(log: Arc<dyn Log>, lead_ms: i64) -> Self {
        let lead_ms = Arc::new(AtomicI64::new(lead_ms));
        let (real, lead) = (Clock::system(), Arc::clone(&lead_ms));
        let since_boot = real.clone();
        let wall = move || real.now_ms() + lead.load(Ordering::SeqCst);
        let config = NodeConfig {
            clock: Clock::new(wall, move || since_boot.since_boot_ms()),
            ..NodeConfig::new("a test", "http://127.0.0.1:9")
        };
        let (health, stop) = (Health::default(), CancellationToken::new());
        let node = Node::start(log, config, health.clone(), stop.clone()).await.expect("a node");
        let serves = async || {
            health
                .parts()
                .iter()
                .any(|(part, ready)| part.starts_with("command/partition/") && *ready)
        };
        eventually("the node serves", TIMEOUT, serves).await;
        Self { lead_ms, health, dispatcher: node.dispatcher(), node, stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.node.stopped().await;
    }

    async fn send(&self, promotion_id: &str, body: command::Body) -> answer::Outcome {
        let command = Command { promotion_id: promotion_id.to_owned(), body: Some(body) };
        let Answer { outcome, .. } = self.dispatcher.send(command).await.expect("an answer");
        outcome.expect("an outcome")
    }

    async fn schedule(&self, id: &str, starts_at_ms: i64, finishes_at_ms: i64) -> answer::Outcome {
        let terms = Terms {
            name: id.to_owned(),
            coupons: 100,
            discount: 0.5,
            starts_at_ms,
            finishes_at_ms: Some(finishes_at_ms),
            limit_per_customer: 1,
        };
        self.send(id, command::Body::Schedule(SchedulePromotion { terms: Some(terms) })).await
    }

    async fn grab(&self, id: &str, customer: &str) -> answer::Outcome {
        let grab = GrabCoupon { customer_id: customer.to_owned(), ..GrabCoupon::default() };
        self.send(id, command::Body::Grab(grab)).await
    }

    fn jump(&self, by_ms: i64) {
        self.lead_ms.store(by_ms, Ordering::SeqCst);
    }
}

fn accepted(outcome: &answer::Outcome) -> bool {
    matches!(outcome, answer::Outcome::Accepted(accepted) if !accepted.repeated)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jump_opens_and_finishes_nothing_and_is_noticed() {
    let directory = tempfile::tempdir().expect("a directory");
    let node = Clocked::start(directory.path(), 0).await;
    let now_ms = now_ms();
    assert!(accepted(&node.schedule("on", now_ms, now_ms + 10 * MINUTE_MS).await));
    assert!(accepted(
        &node.schedule("due", now_ms + 10 * MINUTE_MS, now_ms + 20 * MINUTE_MS).await
    ));
    assert!(accepted(&node.grab("on", "before").await));
    for (number, jump_ms) in [YEAR_MS, 15 * MINUTE_MS, -YEAR_MS].into_iter().enumerate() {
        node.jump(jump_ms);
        eventually("the jump is noticed", Duration::from_millis(1_500), async || {
            node.health.not_ready().get("command/clock").is_some_and(|why| why.contains("jumped"))
        })
        .await;
        let not_started = answer::Outcome::Refused(Refusal::NotStarted.into());
        assert_eq!(node.grab("due", "early").await, not_started, "by {jump_ms} ms");
        assert!(accepted(&node.grab("on", &format!("customer {number}")).await));
        let soon_ms = now_ms + MINUTE_MS;
        assert!(accepted(&node.schedule(&format!("new {number}"), 0, soon_ms).await));
        node.jump(0);
        eventually("it is well again", TIMEOUT, async || node.health.not_ready().is_empty()).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_a_year_ahead_goes_on_from_now_by_an_operators_word() {
    let mut sale = System::closed(Engines::Embedded);
    let log = sale.data().join("log");
    let ahead = Clocked::start(&log, YEAR_MS).await;
    let there_ms = now_ms() + YEAR_MS;
    assert!(accepted(&ahead.schedule("then", there_ms, there_ms + MINUTE_MS).await));
    ahead.stop().await;

    let soon = jiff::Timestamp::from_millisecond(now_ms() + 60 * MINUTE_MS).expect("a time");
    let offer = json!({
        "id": "soon", "name": "soon", "coupons": 5, "discount": 0.5,
        "finishes_at": soon.to_string(),
    });
    sale.start().await;
    let refused = sale.post("/v1/promotions", offer.clone()).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    sale.stop();

    let shown = run("repair", &sale.flags());
    assert!(!shown.status.success() && text(&shown).contains("AHEAD"), "{}", text(&shown));
    let mut flags = sale.flags();
    flags.push("--reset-clock".to_owned());
    let reset = run("repair", &flags);
    assert!(reset.status.success() && text(&reset).contains("RESET"), "{}", text(&reset));

    sale.start().await;
    let taken = sale.post("/v1/promotions", offer).await;
    assert_eq!(taken.status, 201, "{taken:?}");
    assert_eq!(sale.grab("soon", "c").await.status, 201);
    sale.stop();
    let verified = sale.verify();
    assert!(verified.status.success(), "{}", text(&verified));
    assert!(text(&verified).contains("the clock was set back"), "{}", text(&verified));
}

#[cfg(feature = "real-engines")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_wrong_at_the_start_is_held_to_the_brokers() {
    use seckill_log::kafka::{KafkaConfig, KafkaLog};

    let broker = std::env::var("SECKILL_TEST_KAFKA").expect("SECKILL_TEST_KAFKA must be set");
    let config = KafkaConfig {
        prefix: crate::system::fresh_name(),
        partitions: Some(1),
        ..KafkaConfig::new(&broker)
    };
    let log = KafkaLog::connect(config).await.expect("a broker");
    let node = Clocked::start_on(Arc::new(log), YEAR_MS).await;
    let soon_ms = now_ms() + 10 * MINUTE_MS;
    assert!(accepted(&node.schedule("due", soon_ms, soon_ms + MINUTE_MS).await));
    let not_started = answer::Outcome::Refused(Refusal::NotStarted.into());
    assert_eq!(node.grab("due", "early").await, not_started);
    assert!(node.health.not_ready().contains_key("command/clock"), "it is told");
    node.stop().await;
}
