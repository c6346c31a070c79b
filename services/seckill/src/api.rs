//! The description of the API: `GET /openapi.json`, made from the routes that a process has.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use bytes::Bytes;
use seckill_edge::describe_problems;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi};
use utoipa_axum::router::OpenApiRouter;

const DESCRIPTION: &str = "Flash sales: a limited number of coupons, a crowd in the same second. Every \
    answer to a command that was decided names its position in the log, PARTITION:OFFSET; a reader who sends \
    it as `after` sees what that answer said.";

/// Groups of routes, in the order in which they are shown.
const TAGS: [(&str, &str); 7] = [
    ("Shoppers", "Grab coupons, and look at them."),
    ("Operators", "Open sales and change how they go."),
    ("Readers", "Promotions, their coupons, and how they change."),
    ("Views", "How far the views are, and new tables for them."),
    ("Log", "The events of the log, and records that nobody can read."),
    (
        "The original",
        "The routes of the ServiceComb SecKill demo, with its bodies, texts and codes.",
    ),
    ("Health", "For those who watch a process."),
];

/// The routes, and the documents that describe them.
pub(crate) fn described(routes: OpenApiRouter) -> Router {
    let (routes, api) = routes.split_for_parts();
    let text = Bytes::from(complete(api).to_json().expect("a description is plain JSON"));
    let answer = ([(header::CONTENT_TYPE, "application/json")], text);
    routes.route("/openapi.json", get(async move || answer)).merge(seckill_pages::documents())
}

fn complete(mut api: OpenApi) -> OpenApi {
    api.info = InfoBuilder::new()
        .title("SecKill")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(
            LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build(),
        ))
        .build();
    let tag = |(name, what)| TagBuilder::new().name(name).description(Some(what)).build();
    api.tags = Some(TAGS.map(tag).into());
    describe_problems(&mut api);
    api
}
