//! Parameters of lists.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use seckill_edge::{Bound, Problem, parse_query};
use seckill_proto::{Position, ProblemKind};
use seckill_views::{MAX_PAGE, PromotionState};
use serde::Deserialize;

use crate::visible;

/// Rows on a page where no limit is asked for.
const DEFAULT_LIMIT: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    after: Option<String>,
    at: Option<String>,
    #[serde(default)]
    allow_stale: bool,
    state: Option<PromotionState>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// What a native route is asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) after: Option<Position>,
    /// As of when, where that is not now; only for a promotion and its coupons.
    pub(crate) at: Option<Bound>,
    /// Whether what is not as new is welcome too, instead of waiting.
    pub(crate) allow_stale: bool,
    pub(crate) state: Option<PromotionState>,
    pub(crate) limit: usize,
    pub(crate) cursor: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let wrong = |reason: String| Problem::new(ProblemKind::InvalidParameter, reason);
        let parameters: Parameters = parse_query(&parts.uri)?;
        let limit = parameters.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(wrong(format!("limit must be from 1 to {MAX_PAGE}.")));
        }
        let at = parameters.at.map(|at| at.parse());
        Ok(Self {
            after: visible::asked(parameters.after.as_deref(), &parts.headers)?,
            at: at.transpose().map_err(|error| wrong(format!("at {error}.")))?,
            allow_stale: parameters.allow_stale,
            state: parameters.state,
            limit,
            cursor: parameters.cursor,
        })
    }
}
