//! Warm standbys: the state of partitions that another node serves, kept as far as the log goes, so that taking one over
//! need not read it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use seckill_log::{Entries, Log, LogError, Table};
use seckill_proto::v1::{Checkpoint, Fence, OwnerHint};
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::forward::owner_in;
use crate::mailbox::Mailboxes;
use crate::neighbours::Neighbours;
use crate::snapshot::{self, Snapshot};
use crate::takeover::{Reading, Records, TakeoverError};

/// How often it is looked for what has been over for long.
const TIDY_EVERY: Duration = Duration::from_millis(500);
/// Changes that come so close are looked at together.
const TOGETHER: Duration = Duration::from_millis(50);
/// Before a partition is followed again that could not be.
const AGAIN: Duration = Duration::from_secs(5);

/// The state of a partition as far as the log goes, or nearly.
pub(crate) struct Warm {
    pub(crate) state: Snapshot,
    /// Gives what follows.
    pub(crate) reading: Reading,
    /// Who has fenced last.
    pub(crate) served_by: Option<OwnerHint>,
}

/// The partitions that a node follows.
pub(crate) struct Standbys {
    way: Way,
    mailboxes: Mailboxes,
    followers: Mutex<BTreeMap<u32, Follower>>,
}

/// What following a partition needs.
#[derive(Clone)]
struct Way {
    log: Arc<dyn Log>,
    clock: Clock,
    retain: Option<Duration>,
    /// One state is put together at a time.
    turn: Arc<Semaphore>,
}

/// What a follower knows.
pub(crate) struct Known {
    /// The state, unless it is being put together.
    pub(crate) warm: Option<Warm>,
    /// The furthest that the log was seen, which may have become shorter since.
    pub(crate) seen: Checkpoint,
}

type Asked = oneshot::Receiver<oneshot::Sender<Known>>;

/// The task that follows one partition, for as long as this lives.
struct Follower {
    task: AbortHandle,
    ask: Option<oneshot::Sender<oneshot::Sender<Known>>>,
}

impl Warm {
    /// What the tables of a partition and its newest snapshot say.
    pub(crate) async fn load(
        log: &dyn Log,
        partition: u32,
        entries: &Entries,
    ) -> Result<Self, LogError> {
        let state = snapshot::load(log, partition, entries).await?;
        let (reading, served_by) = (Reading::default(), owner_in(entries));
        Ok(Self { state, reading, served_by })
    }

    /// Takes in the next records of the log.
    pub(crate) fn fold(&mut self, records: Records) -> Result<(), TakeoverError> {
        for (offset, record) in records {
            if let Some(fence) = self.state.step(offset, &record)? {
                let Fence { fence_id, endpoint, .. } = fence;
                self.served_by = Some(OwnerHint { fence_id, endpoint, ..OwnerHint::default() });
            }
        }
        Ok(())
    }
}

impl Standbys {
    pub(crate) fn new(
        log: Arc<dyn Log>,
        clock: Clock,
        retain: Option<Duration>,
        mailboxes: Mailboxes,
    ) -> Self {
        let turn = Arc::new(Semaphore::new(1));
        Self { way: Way { log, clock, retain, turn }, mailboxes, followers: Mutex::default() }
    }

    /// What is known of a partition, for who takes it over; it is not followed any more.
    pub(crate) async fn take(&self, partition: u32) -> Option<Known> {
        let mut follower = self.followers.lock().remove(&partition)?;
        let (sender, known) = oneshot::channel();
        follower.ask.take()?.send(sender).ok()?;
        known.await.ok()
    }

    /// Follows partitions that other nodes serve: of each, as many nodes do as there are to be copies, those that would
    /// take it over first. Never ends.
    pub(crate) async fn run(&self, neighbours: &Neighbours, copies: usize) {
        loop {
            let changed = neighbours.changed();
            let servers = neighbours.servers();
            for partition in 0..self.way.log.partitions() {
                // One that nobody serves may be about to be taken over.
                let of_another = servers.get(&partition).filter(|_| !self.mailboxes.has(partition));
                if let Some((_, server)) = of_another {
                    let next = neighbours.successors(partition, server);
                    self.follow(
                        partition,
                        next.iter().take(copies).any(|of| neighbours.is_own(of)),
                    );
                }
            }
            let followed = self.followers.lock().len();
            metrics::gauge!("seckill_standby_partitions").set(followed as f64);
            changed.await;
            tokio::time::sleep(TOGETHER).await;
        }
    }

    fn follow(&self, partition: u32, wanted: bool) {
        let mut followers = self.followers.lock();
        if !wanted {
            followers.remove(&partition);
        } else {
            followers.entry(partition).or_insert_with(|| {
                let (ask, asked) = oneshot::channel();
                let task = tokio::spawn(self.way.clone().keep_warm(partition, asked));
                Follower { task: task.abort_handle(), ask: Some(ask) }
            });
        }
    }
}

impl Way {
    async fn keep_warm(self, partition: u32, mut asked: Asked) {
        let mut seen = Checkpoint::default();
        loop {
            let warming = async {
                let _turn = self.turn.acquire().await;
                let entries = self.log.scan(Table::Owners, partition).await?;
                Warm::load(&*self.log, partition, &entries).await
            };
            let warm = tokio::select! {
                biased;
                // Who takes it over loads it sooner than this one.
                taken = &mut asked => return hand_over(taken, None, seen),
                warm = warming => warm,
            };
            let followed = match warm {
                Ok(warm) => self.go_on(partition, warm, &mut seen, &mut asked).await,
                Err::<_, LogError>(error) => Err(error.into()),
            };
            let Err(error) = followed else { return };
            tracing::debug!(%error, partition, "the partition is not followed");
            tokio::select! {
                biased;
                taken = &mut asked => return hand_over(taken, None, seen),
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// Follows the log until somebody asks for what is known.
    async fn go_on(
        &self,
        partition: u32,
        mut warm: Warm,
        seen: &mut Checkpoint,
        asked: &mut Asked,
    ) -> Result<(), TakeoverError> {
        let mut tidy_at = Instant::now();
        loop {
            let from = warm.state.fold.next_offset();
            let records = tokio::select! {
                biased;
                taken = &mut *asked => {
                    hand_over(taken, Some(warm), seen.clone());
                    return Ok(());
                }
                read = warm.reading.next(&*self.log, partition, from) => read?,
            };
            warm.fold(records)?;
            let now = warm.state.fold.checkpoint();
            if now.next_offset > seen.next_offset {
                *seen = now;
            }
            if let Some(retain) = self.retain.filter(|_| Instant::now() >= tidy_at) {
                tidy_at = Instant::now() + TIDY_EVERY;
                let retain_ms = i64::try_from(retain.as_millis()).unwrap_or(i64::MAX);
                drop(warm.state.book.archive(self.clock.now_ms().saturating_sub(retain_ms)));
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Tells who takes a partition over what is known of it.
fn hand_over(to: Result<oneshot::Sender<Known>, RecvError>, warm: Option<Warm>, seen: Checkpoint) {
    if let Ok(to) = to {
        let _ = to.send(Known { warm, seen }); // nobody may wait any more
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}
