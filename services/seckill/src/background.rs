//! Threads for what may wait: readers, and the making of views. The system gives them a core when those
//! who take and decide grabs need none, so that a crowd of readers does not slow a sale.

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use rustix::process::{getpriority_process, setpriority_process};
use seckill_edge::Problem;
use seckill_proto::ProblemKind;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;
use utoipa_axum::router::OpenApiRouter;

/// What is added to the nice value that the process has: a tenth of the weight of a decision's thread.
/// Each thread has a value of its own, and those that it starts begin with the same.
const NICE: i32 = 10;
/// Threads for calls that block: reads of the embedded views.
const MAX_BLOCKING: usize = 64;

/// A runtime of its own. Ends when dropped, with whatever still runs on it.
pub(crate) struct Background {
    runtime: Option<Runtime>,
}

impl Background {
    pub(crate) fn start() -> std::io::Result<Self> {
        // Threads that are started later inherit from their starter: the value is the same for all.
        let nice = getpriority_process(None)? + NICE;
        let runtime = Builder::new_multi_thread()
            .thread_name("background")
            .max_blocking_threads(MAX_BLOCKING)
            // Where that is refused the thread is like all others.
            .on_thread_start(move || {
                let _ = setpriority_process(None, nice);
            })
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("it is there until it is dropped").handle()
    }

    /// Runs something to its end, or until the caller no longer wants it. What it spawns runs here too.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match AbortOnDropHandle::new(self.handle().spawn(work)).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Has these routes answered here.
    pub(crate) fn answer(&self, routes: OpenApiRouter) -> OpenApiRouter {
        routes.layer(from_fn_with_state(self.handle().clone(), answer))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

async fn answer(
    State(background): State<Handle>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    match AbortOnDropHandle::new(background.spawn(next.run(request))).await {
        Ok(response) => Ok(response),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(ending()),
    }
}

fn ending() -> Problem {
    Problem::new(ProblemKind::ViewsUnavailable, "Ask another node, or again after the time given.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn its_threads_and_those_they_start_yield_to_others() {
        let background = Background::start().expect("a runtime");
        let nice = || getpriority_process(None).expect("a nice value");
        let mine = nice();
        let blocking = async move { tokio::task::spawn_blocking(nice).await.expect("it ends") };
        let started = async move { std::thread::spawn(nice).join().expect("it ends") };
        assert_eq!(background.run(blocking).await, mine + NICE);
        assert_eq!(background.run(started).await, mine + NICE);
        assert_eq!(nice(), mine);
    }
}
