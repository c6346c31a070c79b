//! Parts of lists.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most rows that one page holds; a greater limit is cut to it, and 0 is taken as 1.
pub const MAX_PAGE: usize = 1_000;

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The rows, in the list's order.
    pub items: Vec<T>,
    /// The cursor of the part that follows, opaque; none when this is the last part.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Of up to `limit + 1` rows; the one too many only tells that there is a next page.
    pub(crate) fn cut(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(cursor);
        Self { items, next }
    }
}

pub(crate) fn clamp_limit(limit: usize) -> usize {
    limit.clamp(1, MAX_PAGE)
}
