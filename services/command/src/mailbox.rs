//! Where commands wait for the owner of their partition.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use seckill_proto::v1::{Answer, Command};
use tokio::sync::{mpsc, oneshot};

use crate::Failure;

/// Commands that may wait for one partition. At 100,000 a second this is a twelfth of a second.
pub(crate) const CAPACITY: usize = 8_192;

/// What a command comes to.
pub(crate) type CommandResult = Result<Answered, Failure>;

/// An answer, as the owner of the promotion knows it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    /// The refusal of an archived promotion, which is right unless the views show a coupon.
    pub(crate) unless_held: Option<Box<Asker>>,
}

/// Who asks an archived promotion for a coupon.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) promotion_id: String,
    pub(crate) customer_id: String,
    /// Views that are so far show all of its coupons.
    pub(crate) ended_by: u64,
}

/// A command and who waits for its answer.
pub(crate) struct Envelope {
    pub(crate) command: Command,
    pub(crate) reply: Reply,
    /// To which trace it belongs.
    pub(crate) trace: Option<Arc<str>>,
}

/// Who waits for an answer. Dropped without one, it says that nobody knows the outcome.
pub(crate) enum Reply {
    Alone(oneshot::Sender<CommandResult>),
    /// Together with others, at a place of its own.
    Among(Arc<Batch>, usize),
}

/// Commands that were put in together: who asked is told once all of them have their answers.
pub(crate) struct Batch {
    answers: Box<[OnceLock<CommandResult>]>,
    told: Option<oneshot::Sender<Vec<CommandResult>>>,
}

impl Reply {
    pub(crate) fn send(self, answer: CommandResult) {
        // Whoever asked may have stopped waiting.
        match self {
            Self::Alone(told) => drop(told.send(answer)),
            Self::Among(batch, place) => drop(batch.answers[place].set(answer)),
        }
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Alone(told) => told.is_closed(),
            Self::Among(batch, _) => batch.told.as_ref().is_none_or(oneshot::Sender::is_closed),
        }
    }
}

impl Batch {
    fn of(commands: usize) -> (Arc<Self>, oneshot::Receiver<Vec<CommandResult>>) {
        let (told, received) = oneshot::channel();
        let answers = std::iter::repeat_with(OnceLock::new).take(commands).collect();
        (Arc::new(Self { answers, told: Some(told) }), received)
    }
}

/// The last one that had a place in it has its answer.
impl Drop for Batch {
    fn drop(&mut self) {
        let answers = std::mem::take(&mut self.answers).into_iter();
        let answers = answers.map(|answer| answer.into_inner().unwrap_or(Err(Failure::Unknown)));
        if let Some(told) = self.told.take() {
            let _ = told.send(answers.collect()); // whoever asked may have stopped waiting
        }
    }
}

/// Why a command, or several, were not let in.
pub(crate) enum NotTaken<C> {
    /// This node does not look after the partition: here they are again.
    NotHere(C),
    /// They were turned away.
    TurnedAway(Failure),
}

/// Whether commands are let in to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Gate {
    /// This node does not serve it: another one may.
    Elsewhere,
    /// It is served here, and takes nothing now.
    Closed,
    Open,
}

/// The way in to one partition.
#[derive(Clone)]
pub(crate) struct Mailbox {
    envelopes: mpsc::Sender<Envelope>,
    /// A [`Gate`].
    gate: Arc<AtomicU8>,
    releases: mpsc::Sender<Release>,
    /// Of the owner who serves here.
    fence_id: Arc<Mutex<Vec<u8>>>,
}

/// Asks who serves a partition to give it up, and is told when that is done.
pub(crate) type Release = oneshot::Sender<()>;

/// What comes to a partition.
pub(crate) struct Incoming {
    pub(crate) envelopes: mpsc::Receiver<Envelope>,
    pub(crate) releases: mpsc::Receiver<Release>,
}

/// The partitions that this node looks after.
#[derive(Clone, Default)]
pub(crate) struct Mailboxes {
    by_partition: Arc<RwLock<HashMap<u32, Mailbox>>>,
}

impl Mailbox {
    /// Nothing is let in before the partition is taken over.
    pub(crate) fn new() -> (Self, Incoming) {
        let (envelopes, received) = mpsc::channel(CAPACITY);
        let (releases, asked) = mpsc::channel(1);
        let gate = Arc::new(AtomicU8::new(Gate::Elsewhere as u8));
        let fence_id = Arc::default();
        (
            Self { envelopes, gate, releases, fence_id },
            Incoming { envelopes: received, releases: asked },
        )
    }

    /// Who serves here from now on.
    pub(crate) fn set_owner(&self, fence_id: [u8; 16]) {
        *self.fence_id.lock() = fence_id.into();
    }

