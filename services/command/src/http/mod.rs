//! The routes of a command node, and its answers as a client sees them.

mod answer;
mod grab;
mod internal;
mod peers;
mod watch;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;

use crate::Dispatcher;

pub use answer::{accepted, position, problem};
pub use peers::HttpPeers;

/// The routes of shoppers, and of those who watch a sale.
pub fn routes(dispatcher: Dispatcher) -> OpenApiRouter {
    grab::routes().merge(watch::routes()).with_state(dispatcher)
}

/// The route for other nodes. It is for the cluster's own network.
pub fn internal_routes(dispatcher: Dispatcher) -> Router {
    internal::routes().with_state(dispatcher)
}
