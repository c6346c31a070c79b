//! Brings a command to the owner of its partition, here or on another node.

use std::sync::Arc;

use futures::{StreamExt, stream};
use seckill_log::Log;
use seckill_proto::partition_of;
use seckill_proto::v1::{Command, GrabCoupon, OwnerHint, command};
use seckill_telemetry::Span;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::forward::{ANSWER_TIMEOUT, Forwarder, LOOKS_WHERE_A_NODE_IS_GONE, LOOKS_WHERE_IT_MOVES};
use crate::http::HttpPeers;
use crate::mailbox::{CommandResult, Mailboxes, NotTaken};
use crate::traffic::{Second, Traffic};
use crate::{Archive, Failure, Told, archive, measure};

/// As the metrics name it.
const GRAB: &str = "grab";
/// Of a batch on an archived promotion, so many coupons are looked up in the views at the same time.
const LOOKED_UP_AT_ONCE: usize = 16;

/// The way in for every command.
#[derive(Clone)]
pub struct Dispatcher {
    partitions: u32,
    log_id: Arc<str>,
    mailboxes: Mailboxes,
    forwarder: Arc<Forwarder>,
    archive: Option<Archive>,
    traffic: Arc<Traffic>,
}

/// Whether another node may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forwarding {
    Allowed,
    Refused,
}

impl Dispatcher {
    /// A dispatcher that passes everything on to the nodes that own partitions.
    #[must_use]
    pub fn forwarding(log: Arc<dyn Log>) -> Self {
        let peers = Arc::new(HttpPeers::of(&*log));
        let forwarder = Forwarder::new(Arc::clone(&log), peers, String::new());
        Self::new(&*log, Mailboxes::default(), None, Arc::new(forwarder))
    }

    pub(crate) fn new(
        log: &dyn Log,
        mailboxes: Mailboxes,
        archive: Option<Archive>,
        forwarder: Arc<Forwarder>,
    ) -> Self {
        measure::describe();
        let (partitions, log_id) = (log.partitions(), log.id().into());
        Self { partitions, log_id, mailboxes, forwarder, archive, traffic: Arc::default() }
    }

    /// Of the log that it decides on.
    pub(crate) fn log_id(&self) -> &str {
        &self.log_id
    }

    /// Sends a command to the owner of its promotion and waits for the answer, for a bounded time.
    ///
    /// # Errors
    /// Nothing was decided, or nobody knows whether anything was.
    pub async fn send(&self, command: Command) -> Told {
        self.dispatch(command, Forwarding::Allowed).await
    }

    /// The same, but not by way of another node: [`Failure::NotOwner`] where one decides it.
    pub(crate) async fn send_straight(&self, command: Command) -> Told {
        self.dispatch(command, Forwarding::Refused).await
    }

    /// Where clients reach the node that decides about a promotion, as the table of owners says.
    pub(crate) async fn url_of_owner(&self, promotion_id: &str) -> Option<String> {
        self.forwarder.url_of_owner(partition_of(promotion_id, self.partitions)).await
    }

    async fn dispatch(&self, command: Command, forwarding: Forwarding) -> Told {
        let partition = partition_of(&command.promotion_id, self.partitions);
        let kind = measure::kind(&command);
        let is_grab = matches!(command.body, Some(command::Body::Grab(_)));
        let grabbed = is_grab.then(|| (command.promotion_id.clone(), Instant::now()));
        let span = span(kind, partition);
        let trace = span.traceparent();
        let told = self.decide(partition, command, trace, forwarding).await;
        measure::told(kind, &told);
        span.set("seckill.outcome", measure::outcome(&told));
        drop(span);
        if let Some((promotion_id, asked)) = grabbed {
            self.traffic.note(&promotion_id, &told, asked.elapsed());
        }
        told
    }

    /// Sends grabs of one promotion to its owner, who decides them in this order, and waits for all answers.
    ///
    /// # Errors
    /// None of them was decided, or nobody knows of any.
    pub async fn send_grabs(
        &self,
        promotion_id: &str,
        grabs: Vec<GrabCoupon>,
    ) -> Result<Vec<Told>, Failure> {
        self.dispatch_grabs(promotion_id, grabs, Forwarding::Allowed).await
    }

    /// The same, but not by way of another node: [`Failure::NotOwner`] where one decides them.
    pub(crate) async fn send_grabs_straight(
        &self,
        promotion_id: &str,
        grabs: Vec<GrabCoupon>,
    ) -> Result<Vec<Told>, Failure> {
        self.dispatch_grabs(promotion_id, grabs, Forwarding::Refused).await
    }

    async fn dispatch_grabs(
        &self,
        promotion_id: &str,
        grabs: Vec<GrabCoupon>,
        forwarding: Forwarding,
    ) -> Result<Vec<Told>, Failure> {
        let (partition, asked) = (partition_of(promotion_id, self.partitions), Instant::now());
        let count = grabs.len();
        let command = |grab| Command {
            promotion_id: promotion_id.to_owned(),
            body: Some(command::Body::Grab(grab)),
        };
        let commands = grabs.into_iter().map(command).collect();
        let span = span(GRAB, partition);
        let told = self.decide_all(partition, commands, span.traceparent(), forwarding).await;
        drop(span);
        let note = |told: &Told| {
            measure::told(GRAB, told);
            self.traffic.note(promotion_id, told, asked.elapsed());
        };
        match &told {
            Ok(told) => told.iter().for_each(note),
            Err(failure) => (0..count).for_each(|_| note(&Err(failure.clone()))),
        }
        told
    }

