//! `/v1/quarantine`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::routing::{get, post};
use axum::{Json, Router};
use seckill_edge::{Body, Problem, check_no_query};
use seckill_proto::{Position, ProblemKind};

use crate::quarantine::{NewSkip, Quarantine, QuarantineError, QuarantineList, Quarantined};

/// Of who says so, and of why.
const MAX_CHARACTERS: usize = 1_000;

/// The routes of those who look after records that cannot be read.
pub(crate) fn routes(quarantine: Quarantine) -> Router {
    Router::new()
        .route("/v1/quarantine", get(list))
        .route("/v1/quarantine/{position}", get(show))
        .route("/v1/quarantine/{position}/skip", post(skip))
        .with_state(quarantine)
}

type Asked = Result<Path<String>, PathRejection>;

async fn list(State(all): State<Quarantine>, uri: Uri) -> Result<Json<QuarantineList>, Problem> {
    check_no_query(&uri)?;
    all.list().await.map(Json).map_err(|error| refused(&error))
}

async fn show(
    State(all): State<Quarantine>,
    asked: Asked,
    uri: Uri,
) -> Result<Json<Quarantined>, Problem> {
    check_no_query(&uri)?;
    all.show(position(asked)?).await.map(Json).map_err(|error| refused(&error))
}

async fn skip(
    State(all): State<Quarantine>,
    asked: Asked,
    Body(new): Body<NewSkip>,
) -> Result<Json<Vec<Quarantined>>, Problem> {
    let position = position(asked)?;
    check(position, &new)?;
    // Whoever asked may go away: what was begun is done.
    let skipping = tokio::spawn(async move { all.skip(position, new).await });
    let skipped = skipping.await.map_err(|error| {
        Problem::new(ProblemKind::Internal, format!("The record was not skipped: {error}."))
    })?;
    skipped.map(Json).map_err(|error| refused(&error))
}

fn check(position: Position, new: &NewSkip) -> Result<(), Problem> {
    for (name, text) in [("by", &new.by), ("reason", &new.reason)] {
        let control = text.chars().any(char::is_control);
        if text.trim().is_empty() || text.chars().count() > MAX_CHARACTERS || control {
            let detail = format!(
                "{name} must have 1 to {MAX_CHARACTERS} characters, and no control characters."
            );
            return Err(Problem::new(ProblemKind::InvalidBody, detail));
        }
    }
    if new.through.is_some_and(|through| through < position.offset) {
        let detail = "through must not be before the record.";
        return Err(Problem::new(ProblemKind::InvalidBody, detail));
    }
    Ok(())
}

fn position(asked: Asked) -> Result<Position, Problem> {
    let text = asked.map(|Path(text)| text).unwrap_or_default();
    let wrong = |error| Problem::new(ProblemKind::InvalidPosition, format!("{error}."));
    text.parse().map_err(wrong)
}

fn refused(error: &QuarantineError) -> Problem {
    let kind = match error {
        QuarantineError::Log(_) | QuarantineError::Views(_) | QuarantineError::NotWritten => {
            ProblemKind::ViewsUnavailable
        }
        QuarantineError::NotThere(_) => ProblemKind::NoSuchRecord,
        QuarantineError::Readable(_)
        | QuarantineError::NotFirst(_)
        | QuarantineError::Already { .. }
        | QuarantineError::ReadBy { .. }
        | QuarantineError::RestsOnIt { .. }
        | QuarantineError::TooMany => ProblemKind::NotSkippable,
    };
    Problem::new(kind, format!("{error}."))
}
