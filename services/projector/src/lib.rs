//! Writes the views: the only one who does.
//!
//! Per assigned partition: fold the log from where the view is (`follow.rs`), make rows of the
//! events that count (`rows.rs`), write them, progress last. Whatever goes wrong, the
//! session is dropped and begins again at the progress that the views hold, because rows are
//! keyed and repeat without harm. A record that cannot be read stops its partition with the reason
//! shown; only an operator can have it skipped (`quarantine.rs`).
//!
//! Where a rebuild is under way, each partition writes new tables beside those that are read (`beside.rs`,
//! `build.rs`), and whoever has the first partition leads it from phase to phase (`coordinate.rs`).
//!
//! [`verify`] folds the whole log and holds every row of every view against it.

mod beside;
mod build;
mod compare;
mod coordinate;
mod follow;
mod http;
mod measure;
mod open;
mod past;
mod projection;
mod projections;
mod quarantine;
#[cfg(test)]
mod rebuild_under_faults;
mod rows;
mod verify;

use std::sync::Arc;

use seckill_feed::Feeder;
use seckill_log::{Group, Leaving, Log, LogError, keep_partitions_attended, run_assigned};
use seckill_telemetry::Health;
use seckill_views::Views;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::build::Turns;
use crate::coordinate::Coordinator;
use crate::follow::Follower;

pub use http::{AskClaims, Reached, RebuildStatus, Verifying, routes};
pub use past::{Past, as_of};
pub use quarantine::{NewSkip, Quarantine, QuarantineError, QuarantineList, Quarantined};
pub use verify::{Claim, Report, Stage, VerifyError, Watch, verify, verify_watched};

/// A projector that runs.
pub struct Projector {
    task: JoinHandle<()>,
}

impl Projector {
    /// Joins the group and writes the views of whatever partitions it is given, until `stop`.
    ///
    /// # Errors
    /// The group cannot be joined.
    pub async fn start(
        log: Arc<dyn Log>,
        views: Views,
        health: Health,
        stop: CancellationToken,
    ) -> Result<Self, LogError> {
        measure::describe_metrics();
        seckill_feed::describe_metrics();
        let membership = log.join(Group::Projector).await?;
        let adopted = watch::Sender::default();
        let attending = keep_partitions_attended(
            Arc::clone(&log),
            Group::Projector,
            &membership,
            adopted.clone(),
            measure::adopted,
            stop.clone(),
        );
        let membership = membership.with(adopted);
        let (turns, committer) = (Turns::new(), membership.committer());
        let member = health.member("projector/membership");
        // Last, so that the group is told of all that was written.
        let running =
            run_assigned(membership, stop, Leaving::Last, member, move |partition, stop| {
                let part = health.part(format!("projector/partition/{partition}"));
                let coordinator = Coordinator::new(Arc::clone(&log), views.clone());
                // Whoever has the first partition also leads rebuilds, and writes the feed.
                let leads = partition == 0;
                let feeder = leads.then(|| {
                    let part = health.part("projector/feed");
                    Feeder::new(Arc::clone(&log), views.clone(), part)
                });
                let (log, views) = (Arc::clone(&log), views.clone());
                let follower = Follower::new(log, views, partition, part, turns.clone())
                    .with_committer(committer.clone());
                run(follower, leads.then_some(coordinator), feeder, stop)
            });
        let task = async move {
            tokio::join!(running, attending);
        };
        Ok(Self { task: tokio::spawn(task) })
    }

    /// Ends it at once, in the middle of whatever it does: for tests and simulations of a crash.
    pub fn kill(&self) {
        self.task.abort();
    }

    /// Waits until everything is written that was in the log when it was told to stop, for a
    /// bounded time.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the projector ended badly");
        }
    }
}

async fn run(
    follower: Follower,
    coordinator: Option<Coordinator>,
    feeder: Option<Feeder>,
    stop: CancellationToken,
) {
    let lead = async {
        match coordinator {
            Some(coordinator) => coordinator.run().await,
            None => std::future::pending().await,
        }
    };
    let feed = async {
        if let Some(feeder) = feeder {
            feeder.run(stop.clone()).await;
        }
    };
    let follow = async { tokio::join!(follower.run(stop.clone()), feed) };
    tokio::select! {
        biased;
        _ = follow => {}
        () = lead => {}
    }
}