    fn is_served_by(&self, fence_id: &[u8]) -> bool {
        self.gate() != Gate::Elsewhere && *self.fence_id.lock() == fence_id
    }

    pub(crate) fn set(&self, gate: Gate) {
        self.gate.store(gate as u8, Ordering::Release);
    }

    fn put(
        &self,
        command: Command,
        trace: Option<Arc<str>>,
    ) -> Result<oneshot::Receiver<CommandResult>, NotTaken<Box<Command>>> {
        match self.gate() {
            Gate::Elsewhere => return Err(NotTaken::NotHere(Box::new(command))),
            Gate::Closed => return Err(NotTaken::TurnedAway(Failure::Unavailable)),
            Gate::Open => {}
        }
        let permit = self.envelopes.try_reserve().map_err(full_or_gone)?;
        let (told, answer) = oneshot::channel();
        permit.send(Envelope { command, reply: Reply::Alone(told), trace });
        Ok(answer)
    }

    fn put_all(
        &self,
        commands: Vec<Command>,
        trace: Option<&Arc<str>>,
    ) -> Result<oneshot::Receiver<Vec<CommandResult>>, NotTaken<Vec<Command>>> {
        match self.gate() {
            Gate::Elsewhere => return Err(NotTaken::NotHere(commands)),
            Gate::Closed => return Err(NotTaken::TurnedAway(Failure::Unavailable)),
            Gate::Open => {}
        }
        let permits = self.envelopes.try_reserve_many(commands.len()).map_err(full_or_gone)?;
        let (batch, answers) = Batch::of(commands.len());
        for (permit, (place, command)) in permits.zip(commands.into_iter().enumerate()) {
            let reply = Reply::Among(Arc::clone(&batch), place);
            permit.send(Envelope { command, reply, trace: trace.cloned() });
        }
        Ok(answers)
    }

    fn gate(&self) -> Gate {
        const GATES: [Gate; 3] = [Gate::Elsewhere, Gate::Closed, Gate::Open];
        GATES[usize::from(self.gate.load(Ordering::Acquire))]
    }
}

fn full_or_gone<C>(error: mpsc::error::TrySendError<()>) -> NotTaken<C> {
    NotTaken::TurnedAway(match error {
        mpsc::error::TrySendError::Full(()) => Failure::Overloaded,
        mpsc::error::TrySendError::Closed(()) => Failure::Unavailable,
    })
}

impl Mailboxes {
    /// Takes commands for a partition until the returned guard is dropped.
    pub(crate) fn register(&self, partition: u32, mailbox: Mailbox) -> Registered {
        self.by_partition.write().insert(partition, mailbox);
        Registered { mailboxes: self.clone(), partition }
    }

    /// Asks the owner with this fence to give a partition up; what is received when that is done, and nothing where
    /// it does not serve here.
    pub(crate) fn release(&self, partition: u32, fence_id: &[u8]) -> Option<oneshot::Receiver<()>> {
        let mailboxes = self.by_partition.read();
        let mailbox = mailboxes.get(&partition)?;
        if !mailbox.is_served_by(fence_id) {
            return None;
        }
        let (release, released) = oneshot::channel();
        mailbox.releases.try_send(release).ok().map(|()| released)
    }

    /// Waits for those who have found a gate open and are not through it yet.
    pub(crate) fn wait_at_gates(&self) {
        drop(self.by_partition.write());
    }

    /// Whether this node looks after a partition.
    pub(crate) fn has(&self, partition: u32) -> bool {
        self.by_partition.read().contains_key(&partition)
    }

    /// Lets a command in, without waiting.
    pub(crate) fn put(
        &self,
        partition: u32,
        command: Command,
        trace: Option<Arc<str>>,
    ) -> Result<oneshot::Receiver<CommandResult>, NotTaken<Box<Command>>> {
        match self.by_partition.read().get(&partition) {
            Some(mailbox) => mailbox.put(command, trace),
            None => Err(NotTaken::NotHere(Box::new(command))),
        }
    }

    /// Lets commands for one partition in, all or none of them, without waiting.
    pub(crate) fn put_all(
        &self,
        partition: u32,
        commands: Vec<Command>,
        trace: Option<&Arc<str>>,
    ) -> Result<oneshot::Receiver<Vec<CommandResult>>, NotTaken<Vec<Command>>> {
        match self.by_partition.read().get(&partition) {
            Some(mailbox) => mailbox.put_all(commands, trace),
            None => Err(NotTaken::NotHere(commands)),
        }
    }
}

/// A partition that this node looks after, for as long as this lives.
pub(crate) struct Registered {
    mailboxes: Mailboxes,
    partition: u32,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.mailboxes.by_partition.write().remove(&self.partition);
    }
}
