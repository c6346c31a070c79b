//! Load generator and auditor: behaves like a crowd, remembers what it was told, and then checks
//! every word of it against the views.
//!
//! The promise under test: a customer who was told "yours" has that coupon, nobody else was told
//! the same, not one more was given than there are, not one fewer while anyone still wanted one.
//! So an answer is never dropped: what was not answered definitely is asked again, and what stayed
//! unknown is remembered as unknown.
//!
//! Latency in the open model runs from the moment a customer meant to come, not from the moment
//! the request was sent: a server that stalls cannot hide the customers it kept waiting.
//!
//! Absent on purpose: HTTP client defaults (redirects, proxies, cookies, silent resends), TLS, and
//! any knowledge of the server beyond its HTTP contract.

mod args;
mod arrival;
mod audit;
mod backoff;
mod closed;
mod connection;
mod crowd;
mod grab;
mod ledger;
mod open;
mod original;
mod owners;
mod plan;
mod progress;
mod promotion;
mod report;
mod run;
mod running;
mod stream;
mod target;
mod views;
mod way;
mod wire;

pub use args::{Arrivals, LoadArgs, Model, Protocol};
pub use connection::HttpReply;
pub use crowd::Crowd;
pub use report::{
    AuditReport, FindingReport, GrabCounts, Latencies, Quantiles, RefusedCounts, Report, Throughput,
};
pub use run::{Verdict, run, run_until};
pub use running::Running;
pub use stream::grab_stream;
pub use target::{Ask, Fleet, Unanswered};
pub use wire::Http;
