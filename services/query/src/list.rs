//! A whole list as one JSON array, for routes that know no pages: read and sent page by page, so that
//! its length costs no memory.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use seckill_edge::Problem;
use seckill_views::Page;
use serde::Serialize;

/// What is left of a list.
enum Rest<R> {
    Page(Page<R>),
    After(String),
    Nothing,
}

/// Sends what `read` gives from one cursor to the next, each row as a `T`. What goes wrong on the first
/// page is the answer; what goes wrong later breaks the connection off.
pub(crate) async fn whole<R, T, F>(
    read: impl Fn(Option<String>) -> F + Send + 'static,
) -> Result<Response, Problem>
where
    R: Send + 'static,
    T: From<R> + Serialize,
    F: Future<Output = Result<Page<R>, Problem>> + Send + 'static,
{
    let first = read(None).await?;
    if first.next.is_none() {
        let rows: Vec<T> = first.items.into_iter().map(T::from).collect();
        return Ok(axum::Json(rows).into_response());
    }
    let begin = (read, Rest::Page(first), b'[');
    let body = stream::try_unfold(begin, async |(read, rest, before)| {
        let page = match rest {
            Rest::Page(page) => page,
            Rest::After(cursor) => read(Some(cursor)).await.map_err(|problem| cut(&problem))?,
            Rest::Nothing => return Ok(None),
        };
        let part = part::<R, T>(page.items, before, page.next.is_none())?;
        let rest = page.next.map_or(Rest::Nothing, Rest::After);
        Ok::<_, axum::Error>(Some((part, (read, rest, b','))))
    });
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], Body::from_stream(body)).into_response())
}

/// Some elements with what comes before them, and the end of the array after the last ones.
fn part<R, T: From<R> + Serialize>(
    rows: Vec<R>,
    mut before: u8,
    last: bool,
) -> Result<Bytes, axum::Error> {
    let mut bytes = Vec::new();
    for row in rows {
        bytes.push(before);
        serde_json::to_writer(&mut bytes, &T::from(row)).map_err(axum::Error::new)?;
        before = b',';
    }
    if last {
        bytes.push(b']');
    }
    Ok(bytes.into())
}

fn cut(problem: &Problem) -> axum::Error {
    axum::Error::new(std::io::Error::other(problem.detail().to_owned()))
}
