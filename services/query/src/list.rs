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
use tokio::sync::mpsc;

/// Pages that are made before they are sent.
const AHEAD: usize = 1;

/// Sends what `read` gives from one cursor to the next, each row as a `T`. What goes wrong on the first
/// page is the answer; what goes wrong later breaks the connection off.
///
/// # Errors
/// What `read` says of the first page.
pub async fn whole<R, T, F>(
    read: impl Fn(Option<String>) -> F + Send + 'static,
) -> Result<Response, Problem>
where
    R: Send + 'static,
    T: From<R> + Serialize + 'static,
    F: Future<Output = Result<Page<R>, Problem>> + Send + 'static,
{
    let first = read(None).await?;
    if first.next.is_none() {
        let rows: Vec<T> = first.items.into_iter().map(T::from).collect();
        return Ok(axum::Json(rows).into_response());
    }
    // Made where readers run, whoever sends it; it ends with whoever does.
    let (parts, mut made) = mpsc::channel(AHEAD);
    tokio::spawn(make::<R, T, F>(read, first, parts));
    let body = Body::from_stream(stream::poll_fn(move |context| made.poll_recv(context)));
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], body).into_response())
}

type Part = Result<Bytes, axum::Error>;

/// Makes the parts of an array until there are no more, or nobody wants them.
async fn make<R, T: From<R> + Serialize, F>(
    read: impl Fn(Option<String>) -> F,
    first: Page<R>,
    parts: mpsc::Sender<Part>,
) where
    F: Future<Output = Result<Page<R>, Problem>>,
{
    let (mut page, mut before) = (Ok(first), b'[');
    loop {
        let (part, next) = match page {
            Ok(Page { items, next }) => (part::<R, T>(items, before, next.is_none()), next),
            Err(problem) => (Err(cut(&problem)), None),
        };
        let (true, Some(cursor)) = (parts.send(part).await.is_ok(), next) else { return };
        page = read(Some(cursor)).await;
        before = b',';
    }
}

/// Some elements with what comes before them, and the end of the array after the last ones.
fn part<R, T: From<R> + Serialize>(rows: Vec<R>, mut before: u8, last: bool) -> Part {
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
