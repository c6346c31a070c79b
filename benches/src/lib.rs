//! Side-by-side measurements: what a grab costs beside the least that it could cost.
//!
//! One run measures all contestants on one machine, one after another and round after round, so
//! that whatever else the machine does hits all alike:
//!
//! - `raw`: records into the same engine without the system, by the fastest plain way there is. On
//!   Kafka a bare rdkafka producer (acks=all, idempotent), at every `--linger-ms` given; embedded,
//!   bursts straight into the log. The records are the bytes that the owner writes, made before.
//! - `owner`: grabs through [`seckill_command::Dispatcher`], in this process: mailbox, decision,
//!   append, answer once durable. Snapshots are made meanwhile, as in service.
//! - `http`: the same through HTTP, with the layers that `seckill` serves it under.
//! - `noop`: a route of the same server that takes the same body and answers 201 with as many
//!   bytes, without those layers. No server on axum answers sooner.
//!
//! What is not fair about it, and to whom:
//!
//! - Broker, server and generator share the cores: every contestant is slower than on machines of
//!   its own, and the ones that need more processes to take turns suffer more.
//! - The owner pays for customers, commands and answers, each a task that waits; `raw` is one
//!   thread that reuses its records. The ratio is therefore a lower bound.
//! - The loop is closed: each client sends when the last answer came. So a latency here is that at
//!   full load with so many under way, a stall counts once per client, and the crowd that comes
//!   regardless is what `seckill load --rate` is for.
//! - Projector, views and queries do not run. One broker, one replica, no fsync on Kafka.

mod args;
mod contest;
mod cql;
mod crowd;
mod embedded;
mod engine;
mod everything;
mod fill;
mod grow;
mod kafka;
mod lap;
mod machine;
mod noop;
mod owner;
mod page;
mod program;
mod queries;
mod record;
mod report;
mod rivals;
mod sale;
mod scale;
mod server;
mod shopper;
mod start;
mod statistics;
mod takeover;
mod views;

pub use args::{
    Cli, Command, CrowdArgs, EverythingArgs, GrabsArgs, GrowArgs, GrowStepArgs, Output,
    QueriesArgs, RivalsArgs, ScaleArgs, StartArgs, TakeoverArgs, Tried, Turns, ViewsArgs,
};
pub use contest::grabs;
pub use crowd::crowd;
pub use everything::everything;
pub use grow::{grow, grow_step};
pub use queries::queries;
pub use rivals::rivals;
pub use scale::scale;
pub use start::start;
pub use takeover::takeover;
pub use views::views;
