//! One task per assigned partition: started when it is given, told to stop when it is taken away.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::Membership;

/// When a process that ends leaves its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// Before its tasks have ended: others come while they still serve.
    First,
    /// When its tasks have ended.
    Last,
}

/// Runs `start(partition, stop)` for every partition assigned, until `stop`; then leaves the group. Tells
/// `member` whether the group counts this process in: at once, and whenever that may have changed.
///
/// A partition that is taken away has its task told to stop. It ends in its own time; until then the same
/// partition is not started again. A task that ends by itself, which only a bug makes it do, is started afresh.
pub async fn run_assigned<F, T>(
    mut membership: Membership,
    stop: CancellationToken,
    leaving: Leaving,
    member: impl Fn(bool),
    mut start: F,
) where
    F: FnMut(u32, CancellationToken) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let mut crew = Crew::default();
    while !stop.is_cancelled() {
        let assigned = membership.assigned();
        crew.dismiss(|partition| !assigned.contains(&partition));
        for partition in crew.missing(&assigned) {
            crew.hire(partition, &mut start);
        }
        member(membership.is_member());
        tokio::select! {
            biased;
            () = membership.changed() => {}
            () = stop.cancelled() => {}
            Some(ended) = crew.tasks.join_next_with_id() => crew.strike_off(&ended),
        }
    }
    crew.dismiss(|_| true);
    match leaving {
        Leaving::First => drop(tokio::join!(membership.leave(), crew.gone())),
        Leaving::Last => {
            crew.gone().await;
            membership.leave().await;
        }
    }
}

#[derive(Default)]
struct Crew {
    tasks: JoinSet<()>,
    /// By partition.
    members: BTreeMap<u32, (Id, CancellationToken)>,
}

impl Crew {
    fn hire<T: Future<Output = ()> + Send + 'static>(
        &mut self,
        partition: u32,
        start: &mut impl FnMut(u32, CancellationToken) -> T,
    ) {
        let stop = CancellationToken::new();
        let task = self.tasks.spawn(start(partition, stop.clone()));
        self.members.insert(partition, (task.id(), stop));
    }

    fn missing(&self, assigned: &BTreeSet<u32>) -> Vec<u32> {
        let missing = assigned.iter().filter(|partition| !self.members.contains_key(partition));
        missing.copied().collect()
    }

    /// Tells the tasks of some partitions to stop.
    fn dismiss(&self, which: impl Fn(u32) -> bool) {
        let leaving = self.members.iter().filter(|(partition, _)| which(**partition));
        leaving.for_each(|(_, (_, stop))| stop.cancel());
    }

    /// Waits until all tasks have ended.
    async fn gone(&mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.strike_off(&ended);
        }
    }

    fn strike_off(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let (id, panic) = match ended {
            Ok((id, ())) => (*id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let mut members = self.members.iter();
        let Some((&partition, _)) = members.find(|(_, (of, _))| *of == id) else { return };
        let Some((_, stop)) = self.members.remove(&partition) else { return };
        if let Some(error) = panic {
            tracing::error!(partition, %error, "the partition's task ended badly");
        } else if !stop.is_cancelled() {
            tracing::error!(partition, "the partition's task ended by itself");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::sync::watch;

    use super::*;
    use crate::Committer;
    use crate::membership::Standing;

    async fn until(condition: impl Fn() -> bool) {
        tokio::time::timeout(Duration::from_secs(5), async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("in time");
    }

    #[tokio::test]
    async fn tasks_follow_the_assignment_and_a_panicking_one_is_started_again() {
        let standing =
            |partitions: [u32; 2]| Standing { partitions: partitions.into(), is_member: true };
        let (assign, assigned) = watch::channel(standing([0, 1]));
        let running: Arc<[AtomicU32; 3]> = Arc::default();
        let starts: Arc<AtomicU32> = Arc::default();
        let stop = CancellationToken::new();
        let (counted, started) = (Arc::clone(&running), Arc::clone(&starts));
        let run = run_assigned(
            Membership::new(assigned, Committer::default(), None),
            stop.clone(),
            Leaving::Last,
            |_| {},
            move |partition, stop| {
                let running = Arc::clone(&counted);
                let first = started.fetch_add(1, Ordering::SeqCst) == 0;
                async move {
                    assert!(!first, "the first task of all ends badly");
                    running[partition as usize].fetch_add(1, Ordering::SeqCst);
                    stop.cancelled().await;
                    running[partition as usize].fetch_sub(1, Ordering::SeqCst);
                }
            },
        );
        let run = tokio::spawn(run);
        let now = || [0, 1, 2].map(|partition: usize| running[partition].load(Ordering::SeqCst));
        until(|| now() == [1, 1, 0]).await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        assign.send_replace(standing([1, 2]));
        until(|| now() == [0, 1, 1]).await;
        stop.cancel();
        run.await.expect("it ends");
        assert_eq!(now(), [0, 0, 0]);
    }
}
