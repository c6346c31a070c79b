//! Parameters of lists.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use seckill_edge::{Bound, Problem, parse_query};
use seckill_proto::{Position, ProblemKind};
use seckill_views::{MAX_PAGE, PromotionState};
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::IntoParams;

use crate::visible;

/// Rows on a page where no limit is asked for.
const DEFAULT_LIMIT: usize = 100;

/// Of all native reads; [`Asked::takes`] refuses what one of them does not know.
#[derive(Deserialize)]
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
    /// The names of all parameters that were given.
    names: Vec<String>,
}

/// Parameters of every native read.
const ALWAYS: &[&str] = &["after", "allow_stale"];

/// How new an answer must be.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "its description is what is wanted")]
pub(crate) struct FreshnessParameters {
    /// The position of an answer that this one must show; waited for up to 2 s.
    #[param(format = "position", nullable = false, example = "0:0")]
    after: Option<String>,
    /// Do not wait: answer at once, with the header `Seckill-Behind`.
    #[param(nullable = false)]
    allow_stale: Option<bool>,
}

/// Which part of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "its description is what is wanted")]
pub(crate) struct PageParameters {
    /// Rows on the page; 100 where nothing is said.
    #[param(minimum = 1, maximum = 1_000, nullable = false)]
    limit: Option<usize>,
    /// The `next` of the page before.
    #[param(format = "cursor", nullable = false)]
    cursor: Option<String>,
}

/// As of when.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "its description is what is wanted")]
pub(crate) struct PastParameters {
    /// PARTITION:OFFSET or a time: as it was then. Read from the log, from its beginning.
    #[param(format = "bound", nullable = false, example = "2026-11-26T10:00:00Z")]
    at: Option<String>,
}

/// Where promotions are in their lives.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "its description is what is wanted")]
pub(crate) struct StateParameters {
    /// Only those in this state; left out, all.
    #[param(nullable = false)]
    state: Option<PromotionState>,
}

impl Asked {
    /// Sees to it that nothing is asked for that the route does not know.
    pub(crate) fn takes(self, names: &[&str]) -> Result<Self, Problem> {
        let known = || ALWAYS.iter().chain(names);
        let Some(name) = self.names.iter().find(|name| !known().any(|known| known == name)) else {
            return Ok(self);
        };
        let known: Vec<&str> = known().copied().collect();
        let detail =
            format!("{name} is no parameter here; the parameters are {}.", known.join(", "));
        Err(Problem::new(ProblemKind::InvalidParameter, detail))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let wrong = |reason: String| Problem::new(ProblemKind::InvalidParameter, reason);
        let names: Vec<(String, IgnoredAny)> = parse_query(&parts.uri)?;
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
            names: names.into_iter().map(|(name, _)| name).collect(),
        })
    }
}
