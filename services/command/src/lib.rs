//! Command nodes: own partitions, decide commands in memory, answer once the log has them.
//!
//! A command goes [`Dispatcher`] → mailbox of its partition → `partition.rs`, which decides it on
//! the book of the partition, appends what was decided, and answers when the owner of
//! `seckill-log` releases it. `takeover.rs` is how the state comes to be: snapshot plus tail of the
//! log. A partition that fails drops its state and takes over again; nothing is mended in place.
//!
//! Absent on purpose: a database, a lock, a transaction on the way of a grab.

mod answer;
mod archive;
mod clock;
mod coupons;
mod dispatch;
mod failure;
mod forward;
mod grab;
mod mailbox;
mod measure;
mod node;
mod partition;
mod proof;
mod snapshot;
mod takeover;

use axum::Router;

pub use answer::{accepted, position, problem};
pub use archive::{Archive, AskViews, Shown};
pub use clock::{Clock, JUMP_MS};
pub use dispatch::Dispatcher;
pub use failure::Failure;
pub use node::{Node, NodeConfig};
pub use proof::{ViewsWitness, forget_proof, known_of};
pub use snapshot::newest_snapshot;

/// The routes of shoppers, native and compatible.
pub fn routes(dispatcher: Dispatcher) -> Router {
    grab::routes().merge(coupons::routes()).with_state(dispatcher)
}

/// The route for other nodes. It is for the cluster's own network.
pub fn internal_routes(dispatcher: Dispatcher) -> Router {
    forward::routes().with_state(dispatcher)
}
