//! What every HTTP route of this system shares: problem+json, strict bodies and ids, times, and a
//! listener that drains.
//!
//! Whatever a client sends, it gets an answer that says what is wrong, and nothing is decided
//! before everything about the request has been checked.

mod activity;
mod api;
mod body;
mod bound;
mod connections;
mod header;
mod identifier;
mod observe;
mod problem;
mod serve;
mod time;
mod words;

pub use api::{
    BODY, COMMAND, Forward, IdParameter, IdempotencyKey, ProblemBody, READ, describe_problems,
    problem_responses,
};
pub use body::{Body, MAX_BODY_BYTES, check_no_query, parse_json, parse_query, read_body};
pub use bound::{Bound, BoundError};
pub use connections::Connections;
pub use header::{idempotency_key, may_forward, position_header};
pub use identifier::{PathId, checked};
pub use observe::{describe_metrics, observe};
pub use problem::{PROBLEM_JSON, Problem};
pub use serve::{LAST_REQUESTS, not_found, serve, wrong_method};
pub use time::{Moment, now_ms, timestamp};
