//! Those who use a simulated cluster: operators who run sales, and customers who want coupons, ask any node,
//! and ask again where they got no word.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use seckill_checker::{Attempt, Outcome, Reason};
use seckill_command::{Dispatcher, Failure};
use seckill_proto::Position;
use seckill_proto::v1::{
    Accepted, Answer, CancelPromotion, Command, FinishPromotion, GrabCoupon, PausePromotion,
    Refusal, RestockPromotion, ResumePromotion, SchedulePromotion, Terms, answer, command,
};

use crate::cluster::Cluster;
use crate::world::World;

/// Customers of each sale.
const CUSTOMERS: usize = 24;
/// How often a customer looks for a coupon.
const LOOKS: usize = 6;
/// How long a client waits for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(6);

/// A wish for one coupon.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    sale: usize,
    customer: String,
    key: String,
}

/// A sale that is offered.
struct Sale {
    id: String,
    limit: u32,
}

pub(crate) struct Clients {
    cluster: Arc<Cluster>,
    sales: Vec<Sale>,
    attempts: Mutex<Vec<Attempt>>,
    /// What readers did not find that were told that it is there.
    unseen: Mutex<Vec<String>>,
}

impl Clients {
    pub(crate) fn new(cluster: &Arc<Cluster>, sales: usize) -> Arc<Self> {
        let limit = |_| 1 + u32::from(cluster.world.chance(0.3));
        let sale = |number| Sale { id: format!("sale-{number}"), limit: limit(number) };
        let sales = (0..sales).map(sale).collect();
        let (attempts, unseen) = (Mutex::default(), Mutex::default());
        Arc::new(Self { cluster: Arc::clone(cluster), sales, attempts, unseen })
    }

    /// How many want coupons at the same time.
    pub(crate) fn shoppers(&self) -> usize {
        6 + self.cluster.world.below(6)
    }

    pub(crate) fn unseen(&self) -> Vec<String> {
        self.unseen.lock().clone()
    }

    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().clone()
    }

    /// Offers every sale, and asks again until that is known.
    pub(crate) async fn offer(&self) {
        let world = &self.cluster.world;
        for sale in &self.sales {
            let terms = Some(terms(world, sale));
            let schedule = command::Body::Schedule(SchedulePromotion { terms });
            while !matches!(self.ask(&sale.id, schedule.clone()).await, Ok(Ok(_))) {
                tokio::time::sleep(world.ms(50, 400)).await;
            }
        }
    }

    /// Changes how sales go, now and then, whatever comes of it.
    pub(crate) async fn operate(self: Arc<Self>) {
        let world = Arc::clone(&self.cluster.world);
        loop {
            tokio::time::sleep(world.ms(300, 5_000)).await;
            let sale = &self.sales[world.below(self.sales.len())];
            let answer = self.ask(&sale.id, any_change(&world)).await;
            world.note(format_args!("operator: {}: {answer:?}", sale.id));
        }
    }

    /// One customer after another, for so many requests.
    pub(crate) async fn shop(self: Arc<Self>, client: usize, requests: usize) {
        let world = Arc::clone(&self.cluster.world);
        let mut open: Option<Wish> = None;
        for number in 0..requests {
            tokio::time::sleep(world.ms(1, 700)).await;
            if world.chance(0.1) {
                self.grab_together(client, number).await;
                continue;
            }
            let again = world.chance(0.8);
            let wish = open.take().filter(|_| again).unwrap_or_else(|| self.wish(client, number));
            let outcome = self.grab(&wish).await;
            if let Outcome::Granted { position, .. } = outcome
                && world.chance(0.4)
            {
                tokio::spawn(Arc::clone(&self).look_for(wish.clone(), position));
            }
            let is_open = matches!(outcome, Outcome::Unknown | Outcome::NotAccepted);
            open = (is_open || world.chance(0.1)).then_some(wish);
        }
    }

    /// Looks for a coupon in the views: once they are as far as the answer, it is there.
    async fn look_for(self: Arc<Self>, wish: Wish, at: Position) {
        let (cluster, promotion_id) = (&self.cluster, &self.sales[wish.sale].id);
        for _ in 0..LOOKS {
            tokio::time::sleep(cluster.world.ms(1, 400)).await;
            let Ok(views) = cluster.views().await else { continue };
            let asked = views.coupon_as_far_as(at.partition, promotion_id, &wish.customer).await;
            if let Ok((None, next_offset)) = asked
                && next_offset > at.offset
            {
                let what = format!("views up to {next_offset} lack {wish:?}, granted at {at}");
                cluster.world.note(format_args!("{what}"));
                self.unseen.lock().push(what);
            }
        }
    }

    fn wish(&self, client: usize, number: usize) -> Wish {
        let world = &self.cluster.world;
        let sale = world.below(self.sales.len());
        let customer = format!("customer-{}", world.below(CUSTOMERS));
        let keyed = self.sales[sale].limit > 1;
        let key = if keyed { format!("wish-{client}-{number}") } else { String::new() };
        Wish { sale, customer, key }
    }

    /// Asks for every wish once more, until the answer is definite: what was told has to be so still.
    pub(crate) async fn ask_all_again(&self) {
        let mut wishes: Vec<Wish> = Vec::new();
        for attempt in self.attempts() {
            let sale = self.sales.iter().position(|sale| sale.id == attempt.promotion_id);
            let (customer, key) = (attempt.customer_id, attempt.key);
            let wish = Wish { sale: sale.unwrap_or_default(), customer, key };
            if !wishes.contains(&wish) {
                wishes.push(wish);
            }
        }
        for wish in wishes {
            while matches!(self.grab(&wish).await, Outcome::Unknown | Outcome::NotAccepted) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn grab(&self, wish: &Wish) -> Outcome {
        let asked = self.cluster.world.tick();
        let grab = command::Body::Grab(wish.grab());
        let told = self.ask(&self.sales[wish.sale].id, grab).await;
        self.note(wish, asked, outcome(told))
    }

    /// Several customers at one sale, in one request. Some may come twice.
    async fn grab_together(&self, client: usize, number: usize) {
        let world = &self.cluster.world;
        let first = self.wish(client, number);
        let promotion_id = self.sales[first.sale].id.clone();
        let other = |other: usize| Wish {
            sale: first.sale,
            customer: format!("customer-{}", world.below(CUSTOMERS)),
            key: if first.key.is_empty() {
                String::new()
            } else {
                format!("{}-{other}", first.key)
            },
        };
        let wishes: Vec<Wish> = (0..2 + world.below(6)).map(other).collect();
        let grabs = wishes.iter().map(Wish::grab).collect();
        let asked = world.tick();
        let send =
            move |node: Dispatcher| async move { node.send_grabs(&promotion_id, grabs).await };
        let told = match self.at_some_node(send).await {
            Ok(Ok(told)) => told.into_iter().map(Ok).collect(),
            Ok(Err(failure)) => vec![Ok(Err(failure)); wishes.len()],
            Err(()) => vec![Err(()); wishes.len()],
        };
        for (wish, told) in wishes.iter().zip(told) {
            self.note(wish, asked, outcome(told));
        }
    }

    /// Takes note of an answer, which came now.
    fn note(&self, wish: &Wish, asked: u64, outcome: Outcome) -> Outcome {
        let world = &self.cluster.world;
        let answered = (outcome != Outcome::Unknown).then(|| world.tick());
        let Wish { sale, customer: customer_id, key } = wish.clone();
        let promotion_id = self.sales[sale].id.clone();
        world.note(format_args!("{customer_id} {key} of {promotion_id}: {outcome:?}"));
        let said = outcome.clone();
        let attempt = Attempt { promotion_id, customer_id, key, asked, answered, outcome: said };
        self.attempts.lock().push(attempt);
        outcome
    }

    /// Sends a command to any node. An error where no answer came.
    async fn ask(
        &self,
        promotion_id: &str,
        body: command::Body,
    ) -> Result<Result<Answer, Failure>, ()> {
        let command = Command { promotion_id: promotion_id.to_owned(), body: Some(body) };
        self.at_some_node(move |node| async move { node.send(command).await }).await
    }

    async fn at_some_node<T, F>(
        &self,
        send: impl FnOnce(Dispatcher) -> F,
    ) -> Result<Result<T, Failure>, ()>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let world = &self.cluster.world;
        let node = world.below(self.cluster.nodes());
        let Some(dispatcher) = self.cluster.dispatcher(node) else {
            return Ok(Err(Failure::Unreached)); // nobody listens there
        };
        world.takes().await;
        // Decided whether or not the client still waits.
        let decided = tokio::spawn(send(dispatcher));
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, decided).await.map_err(|_| ())?;
        world.takes().await;
        answer.map_err(|_| ())
    }
}

