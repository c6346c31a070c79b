//! Settings: each is described here once, with its flag, its variable, its type and range, and its default.
//! A TOML file (`file.rs`) names them as their flags with _ for -. Each command takes those that it uses;
//! a file may name all of them, so that one file serves every command.

use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use seckill_log::kafka::ClientOptions;
use seckill_telemetry::LogFormat;

/// What a log may have, and what a row or a record may have of copies.
const PARTITIONS: RangeInclusive<u32> = 1..=4_096;
const REPLICAS: RangeInclusive<u32> = 1..=16;
const STANDBYS: RangeInclusive<u32> = 0..=16;
const CONNECTIONS: RangeInclusive<u32> = 1..=1_000_000;
/// Free megabytes below which nothing more is decided.
const RESERVE_MB: RangeInclusive<u32> = 1..=1_000_000;

/// Letters that may be wrong in a name for it to be recognised.
const MOST_TYPOS: usize = 2;

/// All there are, as `seckill up` takes them. A flag wins over its variable, a variable over the file.
#[derive(Args, Default)]
pub(crate) struct Given {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) disk: DiskArgs,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(flatten)]
    pub(crate) decide: DecideArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    #[command(flatten)]
    pub(crate) new_log: NewLogArgs,
    #[command(flatten)]
    pub(crate) cql: CqlArgs,
    #[command(flatten)]
    pub(crate) new_views: NewViewsArgs,
}

