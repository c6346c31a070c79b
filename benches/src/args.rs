//! What the command line takes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};

/// Measures what a grab costs beside the least that it could cost, and beside rivals, on this machine.
///
/// Without a command: `grabs`, `views`, `queries`, `rivals` and `crowd`, one after another, and one table of their ratios. Use a release build.
#[derive(Debug, Parser)]
#[command(
    name = "seckill-benches",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How everything is measured.
    #[command(flatten)]
    pub everything: EverythingArgs,
}

/// Where a report goes, besides the standard output.
#[derive(Debug, Clone, Default, Args)]
pub struct Output {
    /// Also writes everything as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Also writes a page with plots, which needs nothing else
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// How long contestants are measured.
#[derive(Debug, Clone, Args)]
pub struct Turns {
    /// Rounds in which each has one turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..=20))]
    pub rounds: u32,

    /// Seconds measured in each turn, after one second of warming up
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = value_parser!(u64).range(1..=60))]
    pub seconds: u64,
}

impl Turns {
    /// What figures of so many turns are.
    pub(crate) fn describe(&self) -> String {
        let Self { rounds, seconds } = self;
        format!(
            "rounds: {rounds} of {seconds} s for each; figures are median (least..most) of them"
        )
    }
}

/// The program that is measured.
#[derive(Debug, Clone, Args)]
pub struct Tried {
    /// The program to be measured
    #[arg(long, value_name = "FILE", default_value = "target/release/seckill")]
    pub program: PathBuf,

    /// Where servers make their directories; on a real disk, or there is no fsync to measure
    #[arg(long, value_name = "DIR", default_value = "target/benches")]
    pub data: PathBuf,
}

impl Tried {
    /// A directory of a run's own, deleted when dropped.
    pub(crate) fn folder(&self, prefix: &str) -> anyhow::Result<tempfile::TempDir> {
        std::fs::create_dir_all(&self.data)?;
        Ok(tempfile::Builder::new().prefix(prefix).tempdir_in(&self.data)?)
    }
}

/// How everything is measured.
#[derive(Debug, Clone, Args)]
pub struct EverythingArgs {
    /// Two rounds with short turns: under three minutes on embedded engines
    #[arg(long)]
    pub quick: bool,

    /// Also on Kafka, at this broker
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,

    /// Also views in ScyllaDB or Cassandra, at this node
    #[arg(long, value_name = "HOST:PORT", requires = "kafka")]
    pub cql: Option<String>,

    /// What is measured, and where.
    #[command(flatten)]
    pub tried: Tried,

    /// Where the report goes.
    #[command(flatten)]
    pub output: Output,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Durable grabs beside bare appends, HTTP grabs beside a no-op route
    ///
    /// Measures, one after another and round after round: records appended to the engine without
    /// the system (raw), grabs through the owner of a partition (owner), grabs over HTTP (http),
    /// and a no-op route of the same server (noop). Prints rates, latencies and their ratios.
    ///
    /// Takes about rounds x contestants x (seconds + 2) and stops by itself. What it makes in
    /// Kafka or on the disk has a name of its own and is deleted at the end. Use a release build.
    Grabs(GrabsArgs),
    /// Reading the log and making views of it, beside a raw consumer and raw inserts
    ///
    /// Measures, one after another and round after round: every record read and nothing done with it,
    /// the same folded and merged (replay), the rows of the coupon views inserted by the engine's own
    /// client, and made by the projector. Then, at half of the projector's speed, how long it takes from
    /// the answer to a grab until its coupon can be read. Prints rates and ratios, and deletes what it
    /// made.
    Views(ViewsArgs),
    /// Coupons of one hot promotion, sold by this system and by Redis and PostgreSQL
    ///
    /// Starts `seckill up`, Redis with a script (stock, set, stream; appendfsync everysec and always) and PostgreSQL
    /// with a function (update, insert; synchronous commit), as far as they are installed, each on a port and in a directory of
    /// its own, and has each sell to customers who come once, in turns: one grab at a time on many connections,
    /// and many at once. Ends all of them.
    Rivals(RivalsArgs),
    /// A crowd that comes regardless: latency at half of the peak and at 70 %, goodput at three times the peak
    ///
    /// Starts `seckill up` and sends it crowds by `seckill load`, in processes of their own: first as many as are served
    /// (closed model), then at parts and at a multiple of that rate (open model), and a crowd for a promotion that is sold out; beside
    /// single records that are appended to an embedded log at half of the peak.
    Crowd(CrowdArgs),
    /// Coupons read one by one through the query gateway, and by the database's own client
    ///
    /// Starts `seckill up`, sells coupons, and reads them by their ids over HTTP. With --cql the driver selects the same rows;
    /// without it `/healthz` is asked instead, which reads nothing.
    Queries(QueriesArgs),
    /// How long `seckill up` takes until it is ready, with nothing and with many coupons on its disk
    ///
    /// Sells so many coupons, stops it, starts it again, kills it, and starts it again. Ten million take about three minutes.
    Start(StartArgs),
    /// How rate, latency and processor time of a grab change with partitions, promotions, and coupons given
    ///
    /// Through the owner of the embedded log, one number after another, in this process.
    Scale(ScaleArgs),
    /// How long nobody gets a coupon when a command node is killed, or told to stop; and taking over cold
    ///
    /// Starts three command nodes on Kafka, ends one of them again and again while customers ask the others for
    /// coupons of its partitions, and starts it again. Then a node takes over a partition of many coupons, from its
    /// snapshot. Thirty of each take about ten minutes; topics are deleted at the end.
    Takeover(TakeoverArgs),
    /// What many coupons in one partition cost: memory, disk, pauses, taking over
    ///
    /// On the embedded log, in a directory of its own that is deleted at the end. Ten million coupons
    /// take about two minutes and 2 GB of disk.
    Grow(GrowArgs),
    /// One step of `grow`, in a process of its own
    #[command(hide = true)]
    GrowStep(GrowStepArgs),
}

