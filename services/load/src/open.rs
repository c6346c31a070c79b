//! The open model: customers come when they come, and a slow server only makes them wait.
//!
//! A thread of its own keeps the times, because the runtime's timers are a millisecond coarse and
//! that would be most of a grab's latency.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::arrival::Schedule;
use crate::grab::{Counter, Visit};
use crate::plan::OpenPlan;
use crate::promotion::Offer;

/// How often a sleeping door looks whether it shall close.
const NAP: Duration = Duration::from_millis(50);

/// Lets customers in at their times, at most so many at once. Who has to wait outside came all the
/// same when they came, and leaves when their time is over.
struct Door {
    counter: Arc<Counter>,
    sales: Vec<Arc<Offer>>,
    room: Arc<Semaphore>,
    stop: CancellationToken,
    visits: JoinSet<()>,
}

/// Returns when everybody who came was answered or gave up.
///
/// # Errors
/// A task panicked.
pub(crate) async fn serve(
    counter: &Arc<Counter>,
    sales: &[Arc<Offer>],
    plan: OpenPlan,
    seed: u64,
    stop: &CancellationToken,
) -> Result<()> {
    let schedule = Schedule::new(plan.arrivals, plan.rate, plan.duration, seed);
    let closes = stop.child_token();
    let _closes_when_dropped = closes.clone().drop_guard();
    let door = Door {
        counter: Arc::clone(counter),
        sales: sales.to_vec(),
        room: Arc::new(Semaphore::new(plan.max_outstanding)),
        stop: closes,
        visits: JoinSet::new(),
    };
    let runtime = Handle::current();
    let admitting =
        tokio::task::spawn_blocking(move || door.admit(schedule, plan.customers, &runtime));
    let mut visits = admitting.await??;
    while let Some(visited) = visits.join_next().await {
        visited?;
    }
    Ok(())
}

impl Door {
    fn admit(
        mut self,
        schedule: Schedule,
        customers: u32,
        runtime: &Handle,
    ) -> Result<JoinSet<()>> {
        let opened = Instant::now();
        for (customer, arrival) in (0..customers).zip(schedule) {
            let came = opened + arrival;
            if !self.sleep_until(came) {
                break;
            }
            let Some(permit) = runtime.block_on(self.enter()) else { break };
            let sale = Arc::clone(&self.sales[customer as usize % self.sales.len()]);
            self.let_in(Visit { customer, sale, came }, permit, runtime);
            while let Some(visited) = self.visits.try_join_next() {
                visited?;
            }
        }
        Ok(self.visits)
    }

    fn let_in(&mut self, visit: Visit, permit: OwnedSemaphorePermit, runtime: &Handle) {
        let counter = Arc::clone(&self.counter);
        let visiting = async move {
            counter.grab(&visit).await;
            drop(permit);
        };
        self.visits.spawn_on(visiting, runtime);
    }

    /// False when the door closes before.
    fn sleep_until(&self, time: Instant) -> bool {
        while !self.stop.is_cancelled() {
            let left = time.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(NAP));
        }
        false
    }

    async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        let room = Arc::clone(&self.room);
        tokio::select! {
            biased;
            permit = room.acquire_owned() => permit.ok(),
            () = self.stop.cancelled() => None,
        }
    }
}
