//! The pages for people: a shop at `/`, an operator's console at `/operator`, the API at `/docs/api`, and what
//! each problem means at `/problems/NAME`.
//!
//! Plain files in the binary, with no build step. They ask the API as any client does, and nobody else. The
//! chart is drawn by uPlot, which lies in `assets/uplot` with its licence.

mod problems;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use seckill_proto::ProblemKind;

/// What a page may load and ask: what comes from here.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// The shop and the console.
pub fn routes() -> Router {
    Router::new()
        .route("/", file(HTML, include_str!("../assets/shop.html")))
        .route("/operator", file(HTML, include_str!("../assets/operator.html")))
        .route("/assets/shop.js", file(SCRIPT, include_str!("../assets/shop.js")))
        .route("/assets/uPlot.min.css", file(CSS, include_str!("../assets/uplot/uPlot.min.css")))
        .route(
            "/assets/uPlot.iife.min.js",
            file(SCRIPT, include_str!("../assets/uplot/uPlot.iife.min.js")),
        )
        .route("/assets/operator.js", file(SCRIPT, include_str!("../assets/operator.js")))
        .route("/assets/form.js", file(SCRIPT, include_str!("../assets/form.js")))
        .route("/assets/charts.js", file(SCRIPT, include_str!("../assets/charts.js")))
        .route("/assets/crowd.js", file(SCRIPT, include_str!("../assets/crowd.js")))
        .route("/assets/holders.js", file(SCRIPT, include_str!("../assets/holders.js")))
        .route("/assets/dialog.js", file(SCRIPT, include_str!("../assets/dialog.js")))
        .route("/assets/records.js", file(SCRIPT, include_str!("../assets/records.js")))
        .route("/assets/system.js", file(SCRIPT, include_str!("../assets/system.js")))
}

/// The documents that every process has: its API, and what a problem means.
pub fn documents() -> Router {
    Router::new()
        .route("/docs/api", file(HTML, include_str!("../assets/api.html")))
        .route("/assets/reference.js", file(SCRIPT, include_str!("../assets/reference.js")))
        .route("/assets/style.css", file(CSS, include_str!("../assets/style.css")))
        .route("/assets/api.js", file(SCRIPT, include_str!("../assets/api.js")))
        .route("/favicon.ico", file(IMAGE, include_str!("../assets/icon.svg")))
        .route("/problems", get(async || answer(HTML, problems::index())))
        .route("/problems/{name}", get(problem))
}

async fn problem(Path(name): Path<String>) -> Response {
    match ProblemKind::ALL.iter().find(|kind| kind.name() == name) {
        Some(kind) => answer(HTML, problems::page(*kind)),
        None => (StatusCode::NOT_FOUND, answer(HTML, problems::index())).into_response(),
    }
}

fn file(kind: &'static str, content: &'static str) -> MethodRouter {
    get(async move || answer(kind, content))
}

fn answer(kind: &'static str, content: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Another version of the program has other files under the same names.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), content).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn get(path: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = routes().merge(documents()).oneshot(request).await.expect("an answer");
        let status = response.status();
        let kind = response.headers().get(header::CONTENT_TYPE).cloned();
        let kind = kind.map(|kind| kind.to_str().expect("text").to_owned()).unwrap_or_default();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        (status, kind, String::from_utf8(bytes.to_vec()).expect("text"))
    }

    /// What a page names is there, and nothing comes from elsewhere.
    #[tokio::test]
    async fn pages_are_whole_and_ask_nobody_else() {
        for page in ["/", "/operator", "/docs/api", "/problems", "/problems/sold-out"] {
            let (status, kind, html) = get(page).await;
            assert_eq!((status, kind.as_str()), (StatusCode::OK, HTML));
            let elsewhere = |text: &&str| text.starts_with('/') && *text != "/openapi.json";
            let named: Vec<&str> = html.split(['"']).filter(elsewhere).collect();
            assert!(named.len() > 2, "{named:?}");
            for path in named {
                assert_eq!(get(path).await.0, StatusCode::OK, "{page} names {path}");
            }
        }
        for asset in [
            "shop.html",
            "operator.html",
            "api.html",
            "style.css",
            "api.js",
            "shop.js",
            "operator.js",
            "form.js",
            "charts.js",
            "crowd.js",
            "dialog.js",
            "holders.js",
            "records.js",
            "system.js",
            "reference.js",
        ] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").join(asset);
            let text = std::fs::read_to_string(path).expect("an asset");
            assert!(!text.contains("http://") && !text.contains("https://"), "{asset}");
            assert!(!text.contains("innerHTML"), "{asset}: what others wrote is text");
        }
    }
}