/// How views are measured.
#[derive(Debug, Clone, Args)]
pub struct ViewsArgs {
    /// The log is in Kafka, at this broker [default: embedded]
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,

    /// The views are in ScyllaDB or Cassandra, at this node [default: embedded]
    #[arg(long, value_name = "HOST:PORT")]
    pub cql: Option<String>,

    /// Where embedded engines make their directories; on a real disk, or there is no fsync to measure
    #[arg(long, value_name = "DIR", default_value = "target/benches")]
    pub data: PathBuf,

    /// Coupons in the log
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = value_parser!(u32).range(1_000..=10_000_000))]
    pub coupons: u32,

    /// Rounds in which each has one turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..=20))]
    pub rounds: u32,

    /// Seconds for which grabs come, to see how fresh the views are
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = value_parser!(u64).range(1..=60))]
    pub seconds: u64,

    /// Grabs a second at most, for the same
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = value_parser!(u32).range(100..=100_000))]
    pub fresh_rate: u32,

    /// Where the report goes.
    #[command(flatten)]
    pub output: Output,
}

/// How rivals are measured.
#[derive(Debug, Clone, Args)]
pub struct RivalsArgs {
    /// What is measured, and where.
    #[command(flatten)]
    pub tried: Tried,

    /// Connections with one grab at a time; with many at once 16 at most
    #[arg(long, value_name = "N", default_value = "64", value_parser = count(1, 512))]
    pub connections: usize,

    /// Grabs that are sent at once on a connection, where many are
    #[arg(long, value_name = "N", default_value = "100", value_parser = count(2, 1_000))]
    pub at_once: usize,

    /// How long.
    #[command(flatten)]
    pub turns: Turns,

    /// Where the report goes.
    #[command(flatten)]
    pub output: Output,
}

/// How crowds are measured.
#[derive(Debug, Clone, Args)]
pub struct CrowdArgs {
    /// What is measured, and where.
    #[command(flatten)]
    pub tried: Tried,

    /// Clients of the closed model
    #[arg(long, value_name = "N", default_value = "512", value_parser = count(1, 4_096))]
    pub clients: usize,

    /// How long.
    #[command(flatten)]
    pub turns: Turns,

    /// Where the report goes.
    #[command(flatten)]
    pub output: Output,
}

/// How queries are measured.
#[derive(Debug, Clone, Args)]
pub struct QueriesArgs {
    /// What is measured, and where.
    #[command(flatten)]
    pub tried: Tried,

    /// The log is in Kafka, at this broker [default: embedded]
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,

    /// The views are in ScyllaDB or Cassandra, at this node [default: embedded]
    #[arg(long, value_name = "HOST:PORT", requires = "kafka")]
    pub cql: Option<String>,

    /// Coupons to read
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = value_parser!(u32).range(100..=1_000_000))]
    pub coupons: u32,

    /// Connections, each with one request under way
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u32).range(1..=1_024))]
    pub connections: u32,

    /// How long.
    #[command(flatten)]
    pub turns: Turns,

    /// Where the report goes.
    #[command(flatten)]
    pub output: Output,
}

/// How starting is measured.
#[derive(Debug, Clone, Args)]
pub struct StartArgs {
    /// What is measured, and where.
    #[command(flatten)]
    pub tried: Tried,

    /// Coupons on the disk, in rising order
    #[arg(long, value_name = "N,...", default_value = "0,1000000,10000000", value_delimiter = ',', value_parser = value_parser!(u32).range(0..=10_000_000))]
    pub coupons: Vec<u32>,

