//! Errors as `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use axum::http::{StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use seckill_proto::Position;
use serde_json::json;

use crate::position_header;

/// The media type of RFC 9457.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error as a client sees it. Its type is `urn:seckill:problem:` and the name, and never changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
    position: Option<Position>,
    retry_after_s: Option<u32>,
    promotion_id: Option<String>,
}

impl Problem {
    /// A problem; the title is the same for every occurrence, the detail need not be.
    #[must_use]
    pub fn new(
        status: StatusCode,
        name: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            name,
            title,
            detail: detail.into(),
            position: None,
            retry_after_s: None,
            promotion_id: None,
        }
    }

    /// 400: the request itself is wrong, and would be at any time.
    #[must_use]
    pub fn bad_request(name: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, name, "The request is not valid", detail)
    }

    /// Says where in the log this was decided.
    #[must_use]
    pub fn at(self, position: Position) -> Self {
        Self { position: Some(position), ..self }
    }

    /// Says after how many seconds to try again.
    #[must_use]
    pub fn retry_after_s(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// Names the promotion, where the client cannot know its id otherwise.
    #[must_use]
    pub fn about(self, promotion_id: &str) -> Self {
        Self { promotion_id: Some(promotion_id.to_owned()), ..self }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What its type ends with.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What is wrong, in words for a person.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    fn body(&self) -> String {
        let mut body = json!({
            "type": format!("urn:seckill:problem:{}", self.name),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(position) = self.position {
            body["position"] = position.to_string().into();
        }
        if let Some(promotion_id) = &self.promotion_id {
            body["promotion_id"] = promotion_id.as_str().into();
        }
        body.to_string()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let content_type = [(header::CONTENT_TYPE, PROBLEM_JSON)];
        let position = self.position.map(position_header).map(AppendHeaders);
        let mut response = (self.status, content_type, position, self.body()).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
