//! The wire contract: records of the log, commands between nodes, topic names, the partitioner.
//!
//! Everything that two processes must agree on is here and nothing else is. Changing a field's
//! meaning, a topic's name or [`partition_of`] breaks every log ever written.

mod decode;
mod identifier;
mod position;
mod problem;
mod topic;

pub use decode::{
    Place, Unreadable, decode_record, decode_strictly, encode_event, encode_fence, encode_skip,
    place_of,
};
pub use identifier::{CouponId, IdentifierError, MAX_IDENTIFIER_BYTES, check_identifier};
pub use position::{Position, PositionError};
pub use problem::{Outcome, ProblemKind};
pub use topic::{DEFAULT_PREFIX, Topics, partition_of};

/// The messages of `seckill/v1/*.proto`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/seckill.v1.rs"));
}
