//! The query gateway: reads views and nothing else, so it never replays and never waits for a sale.
//!
//! `?after=POSITION`, or the header `Seckill-After`, on any native route waits, for a bounded
//! time, until the view shows what an answer at that position said. With `allow_stale=true` it waits for
//! nothing, and says how many records are missing.
//!
//! Reads are bounded: a page by its rows, a whole list by being sent page by page, requests under way
//! by [`MAX_REQUESTS`], and what is read at the same time by [`MAX_READS`].

mod coupons;
mod days;
mod list;
mod live;
mod page;
mod past;
mod problem;
mod promotions;
mod reads;
mod visible;

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use seckill_edge::Problem;
use seckill_views::{Page, Views, ViewsError};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

pub use crate::list::whole;
pub use crate::live::MAX_LISTENERS;
use crate::page::Asked;
use crate::past::Past;
pub use crate::past::{AskedPast, Found, History};
use crate::problem::{absent, problem};
use crate::reads::Reads;
pub use crate::reads::{MAX_READS, MAX_REQUESTS};
use crate::visible::Visible;

/// Records that an answer lacks to show what was answered at `after`; only with `allow_stale`.
const BEHIND: HeaderName = HeaderName::from_static("seckill-behind");

/// What every route works on.
#[derive(Clone)]
pub struct Gateway {
    views: Views,
    visible: Arc<Visible>,
    reads: Arc<Reads>,
    past: Arc<Past>,
}

/// The routes of readers, and more of them, on the views of a log of so many partitions. Who listens is
/// told the end at `stop`.
pub fn routes(
    views: Views,
    partitions: u32,
    more: OpenApiRouter<Gateway>,
    history: Arc<dyn History>,
    stop: CancellationToken,
) -> OpenApiRouter {
    let live = live::routes(views.clone(), partitions, stop);
    routes_within(Reads::default(), views, partitions, (more, history)).merge(live)
}

fn routes_within(
    reads: Reads,
    views: Views,
    partitions: u32,
    (more, history): (OpenApiRouter<Gateway>, Arc<dyn History>),
) -> OpenApiRouter {
    let reads = Arc::new(reads);
    let visible = Arc::new(Visible::new(views.clone(), partitions));
    let past = Arc::new(Past::new(history, partitions));
    let gateway = Gateway { views, visible, reads: Arc::clone(&reads), past };
    promotions::routes()
        .merge(coupons::routes())
        .merge(days::routes())
        .merge(more)
        .layer(from_fn_with_state(reads, reads::bound))
        .with_state(gateway)
}

/// What is said where there is no such promotion.
pub(crate) const NO_PROMOTION: &str = "No promotion has this id.";

impl Gateway {
    /// Reads what is asked for, once the views show what was answered at the position that the reader
    /// knows; at once where older is welcome, with how many records older it may be.
    pub(crate) async fn answer<T: Serialize>(
        &self,
        asked: &Asked,
        read: impl Future<Output = Result<T, ViewsError>>,
    ) -> Result<Response, Problem> {
        self.answer_one(asked, async { read.await.map(Some) }, "").await
    }

    /// The same of what may not be there; `what` says so.
    pub(crate) async fn answer_one<T: Serialize>(
        &self,
        asked: &Asked,
        read: impl Future<Output = Result<Option<T>, ViewsError>>,
        what: &'static str,
    ) -> Result<Response, Problem> {
        let mut headers = HeaderMap::new();
        if let Some(position) = asked.after {
            if asked.allow_stale {
                let behind = self.visible.behind(position).await?;
                headers.insert(BEHIND, behind.into());
            } else {
                self.visible.wait_for(position).await?;
            }
        }
        let found = self.read(read).await?.ok_or_else(|| absent(what))?;
        Ok((headers, Json(found)).into_response())
    }

    /// A page of what belongs to a promotion; where it is empty there has to be the promotion at least.
    pub(crate) async fn answer_of<T: Serialize>(
        &self,
        asked: &Asked,
        promotion_id: &str,
        read: impl Future<Output = Result<Page<T>, ViewsError>>,
    ) -> Result<Response, Problem> {
        let known = async {
            let page = read.await?;
            let empty = page.items.is_empty() && asked.cursor.is_none();
            let unknown = empty && self.views.promotion(promotion_id).await?.is_none();
            Ok((!unknown).then_some(page))
        };
        self.answer_one(asked, known, NO_PROMOTION).await
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

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::*;

    struct NoLog;

    #[async_trait::async_trait]
    impl History for NoLog {
        async fn past(&self, _: AskedPast) -> Result<Found, String> {
            unreachable!("nobody asks")
        }

        async fn end(&self, _: u32) -> Result<u64, String> {
            unreachable!("nobody asks")
        }
    }

    #[tokio::test]
    async fn readers_above_the_limit_are_told_so_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let views = Views::open_directory(directory.path(), 1).await.expect("views");
        let more = (OpenApiRouter::new(), Arc::new(NoLog) as Arc<dyn History>);
        let routes = Router::from(routes_within(Reads::of(1, 1), views, 1, more));
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