impl Wish {
    fn grab(&self) -> GrabCoupon {
        let (customer_id, idempotency_key) = (self.customer.clone(), self.key.clone());
        GrabCoupon { customer_id, idempotency_key }
    }
}

fn any_change(world: &World) -> command::Body {
    let coupons = 2 + u32::try_from(world.below(40)).unwrap_or(0);
    match world.below(12) {
        0..4 => command::Body::Restock(RestockPromotion { coupons }),
        4..7 => command::Body::Pause(PausePromotion {}),
        7..10 => command::Body::Resume(ResumePromotion {}),
        10 => command::Body::Finish(FinishPromotion {}),
        _ => command::Body::Cancel(CancelPromotion {}),
    }
}

fn terms(world: &World, sale: &Sale) -> Terms {
    let in_ms = world.below(4_000) as i64 - 1_000;
    let starts_at_ms = world.wall_ms() + in_ms;
    let ends_in_ms = 5_000 + world.below(40_000) as i64;
    Terms {
        name: sale.id.clone(),
        coupons: 2 + u32::try_from(world.below(30)).unwrap_or(0),
        discount: 0.5,
        starts_at_ms,
        finishes_at_ms: world.chance(0.4).then_some(starts_at_ms + ends_in_ms),
        limit_per_customer: sale.limit,
    }
}

fn outcome(answer: Result<Result<Answer, Failure>, ()>) -> Outcome {
    let answer = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(Failure::Unknown)) | Err(()) => return Outcome::Unknown,
        Ok(Err(_)) => return Outcome::NotAccepted,
    };
    let position = Position { partition: answer.partition, offset: answer.offset };
    match answer.outcome {
        Some(answer::Outcome::Accepted(Accepted { repeated, serial, .. })) => {
            Outcome::Granted { serial, position, repeated }
        }
        Some(answer::Outcome::Refused(refusal)) => {
            let reason = reason(Refusal::try_from(refusal).unwrap_or_default());
            Outcome::Refused { reason, position }
        }
        None => Outcome::Unknown,
    }
}

fn reason(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::NotFound => Reason::NotFound,
        Refusal::NotStarted => Reason::NotStarted,
        Refusal::Paused => Reason::Paused,
        Refusal::SoldOut => Reason::SoldOut,
        Refusal::LimitReached => Reason::LimitReached,
        Refusal::Finished => Reason::Finished,
        other => panic!("no grab is refused as {other:?}"),
    }
}
