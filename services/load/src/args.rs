//! What `seckill load` takes on the command line.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

/// Sends a crowd at a running platform, then audits what the crowd was told.
///
/// With --rate customers arrive by themselves, however slow the server is (open model). With
/// --clients each of so many clients sends its next grab when the last was answered (closed
/// model); that is the default, with 50 clients. Ctrl-C stops sending, then everything
/// outstanding is still answered, printed and audited; a second Ctrl-C gives up.
///
/// Exit status: 0 when the audit passed, 1 when it failed or nobody was answered.
#[derive(Debug, Clone, clap::Args)]
pub struct LoadArgs {
    /// Node that takes grabs, http://HOST:PORT; repeat it to spread over several nodes
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub target: Vec<String>,

    /// Node that answers queries, when that role runs alone; repeatable [default: --target]
    #[arg(long, value_name = "URL")]
    pub query: Vec<String>,

    /// Node that takes new promotions, when that role runs alone; repeatable [default: --target]
    #[arg(long, value_name = "URL")]
    pub admin: Vec<String>,

    /// Send each grab to the node that decides about its promotion, as nodes tell who that is (421 not-owner), and have
    /// none pass it on; not in the original model
    #[arg(long)]
    pub direct: bool,

    /// Up to so many customers in one request, over the batch route: who comes while requests are under way goes with the
    /// next one; not in the original model
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub batch: Option<u16>,

    /// How grabs are sent; not in the original model
    #[arg(long, value_enum, default_value_t = Protocol::Http)]
    pub protocol: Protocol,

    /// How the crowd behaves
    #[arg(long, value_enum, default_value_t = Model::Grab)]
    pub model: Model,

    /// Open model: arrivals per second, whatever the server does
    #[arg(long, value_name = "PER_SECOND", value_parser = positive_rate, conflicts_with = "clients")]
    pub rate: Option<f64>,

    /// Open model: how arrivals are spaced
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub arrivals: Arrivals,

    /// Open model: requests under way at most; arrivals over that wait, and their wait counts as
    /// latency
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = at_least_one)]
    pub max_outstanding: usize,

    /// Closed model: clients, each with one request under way [default: 50; original: 200]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub clients: Option<usize>,

    /// How long customers come, such as 500ms, 10s, 2m [default: open 10s; closed until every
    /// customer was served; original 60s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,

    /// Existing promotion to grab from, instead of creating one; repeatable. Others may grab from
    /// it too, so it is audited by weaker rules, which the report names
    #[arg(long, value_name = "ID", conflicts_with_all = ["promotions", "coupons"])]
    pub promotion: Vec<String>,

    /// Promotions to create; customers are spread over them in turn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub promotions: u16,

    /// Coupons of each promotion created [default: 10000; original: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub coupons: Option<u32>,

    /// Customers at most, each grabbing once [default: closed 100000; open as many as arrive]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub customers: Option<u32>,

    /// How long a customer insists, from the moment of coming: 429, 503, 504 and lost connections are
    /// counted, and the same request is sent again until it is answered definitely
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub give_up: Duration,

    /// How long one request may stay without an answer before its outcome counts as unknown
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub request_timeout: Duration,

    /// Model original: time between two promotions
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub open_every: Duration,

    /// Also writes the report as JSON, field names with units
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Also writes every request for a coupon and its answer, a line of JSON each, for `seckill verify
    /// --history`; of promotions that only this run grabs from, and not in the original model. Replaces the file
    #[arg(long, value_name = "FILE", conflicts_with = "promotion")]
    pub history: Option<PathBuf>,

    /// Repeats a run's arrival times and choices; customer ids are new each time [default: random]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// Does not check afterwards what the crowd was told against the views
    #[arg(long)]
    pub no_audit: bool,

    /// How long the audit waits for the views to show what was told, and for any one answer
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub audit_timeout: Duration,

    /// No progress line on stderr
    #[arg(long)]
    pub quiet: bool,
}

/// How grabs are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// A request each over HTTP/1.1, or for many with --batch
    Http,
    /// The same over HTTP/2: all requests share a few connections
    Http2,
    /// In streams of gRPC, over HTTP/2
    Grpc,
}

/// How the crowd behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Model {
    /// Everybody grabs once, over the native routes.
    Grab,
    /// The original's load script over its routes: clients loop list, grab, own coupons
    /// while a promotion opens every --open-every; coupons taken must equal coupons offered.
    Original,
}

/// How arrivals of the open model are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// Independent of each other, as people are.
    Poisson,
    /// Evenly.
    Uniform,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration =
        text.parse().map_err(|_| String::from("a time with its unit, such as 500ms, 10s or 2m"))?;
    match Duration::try_from(parsed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(String::from("must be more than no time")),
    }
}

fn positive_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=10_000_000.0).contains(&rate) => Ok(rate),
        _ => Err(String::from("a number from 0.001 to 10000000")),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(number) if (1..=1_000_000).contains(&number) => Ok(number),
        _ => Err(String::from("a whole number from 1 to 1000000")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "10", "0s", "-1s", "ten"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_positive() {
        assert_eq!(positive_rate("2500"), Ok(2_500.0));
        for text in ["0", "-1", "NaN", "inf", "x"] {
            assert!(positive_rate(text).is_err(), "{text}");
        }
    }
}
