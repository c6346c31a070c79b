//! A run beside something else: what a test does to a system while a crowd is there.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::args::LoadArgs;
use crate::grab::Counter;
use crate::report::Report;
use crate::run::Prepared;

/// A crowd that is coming.
pub struct Running {
    counter: Arc<Counter>,
    promotions: Vec<String>,
    /// Dropping it has nobody new come.
    stop: DropGuard,
    /// Dropping it ends the run where it is.
    alive: DropGuard,
    task: JoinHandle<Result<Report>>,
}

impl Running {
    /// Opens the promotions, and has the crowd come.
    ///
    /// # Errors
    /// As [`crate::run`], but for what comes after it has begun.
    pub async fn start(args: LoadArgs) -> Result<Self> {
        let prepared = Prepared::new(LoadArgs { quiet: true, ..args }).await?;
        let counter = Arc::clone(&prepared.counter);
        let promotions = prepared.sales.iter().map(|sale| sale.id.clone()).collect();
        let (stop, alive) = (CancellationToken::new(), CancellationToken::new());
        let (until, dropped) = (stop.clone(), alive.clone());
        let runtime = Handle::current();
        let play = move || {
            runtime.block_on(async {
                tokio::select! {
                    report = prepared.play(&until) => report,
                    () = dropped.cancelled() => Err(anyhow!("nobody waits for it any more")),
                }
            })
        };
        let task = tokio::task::spawn_blocking(play);
        let (stop, alive) = (stop.drop_guard(), alive.drop_guard());
        Ok(Self { counter, promotions, stop, alive, task })
    }

    /// The ids of the promotions grabbed from.
    #[must_use]
    pub fn promotions(&self) -> &[String] {
        &self.promotions
    }

    /// Coupons granted so far.
    #[must_use]
    pub fn granted(&self) -> u64 {
        let book = self.counter.ledger.book();
        book.counts.granted + book.counts.already_yours
    }

    /// Grabs refused so far, definitely.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.counter.ledger.book().counts.refused_in_all()
    }

    /// Requests so far that were answered 429, 503 or 504. Each was sent again.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        let counts = &self.counter.ledger.book().counts;
        counts.overloaded + counts.unavailable + counts.timed_out
    }

    /// Waits until the crowd has been served: the promotions are sold out, or nobody is left.
    ///
    /// # Errors
    /// A task of the run panicked.
    pub async fn served(self) -> Result<Report> {
        let Self { stop, alive, task, .. } = self;
        let report = task.await.context("the run ended badly")?;
        drop((stop, alive));
        report
    }

    /// Has nobody new come, waits for the answers outstanding, and audits.
    ///
    /// # Errors
    /// As [`Running::served`].
    pub async fn leave(self) -> Result<Report> {
        let Self { stop, alive, task, .. } = self;
        drop(stop);
        let report = task.await.context("the run ended badly")?;
        drop(alive);
        report
    }
}
