//! How many readers there may be at the same time: more would only wait for each other, and take the
//! cores and the memory from those who decide.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use seckill_edge::Problem;
use seckill_proto::ProblemKind;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Requests of readers under way, those that wait for a view included.
pub const MAX_REQUESTS: usize = 4_096;
/// Pages read from the views at the same time.
pub const MAX_READS: usize = 64;

/// Places for readers.
pub(crate) struct Reads {
    requests: Semaphore,
    reads: Semaphore,
}

impl Default for Reads {
    fn default() -> Self {
        metrics::describe_counter!(
            "seckill_reads_refused_total",
            "Requests of readers turned away because there were too many"
        );
        metrics::counter!("seckill_reads_refused_total").increment(0);
        Self::of(MAX_REQUESTS, MAX_READS)
    }
}

impl Reads {
    pub(crate) fn of(requests: usize, reads: usize) -> Self {
        Self { requests: Semaphore::new(requests), reads: Semaphore::new(reads) }
    }

    /// Waits for a turn to read; it ends when dropped.
    pub(crate) async fn turn(&self) -> SemaphorePermit<'_> {
        self.reads.acquire().await.expect("nobody closes it")
    }
}

/// A layer that turns readers away while there are too many.
pub(crate) async fn bound(
    State(reads): State<Arc<Reads>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Ok(_place) = reads.requests.try_acquire() else {
        metrics::counter!("seckill_reads_refused_total").increment(1);
        return Err(too_many());
    };
    Ok(next.run(request).await)
}

fn too_many() -> Problem {
    Problem::new(
        ProblemKind::TooManyReaders,
        "Coupons are not affected. Try again after the time given.",
    )
}
