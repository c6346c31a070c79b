//! The closed model: so many clients, each sends its next grab when the last was answered.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::crowd::Crowd;
use crate::grab::{Counter, Visit};
use crate::plan::ClosedPlan;
use crate::promotion::Offer;

/// Who is next, until nobody is left or the time is over.
struct Queue {
    customers: u32,
    ends: Option<Instant>,
    stop: CancellationToken,
}

/// Returns when every customer was served once, or the time is over and all clients were answered.
///
/// # Errors
/// A task panicked.
pub(crate) async fn serve(
    counter: &Arc<Counter>,
    sales: &[Arc<Offer>],
    plan: ClosedPlan,
    stop: &CancellationToken,
) -> Result<()> {
    let queue = Arc::new(Queue {
        customers: plan.customers,
        ends: plan.duration.map(|duration| Instant::now() + duration),
        stop: stop.clone(),
    });
    let mut clients = JoinSet::new();
    for _ in 0..plan.clients {
        clients.spawn(client(Arc::clone(counter), sales.to_vec(), Arc::clone(&queue)));
    }
    while let Some(left) = clients.join_next().await {
        left?;
    }
    Ok(())
}

async fn client(counter: Arc<Counter>, sales: Vec<Arc<Offer>>, queue: Arc<Queue>) {
    while let Some(customer) = queue.next(&counter.crowd) {
        let sale = Arc::clone(&sales[customer as usize % sales.len()]);
        counter.grab(&Visit { customer, sale, came: Instant::now() }).await;
    }
}

impl Queue {
    fn next(&self, crowd: &Crowd) -> Option<u32> {
        let over = self.ends.is_some_and(|end| Instant::now() >= end);
        if over || self.stop.is_cancelled() {
            return None;
        }
        crowd.next(self.customers)
    }
}
