//! The session: how statements are prepared and run, and what their errors mean.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::time::Duration;

use scylla::client::PoolSize;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{DbError, ExecutionError, NewSessionError, PrepareError, RequestAttemptError};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency, Statement};
use tokio::time::Instant;

use super::CqlConfig;
use crate::error::ViewsError;
use crate::view::corrupt;

/// Pause between two attempts to reach a first node.
const CONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Rows per page of a scan.
const SCAN_PAGE: i32 = 2_000;

pub(super) struct Database {
    pub(super) session: Session,
    pub(super) keyspace: String,
    /// Of the log that the views are of.
    pub(super) partitions: u32,
}

/// A read of one table.
pub(super) struct Query {
    table: String,
    statement: PreparedStatement,
}

impl Database {
    pub(super) async fn connect(config: &CqlConfig, partitions: u32) -> Result<Self, ViewsError> {
        check_keyspace(config)?;
        let deadline = Instant::now() + config.connect_within;
        let mut said = String::new();
        loop {
            match open_session(config).await {
                Ok(session) => {
                    let keyspace = config.keyspace.clone();
                    return Ok(Self { session, keyspace, partitions });
                }
                Err(error) if Instant::now() + CONNECT_PAUSE >= deadline => {
                    return Err(not_opened(config, error));
                }
                Err(error) => {
                    let contact_points = config.contact_points.join(", ");
                    if error.to_string() != said {
                        tracing::warn!(%error, contact_points, "no CQL node answers yet");
                        said = error.to_string();
                    }
                    tokio::time::sleep(CONNECT_PAUSE).await;
                }
            }
        }
    }

    pub(super) fn table(&self, id: impl Display) -> String {
        format!("{}.{id}", self.keyspace)
    }

    /// Of a statement that may be sent twice, which lets the driver try another node.
    pub(super) async fn prepare(
        &self,
        text: impl Into<String>,
    ) -> Result<PreparedStatement, ViewsError> {
        self.prepare_with(text.into(), true).await
    }

    /// Of a statement whose second try would be told another answer.
    pub(super) async fn prepare_once(&self, text: String) -> Result<PreparedStatement, ViewsError> {
        self.prepare_with(text, false).await
    }

    async fn prepare_with(
        &self,
        text: String,
        idempotent: bool,
    ) -> Result<PreparedStatement, ViewsError> {
        let mut statement = Statement::new(&text);
        statement.set_is_idempotent(idempotent);
        // In all data centres: what is done once is done once.
        statement.set_serial_consistency(Some(SerialConsistency::Serial));
        statement.set_page_size(SCAN_PAGE);
        self.session.prepare(statement).await.map_err(|error| not_prepared(&text, error))
    }

    pub(super) async fn query(&self, table: &str, text: &str) -> Result<Query, ViewsError> {
        Ok(Query { table: table.into(), statement: self.prepare(text).await? })
    }

    /// All rows that a query with a limit, or of one row, gives. `key` is what was asked for.
    pub(super) async fn rows<C, R>(
        &self,
        query: &Query,
        values: impl SerializeRow,
        key: impl Display,
        to_row: impl Fn(C) -> Result<R, String>,
    ) -> Result<Vec<R>, ViewsError>
    where
        C: for<'frame> DeserializeRow<'frame, 'frame>,
    {
        let during = || format!("reading {} {key}", query.table);
        let result = self.session.execute_unpaged(&query.statement, values).await;
        let result = result.map_err(|error| failure(during(), error))?;
        let rows = result.into_rows_result().map_err(|error| corrupt(&query.table, &key, error))?;
        let columns = rows.rows::<C>().map_err(|error| corrupt(&query.table, &key, error))?;
        columns
            .map(|columns| {
                let columns = columns.map_err(|error| corrupt(&query.table, &key, error))?;
                to_row(columns).map_err(|reason| corrupt(&query.table, &key, reason))
            })
            .collect()
    }
}

/// The name goes into statements as it is.
fn check_keyspace(config: &CqlConfig) -> Result<(), ViewsError> {
    let name = config.keyspace.as_bytes();
    let plain = name.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if plain && (1..=48).contains(&name.len()) && name[0].is_ascii_lowercase() {
        return Ok(());
    }
    let rule = "a keyspace is named by a lower-case letter and up to 47 letters, digits and _";
    Err(not_opened(config, format!("{:?}: {rule}", config.keyspace)))
}

async fn open_session(config: &CqlConfig) -> Result<Session, NewSessionError> {
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .request_timeout(Some(config.request_timeout))
        .build();
    let connections = NonZeroUsize::new(config.connections_per_host).unwrap_or(NonZeroUsize::MIN);
    SessionBuilder::new()
        .known_nodes(&config.contact_points)
        .pool_size(PoolSize::PerHost(connections))
        .keyspaces_to_fetch([&config.keyspace])
        .default_execution_profile_handle(profile.into_handle())
        .build()
        .await
}

pub(super) fn not_opened(
    config: &CqlConfig,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> ViewsError {
    ViewsError::Setup { place: config.contact_points.join(", "), source: error.into() }
}

pub(super) fn failure(during: String, error: ExecutionError) -> ViewsError {
    let permanent = is_permanent(&error);
    unavailable_or_failed(permanent, during, error)
}

fn unavailable_or_failed(
    permanent: bool,
    during: String,
    error: impl std::error::Error + Send + Sync + 'static,
) -> ViewsError {
    let source = Box::new(error);
    if permanent {
        ViewsError::Failed { during, source }
    } else {
        ViewsError::Unavailable { during, source }
    }
}

/// Whether the database has understood the request and will not have it. Everything else, such as
/// time-outs, broken connections and nodes that are down, may go away.
fn is_permanent(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::BadQuery(_) => true,
        ExecutionError::LastAttemptError(attempt) => is_refusal(attempt),
        _ => false,
    }
}

fn is_refusal(error: &RequestAttemptError) -> bool {
    match error {
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_) => true,
        RequestAttemptError::DbError(error, _) => matches!(
            error,
            DbError::SyntaxError
                | DbError::Invalid
                | DbError::Unauthorized
                | DbError::AuthenticationError
                | DbError::ConfigError
        ),
        _ => false,
    }
}

fn not_prepared(text: &str, error: PrepareError) -> ViewsError {
    let permanent = match &error {
        PrepareError::AllAttemptsFailed { first_attempt } => is_refusal(first_attempt),
        _ => false,
    };
    unavailable_or_failed(permanent, format!("preparing {text}"), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(error: DbError) -> ViewsError {
        let attempt = RequestAttemptError::DbError(error, String::new());
        failure("a test".into(), ExecutionError::LastAttemptError(attempt))
    }

    #[test]
    fn what_may_go_away_is_retryable() {
        assert!(failure("a test".into(), ExecutionError::EmptyPlan).is_retryable());
        let timeout = ExecutionError::RequestTimeout(Duration::from_secs(1));
        assert!(failure("a test".into(), timeout).is_retryable());
        for error in [DbError::Overloaded, DbError::IsBootstrapping, DbError::ServerError] {
            assert!(refused(error.clone()).is_retryable(), "{error}");
        }
    }

    #[test]
    fn a_request_that_is_wrong_stays_wrong() {
        for error in [DbError::SyntaxError, DbError::Invalid, DbError::Unauthorized] {
            assert!(!refused(error.clone()).is_retryable(), "{error}");
        }
    }
}
