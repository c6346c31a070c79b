//! `/v1/quarantine`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use seckill_edge::{Body, Problem, check_no_query, now_ms, problems};
use seckill_proto::{Position, ProblemKind};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::quarantine::{NewSkip, Quarantine, QuarantineError, QuarantineList, Quarantined};

/// Of who says so, and of why.
const MAX_CHARACTERS: usize = 1_000;

/// The routes of those who look after records that cannot be read.
pub(crate) fn routes(quarantine: Quarantine) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(skip))
        .with_state(quarantine)
}

type Asked = Result<Path<String>, PathRejection>;

/// The place of a record in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "its description is what is wanted")]
struct PositionParameter {
    /// PARTITION:OFFSET.
    #[param(format = "position", example = "0:0")]
    position: String,
}

problems!(ListProblems: ; InvalidParameter, ViewsUnavailable);
problems!(ShowProblems: ; InvalidParameter, InvalidPosition, NoSuchRecord, ViewsUnavailable);
problems!(SkipProblems: BODY; InvalidPosition, NoSuchRecord, NotSkippable, ViewsUnavailable);

/// What cannot be read, and what was skipped
#[utoipa::path(
    get,
    path = "/v1/quarantine",
    operation_id = "listQuarantine",
    tag = "Log",
    responses((status = 200, description = "The records", body = QuarantineList), ListProblems),
)]
async fn list(State(all): State<Quarantine>, uri: Uri) -> Result<Json<QuarantineList>, Problem> {
    check_no_query(&uri)?;
    all.list().await.map(Json).map_err(|error| refused(&error))
}

/// One record of the log
#[utoipa::path(
    get,
    path = "/v1/quarantine/{position}",
    operation_id = "showQuarantined",
    tag = "Log",
    params(PositionParameter),
    responses((status = 200, description = "The record", body = Quarantined), ShowProblems),
)]
async fn show(
    State(all): State<Quarantine>,
    asked: Asked,
    uri: Uri,
) -> Result<Json<Quarantined>, Problem> {
    check_no_query(&uri)?;
    all.show(position(asked)?).await.map(Json).map_err(|error| refused(&error))
}

/// Skip a record that nobody can read
///
/// An event in the log says who has skipped it, and why. Its partition goes on.
#[utoipa::path(
    post,
    path = "/v1/quarantine/{position}/skip",
    operation_id = "skipRecord",
    tag = "Log",
    params(PositionParameter),
    request_body = NewSkip,
    responses((status = 200, description = "What was skipped", body = Vec<Quarantined>), SkipProblems),
)]
async fn skip(
    State(all): State<Quarantine>,
    asked: Asked,
    Body(new): Body<NewSkip>,
) -> Result<Json<Vec<Quarantined>>, Problem> {
    let position = position(asked)?;
    check(position, &new)?;
    // Whoever asked may go away: what was begun is done.
    let skipping = tokio::spawn(async move { all.skip(position, new, now_ms()).await });
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
