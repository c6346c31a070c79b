//! Where commands wait for the owner of their partition.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

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
    pub(crate) reply: oneshot::Sender<CommandResult>,
    /// To which trace it belongs.
    pub(crate) trace: Option<Arc<str>>,
}

/// Why a command was not let in.
pub(crate) enum NotTaken {
    /// This node does not look after its partition: here it is again.
    NotHere(Box<Command>),
    /// It was turned away.
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
        let here = self.gate.load(Ordering::Acquire) != Gate::Elsewhere as u8;
        here && *self.fence_id.lock() == fence_id
    }

    pub(crate) fn set(&self, gate: Gate) {
        self.gate.store(gate as u8, Ordering::Release);
    }

    fn put(
        &self,
        command: Command,
        trace: Option<Arc<str>>,
    ) -> Result<oneshot::Receiver<CommandResult>, NotTaken> {
        let gate = self.gate.load(Ordering::Acquire);
        if gate == Gate::Elsewhere as u8 {
            return Err(NotTaken::NotHere(Box::new(command)));
        }
        if gate == Gate::Closed as u8 {
            return Err(NotTaken::TurnedAway(Failure::Unavailable));
        }
        let (reply, answer) = oneshot::channel();
        match self.envelopes.try_send(Envelope { command, reply, trace }) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(NotTaken::TurnedAway(Failure::Overloaded))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                Err(NotTaken::TurnedAway(Failure::Unavailable))
            }
        }
    }
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
    ) -> Result<oneshot::Receiver<CommandResult>, NotTaken> {
        match self.by_partition.read().get(&partition) {
            Some(mailbox) => mailbox.put(command, trace),
            None => Err(NotTaken::NotHere(Box::new(command))),
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