    /// What clients of this process were told of a promotion's grabs: which second it is now, and each second
    /// with grabs, both in milliseconds since 1970.
    pub(crate) fn traffic(&self, promotion_id: &str, now_ms: i64) -> (i64, Vec<(i64, Second)>) {
        self.traffic.of(promotion_id, now_ms)
    }

    /// Who owns each partition, as far as the table of owners knows.
    pub(crate) async fn owners(&self) -> Result<Vec<Option<OwnerHint>>, Failure> {
        self.forwarder.owners(self.partitions).await
    }

    /// Has commands for one partition decided by this node or not at all.
    ///
    /// # Errors
    /// As [`Dispatcher::send`]; also where this node does not look after the partition.
    pub async fn decide_here(&self, commands: Vec<Command>) -> Result<Vec<Told>, Failure> {
        let Some(first) = commands.first() else { return Ok(Vec::new()) };
        let partition = partition_of(&first.promotion_id, self.partitions);
        let span = span(measure::kind(first), partition);
        self.decide_all(partition, commands, span.traceparent(), Forwarding::Refused).await
    }

    /// Has the owner with this fence give a partition up for the node at an endpoint, which is about to take it over.
    ///
    /// # Errors
    /// It does not serve here.
    pub async fn release(
        &self,
        partition: u32,
        fence_id: &[u8],
        to: String,
    ) -> Result<(), Failure> {
        let released = self.mailboxes.release(partition, fence_id).ok_or(Failure::NotOwner)?;
        // From here on commands go there.
        self.forwarder.goes_to(partition, to);
        released.await.map_err(|_| Failure::Unknown)
    }

    async fn decide(
        &self,
        partition: u32,
        command: Command,
        trace: Option<Arc<str>>,
        forwarding: Forwarding,
    ) -> Told {
        match (self.mailboxes.put(partition, command, trace.clone()), forwarding) {
            (Ok(answer), _) => self.answered(answer).await,
            (Err(NotTaken::NotHere(command)), Forwarding::Allowed) => {
                let told = self.forward(partition, vec![*command], trace).await?;
                told.into_iter().next().unwrap_or(Err(Failure::Unknown))
            }
            (Err(NotTaken::NotHere(_)), Forwarding::Refused) => Err(Failure::NotOwner),
            (Err(NotTaken::TurnedAway(failure)), _) => Err(failure),
        }
    }

    async fn decide_all(
        &self,
        partition: u32,
        commands: Vec<Command>,
        trace: Option<Arc<str>>,
        forwarding: Forwarding,
    ) -> Result<Vec<Told>, Failure> {
        match (self.mailboxes.put_all(partition, commands, trace.as_ref()), forwarding) {
            (Ok(answers), _) => self.all_answered(answers).await,
            (Err(NotTaken::NotHere(commands)), Forwarding::Allowed) => {
                self.forward(partition, commands, trace).await
            }
            (Err(NotTaken::NotHere(_)), Forwarding::Refused) => Err(Failure::NotOwner),
            (Err(NotTaken::TurnedAway(failure)), _) => Err(failure),
        }
    }

    async fn forward(
        &self,
        partition: u32,
        commands: Vec<Command>,
        trace: Option<Arc<str>>,
    ) -> Result<Vec<Told>, Failure> {
        let (known, traced) = (self.forwarder.known(partition), trace.as_deref());
        let asked = self.forwarder.ask_known(partition, known.as_ref(), &commands, traced).await;
        let looks = match asked {
            Err(Failure::NotOwner) => LOOKS_WHERE_IT_MOVES,
            Err(Failure::Unreached) => LOOKS_WHERE_A_NODE_IS_GONE,
            Err(Failure::Unavailable) => 1,
            answered => return answered,
        };
        // It may have come here meanwhile.
        match self.mailboxes.put_all(partition, commands, trace.as_ref()) {
            Ok(answers) => self.all_answered(answers).await,
            Err(NotTaken::NotHere(commands)) => {
                self.forwarder.ask_another(partition, known, &commands, traced, looks).await
            }
            Err(NotTaken::TurnedAway(failure)) => Err(failure),
        }
    }

    async fn answered(&self, answer: oneshot::Receiver<CommandResult>) -> Told {
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(told)) => archive::complete(told?, self.archive.as_ref()).await,
            Ok(Err(_)) | Err(_) => Err(Failure::Unknown),
        }
    }

    async fn all_answered(
        &self,
        answers: oneshot::Receiver<Vec<CommandResult>>,
    ) -> Result<Vec<Told>, Failure> {
        let Ok(Ok(answers)) = tokio::time::timeout(ANSWER_TIMEOUT, answers).await else {
            return Err(Failure::Unknown);
        };
        let complete =
            async |answer: CommandResult| archive::complete(answer?, self.archive.as_ref()).await;
        Ok(stream::iter(answers).map(complete).buffered(LOOKED_UP_AT_ONCE).collect().await)
    }
}

/// From the mailbox of the owner, here or on another node, until it has answered.
fn span(kind: &'static str, partition: u32) -> Span {
    let span = Span::child("decide");
    span.set("seckill.command", kind);
    span.set("seckill.partition", i64::from(partition));
    span
}
