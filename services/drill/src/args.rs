//! What `seckill drill` takes on the command line.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

/// See the promises hold: runs a system of its own, has a crowd come, and hurts processes, engines and connections as a
/// seed decides. Then it holds every answer that a customer got, and every view, against the log.
///
/// Without --engines it is one process on embedded engines; with it, a cluster on Kafka and Cassandra, each process by
/// itself, with proxies between. Ctrl-C ends everything that it has started; `kill -9` cannot.
///
/// Exit code 0 when every promise was kept, 1 when not, 2 when nothing was judged.
#[derive(Debug, Clone, clap::Args)]
pub struct DrillArgs {
    /// Decides which faults come when, and what the crowd wants [default: by chance, and printed]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// How long the crowd and the faults come, from 10s to 24h, such as 60s or 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub duration: Duration,

    /// Run a cluster, on a broker and a database that this script starts for it: deploy/local/engines of the source
    #[arg(long, value_name = "SCRIPT")]
    pub engines: Option<PathBuf>,

    /// Command nodes of the cluster
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16), requires = "engines")]
    pub nodes: u8,

    /// Projectors of the cluster
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16), requires = "engines")]
    pub projectors: u8,

    /// Brokers of the cluster; with 3 or more every record has three copies
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5), requires = "engines")]
    pub brokers: u8,

    /// Customers a second, who wait for nobody
    #[arg(long, value_name = "PER_SECOND", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,

    /// Only faults in whose description these words are, such as `kill -9`; repeatable
    #[arg(long, value_name = "WORDS")]
    pub only: Vec<String>,

    /// Where the report is written (report.html, report.json), with what customers and processes said; it must not
    /// be there yet [default: ./drill-SEED]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<SignedDuration>().ok();
    let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
    let range = Duration::from_secs(10)..=Duration::from_secs(24 * 3_600);
    let duration = duration.filter(|duration| range.contains(duration));
    duration.ok_or_else(|| "must be a time from 10s to 24h, such as 60s or 5m".to_owned())
}
