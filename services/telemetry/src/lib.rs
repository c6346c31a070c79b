//! What an operator sees of a process: log lines, metrics, health; and how it is told to stop.

mod health;
mod routes;
mod shutdown;
mod trace;

pub use health::{Health, Part};
pub use routes::{Metrics, routes};
pub use shutdown::on_signal;
pub use trace::{LogFormat, start_tracing};
