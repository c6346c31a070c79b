//! The one thread that writes.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::embedded::store::Store;
use crate::{Delivery, Entries, LogError, Table};

/// One fsync makes at most this many bytes of records durable, so that none waits too long.
const MAX_GROUP_BYTES: usize = 8 * 1024 * 1024;

pub(super) enum Job {
    Append {
        partition: u32,
        records: Vec<Vec<u8>>,
        done: oneshot::Sender<Vec<Delivery>>,
    },
    Put {
        table: Table,
        partition: u32,
        entries: Entries,
        done: oneshot::Sender<Result<(), LogError>>,
    },
}

/// Hands jobs to the thread. How many may wait is bounded by those who submit: each waits for its
/// answer.
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(store: Arc<Store>) -> Result<Self, LogError> {
        let (sender, jobs) = channel();
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || run(&store, &jobs))
            .map_err(|error| LogError::Broken(error.to_string()))?;
        Ok(Self { jobs: Some(sender), thread: Some(thread) })
    }

    /// A job that the thread cannot take any more is dropped, and its outcome unknown.
    pub(super) fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(store: &Store, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        if let Err(error) = commit(store, Group::collect(first, jobs)) {
            tracing::error!(%error, "the log cannot be written any more");
            return;
        }
    }
}

/// Jobs that share an fsync.
struct Group {
    jobs: Vec<Job>,
}

impl Group {
    fn collect(first: Job, more: &Receiver<Job>) -> Self {
        let mut bytes = first.bytes();
        let mut jobs = vec![first];
        while bytes < MAX_GROUP_BYTES {
            let Ok(job) = more.try_recv() else { break };
            bytes += job.bytes();
            jobs.push(job);
        }
        Self { jobs }
    }
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Append { records, .. } => records.iter().map(Vec::len).sum(),
            Self::Put { entries, .. } => entries.iter().map(|(_, value)| value.len()).sum(),
        }
    }
}

/// Whom to tell what once the group is durable.
enum Told {
    Append(oneshot::Sender<Vec<Delivery>>, Vec<Delivery>),
    Put(oneshot::Sender<Result<(), LogError>>),
}

/// On an error the jobs are dropped unanswered: nobody knows what is on the disk.
fn commit(store: &Store, group: Group) -> Result<(), LogError> {
    let mut batch = store.batch();
    let mut ends: Vec<u64> =
        (0..store.partitions()).map(|partition| *store.end(partition).borrow()).collect();
    let mut told = Vec::with_capacity(group.jobs.len());
    for job in group.jobs {
        match job {
            Job::Append { partition, records, done } => {
                let end = &mut ends[partition as usize];
                let mut deliveries = Vec::with_capacity(records.len());
                for record in records {
                    batch.event(partition, *end, record);
                    deliveries.push(Delivery::At(*end));
                    *end += 1;
                }
                told.push(Told::Append(done, deliveries));
            }
            Job::Put { table, partition, entries, done } => {
                for (key, value) in &entries {
                    batch.entry(table, partition, key, value);
                }
                told.push(Told::Put(done));
            }
        }
    }
    batch.commit()?;
    publish(store, &ends);
    tell(told);
    Ok(())
}

fn publish(store: &Store, ends: &[u64]) {
    for (partition, end) in (0..).zip(ends) {
        store.end(partition).send_if_modified(|published| {
            let moved = *published != *end;
            *published = *end;
            moved
        });
    }
}

/// Nobody waits any more where a send fails, and that is no matter here.
fn tell(told: Vec<Told>) {
    for told in told {
        match told {
            Told::Append(done, deliveries) => drop(done.send(deliveries)),
            Told::Put(done) => drop(done.send(Ok(()))),
        }
    }
}
