//! Command nodes: own partitions, decide commands in memory, answer once the log has them.
//!
//! A command goes [`Dispatcher`] → mailbox of its partition → `partition.rs`, which decides it on
//! the book of the partition, appends what was decided, and answers when the owner of
//! `seckill-log` releases it. `takeover.rs` is how the state comes to be: snapshot plus tail of the
//! log. A partition that fails drops its state and takes over again; nothing is mended in place.
//!
//! `http` is what comes and goes over HTTP; nothing else here knows it.
//!
//! Absent on purpose: a database, a lock, a transaction on the way of a grab.

mod archive;
mod clock;
mod departure;
mod dispatch;
mod failure;
mod forward;
mod http;
mod mailbox;
mod measure;
mod neighbours;
mod node;
mod others;
mod partition;
mod proof;
mod random;
mod snapshot;
mod standby;
mod takeover;
mod traffic;

pub use archive::{Archive, AskViews, Shown};
pub use clock::{Clock, JUMP_MS};
pub use dispatch::Dispatcher;
pub use failure::{Failure, Told};
pub use forward::Peers;
pub use http::{HttpPeers, accepted, internal_routes, position, problem, routes};
pub use neighbours::Neighbours;
pub use node::{Node, NodeConfig, StartError};
pub use proof::{ViewsWitness, forget_proof, known_of};
pub use random::Random;
pub use snapshot::{newest_snapshot, newest_snapshots};
