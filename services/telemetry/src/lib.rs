//! What an operator sees of a process: log lines, metrics, traces, health; and how it is told to stop.

mod health;
mod routes;
mod say;
mod shutdown;
mod spans;
mod trace;

pub use health::{Health, Part};
pub use routes::{Metrics, routes};
pub use say::say_line;
pub use shutdown::on_signal;
pub use spans::{Span, TRACEPARENT, Traces, requests_are_traced, trace_requests};
pub use trace::{LogFormat, start_tracing};