    /// Starts after being told to stop, and after being killed, of each
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..=20))]
    pub rounds: u32,

    /// Where the report goes.
    #[command(flatten)]
    pub output: Output,
}

/// How growth is measured.
#[derive(Debug, Clone, Args)]
pub struct ScaleArgs {
    /// Where the embedded log makes its directories; on a real disk, or there is no fsync to measure
    #[arg(long, value_name = "DIR", default_value = "target/benches")]
    pub data: PathBuf,

    /// Grabs under way at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = value_parser!(u32).range(1..=8_192))]
    pub clients: u32,

    /// Partitions, each with one promotion
    #[arg(long, value_name = "N,...", default_value = "1,4,16,64", value_delimiter = ',', value_parser = value_parser!(u32).range(1..=256))]
    pub partitions: Vec<u32>,

    /// Promotions in one partition
    #[arg(long, value_name = "N,...", default_value = "1,10,100,1000,10000,100000", value_delimiter = ',', value_parser = value_parser!(u32).range(1..=100_000))]
    pub promotions: Vec<u32>,

    /// Coupons that a promotion has given before
    #[arg(long, value_name = "N,...", default_value = "10000,100000,1000000,10000000", value_delimiter = ',', value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub coupons: Vec<u32>,

    /// How long.
    #[command(flatten)]
    pub turns: Turns,

    /// Where the report goes.
    #[command(flatten)]
    pub output: Output,
}

fn count(least: usize, most: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(count) if (least..=most).contains(&count) => Ok(count),
        _ => Err(format!("a number from {least} to {most}")),
    }
}

/// How taking over is measured.
#[derive(Debug, Clone, Args)]
pub struct TakeoverArgs {
    /// The log is in Kafka, at this broker
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: String,

    /// The program to be measured
    #[arg(long, value_name = "FILE", default_value = "target/release/seckill")]
    pub program: PathBuf,

    /// How often a node is killed, and how often one is told to stop
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,

    /// Nodes that keep the state of a partition beside its owner
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(0..=2))]
    pub standbys: u32,

    /// Coupons of the partition that is taken over cold; 0 leaves that out
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = value_parser!(u32).range(0..=10_000_000))]
    pub coupons: u32,
}

/// How far it grows.
#[derive(Debug, Clone, Args)]
pub struct GrowArgs {
    /// Coupons granted, in rising order
    #[arg(long, value_name = "N,...", default_value = "1000000,3000000,10000000", value_delimiter = ',', value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub coupons: Vec<u32>,

    /// Where the log makes its directory; on a real disk, or there is no fsync to measure
    #[arg(long, value_name = "DIR", default_value = "target/benches")]
    pub data: PathBuf,
}

/// One step.
#[derive(Debug, Clone, Args)]
pub struct GrowStepArgs {
    /// Of the log
    pub directory: PathBuf,
    /// Coupons to grant, earlier ones included; 0 only opens the log
    pub coupons: u32,
}

/// How the contestants are measured.
#[derive(Debug, Clone, Args)]
pub struct GrabsArgs {
    /// Measure on Kafka, at this broker [default: on the embedded log]
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,

    /// Measure on the embedded log; what happens without --kafka
    #[arg(long, conflicts_with = "kafka")]
    pub embedded: bool,

    /// Where the embedded log makes its directory; on a real disk, or there is no fsync to measure
    #[arg(long, value_name = "DIR", default_value = "target/benches")]
    pub data: PathBuf,

    /// Partitions of the log [default: 8 on Kafka, 4 embedded]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=256))]
    pub partitions: Option<u32>,

    /// Promotions, grabbed from in turn; the first ones each in a partition of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=256))]
    pub promotions: u32,

    /// Grabs, or raw records, under way at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = value_parser!(u32).range(1..=8192))]
    pub clients: u32,

    /// HTTP connections, each with one request under way; for each number http and noop are contestants
    #[arg(long, value_name = "N,...", default_value = "64,512", value_delimiter = ',', value_parser = value_parser!(u32).range(1..=4096))]
    pub connections: Vec<u32>,

    /// How long.
    #[command(flatten)]
    pub turns: Turns,

    /// linger.ms of the raw producer; each is a contestant, and the one with the most records a
    /// second is compared with. (The owner's producer has 0.)
    #[arg(long, value_name = "MS,...", default_value = "0,5", value_delimiter = ',', value_parser = linger_ms)]
    pub linger_ms: Vec<f64>,

    /// Where the report goes.
    #[command(flatten)]
    pub output: Output,
}

fn linger_ms(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(linger_ms) if (0.0..=1_000.0).contains(&linger_ms) => Ok(linger_ms),
        _ => Err("a number from 0 to 1000".to_owned()),
    }
}
