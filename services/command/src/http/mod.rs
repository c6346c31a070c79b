//! The routes of a command node, and its answers as a client sees them.

mod answer;
mod batch;
mod grab;
mod internal;
mod peers;
mod status;
mod watch;

use utoipa_axum::router::OpenApiRouter;

use crate::Dispatcher;

pub use answer::{accepted, position, problem};
pub use internal::routes as internal_routes;
pub use peers::HttpPeers;

/// The routes of shoppers, and of those who watch a sale.
pub fn routes(dispatcher: Dispatcher) -> OpenApiRouter {
    grab::routes().merge(batch::routes()).merge(watch::routes()).with_state(dispatcher)
}
