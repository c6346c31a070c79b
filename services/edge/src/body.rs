//! JSON bodies, taken only when everything about them is right.

use seckill_proto::ProblemKind;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Query, Request};
use axum::http::{HeaderMap, Uri, header};
use http_body_util::BodyExt;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

use crate::{Problem, words};

/// The largest body taken where nothing else is said, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Of a body that is larger still, this much is read before it is refused.
const MAX_DISCARDED_BYTES: usize = 4 * 1024 * 1024;

/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// A body of `application/json` of at most so many bytes, at a URL without parameters. For unknown fields to be
/// refused `T` must deny them.
#[derive(Debug)]
pub struct Body<T, const MOST: usize = MAX_BODY_BYTES>(pub T);

impl<S: Send + Sync, T: DeserializeOwned, const MOST: usize> FromRequest<S> for Body<T, MOST> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let head =
            check_no_query(request.uri()).and_then(|()| check_content_type(request.headers()));
        let bytes = read_body(request, MOST).await?;
        head.and_then(|()| parse_json(&bytes)).map(Body)
    }
}

/// Parses a JSON body.
///
/// # Errors
/// Says what is wrong: not JSON at all, or not the fields expected.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = bytes.trim_ascii_start();
    if text.is_empty() {
        return Err(Problem::new(ProblemKind::MalformedJson, "The body is empty."));
    }
    // serde would take the fields from a list too, in their order in the source.
    if text.starts_with(b"[") && serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
        return Err(Problem::new(ProblemKind::InvalidBody, "The body must be a JSON object."));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        refused(&path, error.inner())
    })?;
    deserializer.end().map_err(|error| refused("", &error))?;
    Ok(parsed)
}

/// The parameters in a URL.
///
/// # Errors
/// Says what is wrong: a name that is not known, or a value that is none.
pub fn parse_query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let parsed = Query::<T>::try_from_uri(uri).map(|Query(parsed)| parsed);
    parsed.map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let text = source.unwrap_or_else(|| error.body_text());
        Problem::new(ProblemKind::InvalidParameter, words::of_query(&text))
    })
}

/// Sees to it that a URL has no parameters, where a path takes none.
///
/// # Errors
/// Names one that it has.
pub fn check_no_query(uri: &Uri) -> Result<(), Problem> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoParameters {}

    if uri.query().is_none_or(str::is_empty) {
        return Ok(()); // as nearly always
    }
    parse_query::<NoParameters>(uri).map(drop)
}

fn refused(path: &str, error: &serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => Problem::new(ProblemKind::InvalidBody, words::of(path, error)),
        Category::Syntax | Category::Eof | Category::Io => {
            Problem::new(ProblemKind::MalformedJson, format!("The body is not JSON: {error}."))
        }
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(
            ProblemKind::UnsupportedContentEncoding,
            "Send the body without a Content-Encoding.",
        ));
    }
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = given.and_then(|given| given.split(';').next()).unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::UnsupportedMediaType,
        "Send the body as Content-Type: application/json.",
    ))
}

/// Reads a body of at most so many bytes.
///
/// One that is too large is read to its end all the same, unless it is enormous: a client that is
/// still sending when its connection is closed never sees the answer.
///
/// # Errors
/// It is too large, or does not come whole, or not in time.
pub async fn read_body(request: Request, most: usize) -> Result<Bytes, Problem> {
    tokio::time::timeout(BODY_WITHIN, read(request, most)).await.unwrap_or_else(|_| Err(too_slow()))
}

async fn read(request: Request, most: usize) -> Result<Bytes, Problem> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > MAX_DISCARDED_BYTES) {
        return Err(too_large(most));
    }
    let mut body = request.into_body();
    let (mut bytes, mut read) = (Vec::new(), 0);
    while let Some(data) = next_data(&mut body).await? {
        read += data.len();
        if read > MAX_DISCARDED_BYTES {
            break;
        }
        if read <= most {
            bytes.extend_from_slice(&data);
        }
    }
    if read <= most { Ok(bytes.into()) } else { Err(too_large(most)) }
}

async fn next_data(body: &mut axum::body::Body) -> Result<Option<Bytes>, Problem> {
    match body.frame().await.transpose() {
        // Trailers are no part of it.
        Ok(frame) => Ok(frame.map(|frame| frame.into_data().unwrap_or_default())),
        Err(_) => Err(Problem::new(ProblemKind::IncompleteBody, "The body did not come whole.")),
    }
}

fn too_large(most: usize) -> Problem {
    Problem::new(ProblemKind::BodyTooLarge, format!("A body may have at most {most} bytes."))
}

fn too_slow() -> Problem {
    Problem::new(
        ProblemKind::BodyTooSlow,
        format!("A body may take at most {} s.", BODY_WITHIN.as_secs()),
    )
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body as RawBody, to_bytes};
    use axum::routing::post;
    use serde::Deserialize;
    use tower::ServiceExt;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Grab {
        customer_id: String,
    }

    async fn answer(content_type: &str, body: impl Into<RawBody>) -> (u16, String) {
        let echo = |Body(grab): Body<Grab>| async move { grab.customer_id };
        let request = Request::post("/").header("content-type", content_type).body(body.into());
        let response = Router::new()
            .route("/", post(echo))
            .oneshot(request.expect("a request"))
            .await
            .expect("an answer");
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, String::from_utf8(bytes.to_vec()).expect("UTF-8"))
    }

    #[tokio::test]
    async fn a_good_body_is_taken() {
        let expected = (200, "春".to_owned());
        assert_eq!(answer("application/json", r#"{"customer_id":"春"}"#).await, expected);
        let with_charset = "Application/JSON; charset=utf-8";
        assert_eq!(answer(with_charset, r#"{"customer_id":"春"}"#).await, expected);
    }

    #[tokio::test]
    async fn anything_else_is_told_what_is_wrong() {
        let huge = format!(r#"{{"customer_id":"{}"}}"#, "x".repeat(MAX_BODY_BYTES));
        let json = "application/json";
        let cases: [(&str, Vec<u8>, u16, &str); 9] = [
            (json, b"".to_vec(), 400, "malformed-json"),
            (json, b"{".to_vec(), 400, "malformed-json"),
            (json, b"{\"customer_id\":\"\xFF\"}".to_vec(), 400, "malformed-json"),
            (json, b"{}".to_vec(), 400, "customer_id is missing."),
            (json, br#"{"customer_id":1}"#.to_vec(), 400, "customer_id must be text, not 1."),
            (json, br#" ["c"]"#.to_vec(), 400, "invalid-body"),
            (json, br#"{"customer_id":"c","cheat":1}"#.to_vec(), 400, "cheat is no field here"),
            (json, huge.into_bytes(), 413, "body-too-large"),
            ("text/plain", br#"{"customer_id":"c"}"#.to_vec(), 415, "unsupported-media-type"),
        ];
        for (content_type, body, status, word) in cases {
            let (found, text) = answer(content_type, body).await;
            assert_eq!(found, status, "{text}");
            assert!(text.contains(word), "{text}");
        }
    }

    #[tokio::test]
    async fn a_huge_body_without_a_length_is_refused_too() {
        let chunks = (0..100).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 1024])));
        let body = RawBody::from_stream(futures_stream(chunks));
        assert_eq!(answer("application/json", body).await.0, 413);
    }

    fn futures_stream<T: Send + 'static>(
        items: impl Iterator<Item = T> + Send + 'static,
    ) -> impl futures::Stream<Item = T> + Send + 'static {
        futures::stream::iter(items)
    }
}
