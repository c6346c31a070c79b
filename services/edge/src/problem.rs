//! Errors as `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use axum::http::{StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use seckill_proto::{Position, ProblemKind};

use crate::{ProblemBody, position_header};

/// The media type of RFC 9457.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error as a client sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    kind: ProblemKind,
    detail: Cow<'static, str>,
    position: Option<Position>,
    promotion_id: Option<String>,
    url: Option<String>,
}

impl Problem {
    /// A problem of a kind, and what is wrong this time.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), position: None, promotion_id: None, url: None }
    }

    /// Says where in the log this was decided.
    #[must_use]
    pub fn at(self, position: Position) -> Self {
        Self { position: Some(position), ..self }
    }

    /// Names the promotion, where the client cannot know its id otherwise.
    #[must_use]
    pub fn about(self, promotion_id: &str) -> Self {
        Self { promotion_id: Some(promotion_id.to_owned()), ..self }
    }

    /// Says where to go instead.
    #[must_use]
    pub fn to(self, url: Option<String>) -> Self {
        Self { url, ..self }
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// What is wrong, in words for a person.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Where in the log it was decided.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// What a client is sent.
    #[must_use]
    pub fn into_body(self) -> ProblemBody {
        ProblemBody {
            r#type: self.kind.urn(),
            title: self.kind.title(),
            status: self.kind.status(),
            detail: self.detail,
            position: self.position.map(|position| position.to_string()),
            promotion_id: self.promotion_id,
            url: self.url,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let content_type = [(header::CONTENT_TYPE, PROBLEM_JSON)];
        let position = self.position.map(position_header).map(AppendHeaders);
        let status = StatusCode::from_u16(self.kind.status()).expect("the table has statuses");
        let kind = self.kind;
        let body = serde_json::to_string(&self.into_body()).expect("text and numbers are JSON");
        let mut response = (status, content_type, position, body).into_response();
        if let Some(seconds) = kind.retry_after_s() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
