//! Read-your-writes: waits until a view has reached a position.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use seckill_edge::Problem;
use seckill_proto::Position;
use tokio::time::Instant;

use crate::{Gateway, problem};

/// How long a reader waits for a view.
const PATIENCE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The position asked for, by parameter or by header.
pub(crate) fn asked(
    parameter: Option<&str>,
    headers: &HeaderMap,
) -> Result<Option<Position>, Problem> {
    let header = headers.get("seckill-after").map(|value| value.to_str().unwrap_or_default());
    let Some(text) = parameter.or(header) else { return Ok(None) };
    let wrong = |error| Problem::bad_request("invalid-position", format!("after: {error}."));
    text.parse().map(Some).map_err(wrong)
}

impl Gateway {
    /// Waits until the views show what was answered at a position.
    pub(crate) async fn wait_for(&self, position: Option<Position>) -> Result<(), Problem> {
        let Some(position) = position else { return Ok(()) };
        if position.partition >= self.partitions {
            let detail = format!("after: the log has no partition {}.", position.partition);
            return Err(Problem::bad_request("invalid-position", detail));
        }
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let progress = self.views.progress(position.partition).await;
            let progress = progress.map_err(|error| problem(&error))?;
            if progress.is_some_and(|progress| progress.next_offset > position.offset) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(not_yet(position));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

fn not_yet(position: Position) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not-yet-visible",
        "The view has not got that far",
        format!("The view has not reached {position}. What was answered stands; try again."),
    )
    .retry_after_s(1)
}