#[derive(Args, Default)]
pub(crate) struct FileArgs {
    /// TOML file with settings of any command that takes one, named as their flags with _ for - (such as
    /// cql_keyspace = "sales")
    #[arg(long, value_name = "FILE", env = "SECKILL_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Args, Default)]
pub(crate) struct DataArgs {
    /// Directory of the embedded engines [default: ./data]
    #[arg(long, value_name = "DIR", env = "SECKILL_DATA")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Args, Default)]
pub(crate) struct DiskArgs {
    /// Free megabytes on the disk of --data below which the embedded log takes no more; on a small disk
    /// at most a tenth of it [default: 128]
    #[arg(long, value_name = "MB", env = "SECKILL_DISK_RESERVE", value_parser = |text: &str| number(text, &RESERVE_MB))]
    pub(crate) disk_reserve: Option<u32>,
}

#[derive(Args, Default)]
pub(crate) struct ServeArgs {
    /// Address to serve HTTP on [default: 127.0.0.1:8080; alone: admin 8081, command 8082,
    /// query 8083, projector 8084]
    #[arg(long, value_name = "HOST:PORT", env = "SECKILL_LISTEN", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// HTTP connections at most, 1 to 1000000; more are answered 503 and closed [default: 16384, or what
    /// the limit of open files leaves]
    #[arg(long, value_name = "N", env = "SECKILL_CONNECTIONS", value_parser = |text: &str| number(text, &CONNECTIONS))]
    pub(crate) connections: Option<u32>,
    /// Which log lines to write, in the form of RUST_LOG [default: info]
    #[arg(long, value_name = "FILTER", env = "SECKILL_LOG")]
    pub(crate) log: Option<String>,
    /// Form of log lines: text or json [default: text]
    #[arg(long, value_name = "FORM", env = "SECKILL_LOG_FORMAT", value_parser = log_format)]
    pub(crate) log_format: Option<LogFormat>,
    /// Send traces to the OpenTelemetry collector at this address (OTLP over HTTP), such as http://127.0.0.1:4318;
    /// OTEL_TRACES_SAMPLER and the like say which [default: none are sent]
    #[arg(long, value_name = "URL", env = "SECKILL_OTLP", value_parser = http_url)]
    pub(crate) otlp: Option<String>,
}

#[derive(Args, Default)]
pub(crate) struct DecideArgs {
    /// How long the owner keeps in memory who holds what of a promotion that is over, such as 90s or 2h;
    /// later the views are asked [default: 1h]
    #[arg(long, value_name = "TIME", env = "SECKILL_RETAIN", value_parser = duration)]
    pub(crate) retain: Option<Duration>,
    /// Address to take commands from other nodes on; only they may reach it [default: 127.0.0.1 and any
    /// free port; none on the embedded log]
    #[arg(long, value_name = "HOST:PORT", env = "SECKILL_INTERNAL_LISTEN", value_parser = address)]
    pub(crate) internal_listen: Option<SocketAddr>,
    /// Other nodes that keep the state of a partition in memory, 0 to 16, so that one of them takes it over at
    /// once where its owner is gone [default: 1; none on the embedded log]
    #[arg(long, value_name = "N", env = "SECKILL_STANDBYS", value_parser = |text: &str| number(text, &STANDBYS))]
    pub(crate) standbys: Option<u32>,
    /// Base URL under which other nodes reach that [default: http:// and its address]
    #[arg(long, value_name = "URL", env = "SECKILL_ADVERTISE", value_parser = base_url)]
    pub(crate) advertise: Option<String>,
    /// Base URL under which clients reach this node, for those who go to the owner of a promotion themselves
    /// [default: http:// and the address of --listen]
    #[arg(long, value_name = "URL", env = "SECKILL_PUBLIC_URL", value_parser = base_url)]
    pub(crate) public_url: Option<String>,
    /// Name of this node, in log lines and the table of owners; one that a running node has is refused [default: role,
    /// host name and process id]
    #[arg(long, value_name = "NAME", env = "SECKILL_NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Args, Default)]
pub(crate) struct KafkaArgs {
    /// The log is in Kafka, at these brokers [default: embedded]
    #[arg(long, value_name = "HOST:PORT[,...]", env = "SECKILL_KAFKA", value_parser = nodes)]
    pub(crate) kafka: Option<Nodes>,
    /// Prefix of topic and group names [default: seckill]
    #[arg(long, value_name = "NAME", env = "SECKILL_KAFKA_PREFIX", value_parser = prefix)]
    pub(crate) kafka_prefix: Option<String>,
    /// Property of librdkafka for every client, such as security.protocol=SSL; repeatable, in the variable one a
    /// line; those that the protocol rests on are refused
    #[arg(
        long,
        value_name = "NAME=VALUE",
        env = "SECKILL_KAFKA_OPTION",
        hide_env_values = true,
        value_delimiter = '\n'
    )]
    pub(crate) kafka_option: Vec<String>,
    /// File with such properties, one a line, for those that nobody else is to see, such as sasl.password; a
    /// --kafka-option of the same name wins
    #[arg(long, value_name = "FILE", env = "SECKILL_KAFKA_OPTIONS_FILE")]
    pub(crate) kafka_options_file: Option<PathBuf>,
}

impl KafkaArgs {
    /// Of the file, and what is given besides. What is told of one that is wrong never has its value.
    pub(crate) fn options(&self) -> anyhow::Result<ClientOptions> {
        let mut options = ClientOptions::default();
        if let Some(path) = &self.kafka_options_file {
            let of_file = || format!("kafka-options-file: {}", path.display());
            let text = std::fs::read_to_string(path).with_context(of_file)?;
            let all = options.set_all(&text);
            all.map_err(|(line, error)| anyhow!("{}, line {line}: {error}", of_file()))?;
        }
        for option in self.kafka_option.iter().filter(|option| !option.is_empty()) {
            options.set(option).context("kafka-option")?;
        }
        Ok(options)
    }
}

#[derive(Args, Default)]
pub(crate) struct NewLogArgs {
    /// Partitions of a new log, 1 to 4096; one that exists keeps its own [default: 4 embedded,
    /// 8 on Kafka]
    #[arg(long, value_name = "N", env = "SECKILL_PARTITIONS", value_parser = |text: &str| number(text, &PARTITIONS))]
    pub(crate) partitions: Option<u32>,
    /// Replicas of new topics, 1 to 16; with 2 or more, a write needs a majority of them in sync
    /// [default: the broker's default]
    #[arg(long, value_name = "N", env = "SECKILL_KAFKA_REPLICATION", value_parser = |text: &str| number(text, &REPLICAS))]
    pub(crate) kafka_replication: Option<u32>,
}

#[derive(Args, Default)]
pub(crate) struct CqlArgs {
    /// The views are in ScyllaDB or Cassandra, at these nodes [default: embedded]
    #[arg(long, value_name = "HOST:PORT[,...]", env = "SECKILL_CQL", value_parser = nodes)]
    pub(crate) cql: Option<Nodes>,
    /// Keyspace of the views, created where it does not exist [default: seckill]
    #[arg(long, value_name = "NAME", env = "SECKILL_CQL_KEYSPACE", value_parser = keyspace)]
    pub(crate) cql_keyspace: Option<String>,
}

#[derive(Args, Default)]
pub(crate) struct NewViewsArgs {
    /// Copies of every row in a new keyspace, 1 to 16 [default: 1]
    #[arg(long, value_name = "N", env = "SECKILL_CQL_REPLICATION", value_parser = |text: &str| number(text, &REPLICAS))]
    pub(crate) cql_replication: Option<u32>,
}

/// What a command node alone takes: it has no embedded engines.
#[derive(Args)]
pub(crate) struct CommandArgs {
    #[command(flatten)]
    engines: ProjectorArgs,
    #[command(flatten)]
    decide: DecideArgs,
    #[command(flatten)]
    new_log: NewLogArgs,
}

/// What the operator's API alone takes: it only passes commands on.
#[derive(Args)]
pub(crate) struct AdminArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What a projector alone takes.
#[derive(Args)]
pub(crate) struct ProjectorArgs {
    #[command(flatten)]
    query: QueryArgs,
    #[command(flatten)]
    new_views: NewViewsArgs,
}

/// What a gateway alone takes: it makes nothing.
#[derive(Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    cql: CqlArgs,
}

