//! The query gateway: reads views and nothing else, so it never replays and never waits for a sale.
//!
//! `?after=POSITION`, or the header `Seckill-After`, on any native route waits, for a bounded
//! time, until the view shows what an answer at that position said.
//!
//! Reads are bounded: a page by its rows, a whole list by being sent page by page, requests under way
//! by [`MAX_REQUESTS`], and what is read at the same time by [`MAX_READS`].

mod coupons;
mod days;
mod list;
mod page;
mod promotions;
mod reads;
mod visible;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use seckill_edge::Problem;
use seckill_proto::{Position, ProblemKind};
use seckill_views::{Views, ViewsError};

pub use crate::list::whole;
use crate::reads::Reads;
pub use crate::reads::{MAX_READS, MAX_REQUESTS};
use crate::visible::Visible;

/// What every route works on.
#[derive(Clone)]
pub struct Gateway {
    views: Views,
    visible: Arc<Visible>,
    reads: Arc<Reads>,
}

/// The routes of readers, and more of them, on the views of a log of so many partitions.
pub fn routes(views: Views, partitions: u32, more: Router<Gateway>) -> Router {
    routes_within(Reads::default(), views, partitions, more)
}

fn routes_within(reads: Reads, views: Views, partitions: u32, more: Router<Gateway>) -> Router {
    let reads = Arc::new(reads);
    let visible = Arc::new(Visible::new(views.clone(), partitions));
    let gateway = Gateway { views, visible, reads: Arc::clone(&reads) };
    promotions::routes()
        .merge(coupons::routes())
        .merge(days::routes())
        .merge(more)
        .layer(from_fn_with_state(reads, reads::bound))
        .with_state(gateway)
}

impl Gateway {
    /// Waits until the views show what was answered at a position.
    pub(crate) async fn wait_for(&self, position: Option<Position>) -> Result<(), Problem> {
        match position {
            Some(position) => self.visible.wait_for(position).await,
            None => Ok(()),
        }
    }

    /// The views; what is read from them is read through [`Gateway::read`].
    #[must_use]
    pub fn views(&self) -> &Views {
        &self.views
    }

    /// Reads from the views when it is its turn.
    ///
    /// # Errors
    /// The cursor is not one of the list's, or the views cannot be read now.
    pub async fn read<T>(
        &self,
        read: impl Future<Output = Result<T, ViewsError>>,
    ) -> Result<T, Problem> {
        let _turn = self.reads.turn().await;
        read.await.map_err(|error| problem(&error))
    }
}

/// From an error of the views to what a client is told.
fn problem(error: &ViewsError) -> Problem {
    if matches!(error, ViewsError::InvalidCursor) {
        return Problem::new(
            ProblemKind::InvalidCursor,
            "The cursor is not one that this list gave.",
        );
    }
    if let ViewsError::NotBuilt { .. } | ViewsError::OtherVersion { .. } = error {
        return Problem::new(ProblemKind::ViewNotBuilt, format!("{error}."));
    }
    tracing::warn!(%error, "a view could not be read");
    Problem::new(
        ProblemKind::ViewsUnavailable,
        "Coupons are not affected. Try again after the time given.",
    )
}

fn absent(what: &'static str) -> Problem {
    Problem::new(ProblemKind::NotFound, what)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn readers_above_the_limit_are_told_so_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let views = Views::open_directory(directory.path(), 1).await.expect("views");
        let routes = routes_within(Reads::of(1, 1), views, 1, Router::new());
        let ask = |path: &str| {
            let request = Request::get(path).body(Body::empty()).expect("a request");
            routes.clone().oneshot(request)
        };
        let mut waiting = std::pin::pin!(ask("/v1/promotions?after=0:9"));
        let begun = tokio::time::timeout(std::time::Duration::from_millis(50), &mut waiting).await;
        assert!(begun.is_err(), "it waits for the view");
        let refused = ask("/v1/promotions").await.expect("an answer");
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()["retry-after"], "1");
        assert_eq!(waiting.await.expect("an answer").status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask("/v1/promotions").await.expect("an answer").status(), StatusCode::OK);
    }
}
