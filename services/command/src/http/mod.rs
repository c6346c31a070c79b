//! The routes of a command node, and its answers as a client sees them.

mod answer;
mod batch;
mod grab;
mod internal;
mod peers;
mod status;
mod stream;
mod watch;

use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::Dispatcher;

pub use answer::{accepted, position, problem};
pub use internal::routes as internal_routes;
pub use peers::HttpPeers;

/// The routes of shoppers, and of those who watch a sale. Streams of grabs take no more after `closing`.
pub fn routes(dispatcher: Dispatcher, closing: CancellationToken) -> OpenApiRouter {
    let routes = grab::routes().merge(batch::routes()).merge(watch::routes());
    routes.with_state(dispatcher.clone()).merge(stream::routes(dispatcher, closing))
}