/// What a tool takes that looks at engines which are there.
#[derive(Args)]
pub(crate) struct EnginesArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    cql: CqlArgs,
}

/// What a tool takes that only looks at the log.
#[derive(Args)]
pub(crate) struct LogArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What a tool takes that only knows embedded engines.
#[derive(Args)]
pub(crate) struct EmbeddedArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    data: DataArgs,
}

impl From<CommandArgs> for Given {
    fn from(CommandArgs { engines, decide, new_log }: CommandArgs) -> Self {
        Self { decide, new_log, ..Self::from(engines) }
    }
}

impl From<AdminArgs> for Given {
    fn from(AdminArgs { file, serve, kafka }: AdminArgs) -> Self {
        Self { file, serve, kafka, ..Self::default() }
    }
}

impl From<ProjectorArgs> for Given {
    fn from(ProjectorArgs { query, new_views }: ProjectorArgs) -> Self {
        Self { new_views, ..Self::from(query) }
    }
}

impl From<QueryArgs> for Given {
    fn from(QueryArgs { file, serve, kafka, cql }: QueryArgs) -> Self {
        Self { file, serve, kafka, cql, ..Self::default() }
    }
}

impl From<EnginesArgs> for Given {
    fn from(EnginesArgs { file, data, kafka, cql }: EnginesArgs) -> Self {
        Self { file, data, kafka, cql, ..Self::default() }
    }
}

impl From<LogArgs> for Given {
    fn from(LogArgs { file, data, kafka }: LogArgs) -> Self {
        Self { file, data, kafka, ..Self::default() }
    }
}

impl From<EmbeddedArgs> for Given {
    fn from(EmbeddedArgs { file, data }: EmbeddedArgs) -> Self {
        Self { file, data, ..Self::default() }
    }
}

/// A variable that is nobody's, and nearly one of these.
pub(crate) fn assert_no_variable_misspelt() -> anyhow::Result<()> {
    let all = Given::augment_args(clap::Command::new("all"));
    let known: Vec<&str> = all.get_arguments().filter_map(|arg| arg.get_env()?.to_str()).collect();
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("SECKILL_")) else {
            continue;
        };
        if let (false, Some(meant)) = (known.contains(&name), nearest(name, &known)) {
            bail!("{name} is set, and nothing reads it; did you mean {meant}?");
        }
    }
    Ok(())
}

/// The name that was meant, most likely.
pub(crate) fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let distances = names.iter().map(|known| (strsim::damerau_levenshtein(name, known), *known));
    distances.filter(|(distance, _)| *distance <= MOST_TYPOS).min().map(|(_, known)| known)
}

/// A number given as a flag or a variable; clap adds the name of the flag.
fn number(text: &str, range: &RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number
        .ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
}

/// Nodes of an engine.
#[derive(Debug, Clone)]
pub(crate) struct Nodes(pub(crate) Vec<String>);

fn nodes(text: &str) -> Result<Nodes, String> {
    let is_host_port = |part: &str| match part.rsplit_once(':') {
        Some((host, port)) => !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0),
        None => false,
    };
    let parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
    match parts.iter().find(|part| !is_host_port(part)) {
        Some(wrong) => Err(format!("must be HOST:PORT[,HOST:PORT...], not {wrong:?}")),
        None => Ok(Nodes(parts)),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let addresses = text.to_socket_addrs().ok();
    let address = addresses.and_then(|mut addresses| addresses.next());
    address.ok_or_else(|| "must be HOST:PORT, such as 127.0.0.1:8080".to_owned())
}

/// The URL of a node, without a slash at its end.
pub(crate) fn base_url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).ok();
    match url.filter(|url| url.scheme() == "http" && url.has_host()) {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err("must be a URL such as http://127.0.0.1:8080".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<jiff::SignedDuration>().ok();
    let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| "must be a time such as 90s or 2h".to_owned())
}

fn http_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").unwrap_or_default();
    if rest.split('/').next().is_some_and(|host| !host.is_empty()) {
        return Ok(text.to_owned());
    }
    Err("must be the address of a collector without TLS, such as http://127.0.0.1:4318".to_owned())
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be text or json".to_owned()),
    }
}

fn prefix(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || text.len() > 200 || !text.chars().all(allowed) {
        return Err("may have 1 to 200 letters, digits, '.', '_' and '-'".to_owned());
    }
    Ok(text.to_owned())
}

fn keyspace(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts_right = text.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts_right || text.len() > 48 || !text.chars().all(allowed) {
        let rule = "may have 1 to 48 lower-case letters, digits and '_' and starts with a letter";
        return Err(rule.to_owned());
    }
    Ok(text.to_owned())
}
