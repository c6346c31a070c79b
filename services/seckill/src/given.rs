//! Settings as they are given: flags, SECKILL_* variables, a TOML file. Each command takes those that it
//! uses; a file may name all of them, so that one file serves every command.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;

/// What a log may have, and what a row or a record may have of copies.
pub(crate) const PARTITIONS: RangeInclusive<u32> = 1..=4_096;
pub(crate) const REPLICAS: RangeInclusive<u32> = 1..=16;
pub(crate) const CONNECTIONS: RangeInclusive<u32> = 1..=1_000_000;
/// Free megabytes below which nothing more is decided.
pub(crate) const RESERVE_MB: RangeInclusive<u32> = 1..=1_000_000;

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
    /// TOML file with settings of any command, named as its flags with _ for - (such as
    /// cql_keyspace = "sales")
    #[arg(long, value_name = "FILE", env = "SECKILL_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Args, Deserialize, Default)]
pub(crate) struct DataArgs {
    /// Directory of the embedded engines [default: ./data]
    #[arg(long, value_name = "DIR", env = "SECKILL_DATA")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Args, Deserialize, Default)]
pub(crate) struct DiskArgs {
    /// Free megabytes on the disk of --data below which the embedded log takes no more; on a small disk
    /// at most a tenth of it [default: 128]
    #[arg(long, value_name = "MB", env = "SECKILL_DISK_RESERVE", value_parser = |text: &str| number(text, &RESERVE_MB))]
    pub(crate) disk_reserve: Option<u32>,
}

#[derive(Args, Deserialize, Default)]
pub(crate) struct ServeArgs {
    /// Address to serve HTTP on [default: 127.0.0.1:8080; alone: admin 8081, command 8082,
    /// query 8083, projector 8084]
    #[arg(long, value_name = "HOST:PORT", env = "SECKILL_LISTEN")]
    pub(crate) listen: Option<String>,
    /// HTTP connections at most, 1 to 1000000; more are answered 503 and closed [default: 16384, or what
    /// the limit of open files leaves]
    #[arg(long, value_name = "N", env = "SECKILL_CONNECTIONS", value_parser = |text: &str| number(text, &CONNECTIONS))]
    pub(crate) connections: Option<u32>,
    /// Which log lines to write, in the form of RUST_LOG [default: info]
    #[arg(long, value_name = "FILTER", env = "SECKILL_LOG")]
    pub(crate) log: Option<String>,
    /// Form of log lines: text or json [default: text]
    #[arg(long, value_name = "FORM", env = "SECKILL_LOG_FORMAT")]
    pub(crate) log_format: Option<String>,
}

#[derive(Args, Deserialize, Default)]
pub(crate) struct DecideArgs {
    /// How long the owner keeps in memory who holds what of a promotion that is over, such as 90s or 2h;
    /// later the views are asked [default: 1h]
    #[arg(long, value_name = "TIME", env = "SECKILL_RETAIN")]
    pub(crate) retain: Option<String>,
    /// Address to take commands from other nodes on; only they may reach it [default: 127.0.0.1 and any
    /// free port; none on the embedded log]
    #[arg(long, value_name = "HOST:PORT", env = "SECKILL_INTERNAL_LISTEN")]
    pub(crate) internal_listen: Option<String>,
    /// Base URL under which other nodes reach that [default: http:// and its address]
    #[arg(long, value_name = "URL", env = "SECKILL_ADVERTISE")]
    pub(crate) advertise: Option<String>,
    /// Name of this node, in log lines and the table of owners [default: role and process id]
    #[arg(long, value_name = "NAME", env = "SECKILL_NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Args, Deserialize, Default)]
pub(crate) struct KafkaArgs {
    /// The log is in Kafka, at these brokers [default: embedded]
    #[arg(long, value_name = "HOST:PORT[,...]", env = "SECKILL_KAFKA")]
    pub(crate) kafka: Option<String>,
    /// Prefix of topic and group names [default: seckill]
    #[arg(long, value_name = "NAME", env = "SECKILL_KAFKA_PREFIX")]
    pub(crate) kafka_prefix: Option<String>,
}

#[derive(Args, Deserialize, Default)]
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

#[derive(Args, Deserialize, Default)]
pub(crate) struct CqlArgs {
    /// The views are in ScyllaDB or Cassandra, at these nodes [default: embedded]
    #[arg(long, value_name = "HOST:PORT[,...]", env = "SECKILL_CQL")]
    pub(crate) cql: Option<String>,
    /// Keyspace of the views, created where it does not exist [default: seckill]
    #[arg(long, value_name = "NAME", env = "SECKILL_CQL_KEYSPACE")]
    pub(crate) cql_keyspace: Option<String>,
}

#[derive(Args, Deserialize, Default)]
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

impl From<EmbeddedArgs> for Given {
    fn from(EmbeddedArgs { file, data }: EmbeddedArgs) -> Self {
        Self { file, data, ..Self::default() }
    }
}

impl Given {
    /// What a TOML text says.
    pub(crate) fn from_toml(text: &str) -> anyhow::Result<Self> {
        let table: toml::Table = text.parse()?;
        let all = Self::augment_args(clap::Command::new("all"));
        let names = all.get_arguments().map(|arg| arg.get_id().as_str());
        let names: Vec<&str> = names.filter(|name| *name != "config").collect();
        if let Some(unknown) = table.keys().find(|name| !names.contains(&name.as_str())) {
            let meant = nearest(unknown, &names).map(|name| format!("; did you mean `{name}`?"));
            bail!("unknown setting `{unknown}`{}", meant.unwrap_or_default());
        }
        Ok(Self {
            file: FileArgs::default(),
            data: table.clone().try_into()?,
            disk: table.clone().try_into()?,
            serve: table.clone().try_into()?,
            decide: table.clone().try_into()?,
            kafka: table.clone().try_into()?,
            new_log: table.clone().try_into()?,
            cql: table.clone().try_into()?,
            new_views: table.try_into()?,
        })
    }

    /// With what the file says where nothing else was given.
    pub(crate) fn over_file(self) -> anyhow::Result<Self> {
        assert_no_variable_misspelt()?;
        let Some(path) = &self.file.config else { return Ok(self) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("config: {} cannot be read", path.display()))?;
        let file = Self::from_toml(&text)
            .with_context(|| format!("config: {} is not valid", path.display()))?;
        Ok(self.or(file))
    }

    pub(crate) fn or(self, file: Self) -> Self {
        let Self { data, disk, serve, decide, kafka, new_log, cql, new_views, .. } = file;
        Self {
            file: self.file,
            data: DataArgs { data: self.data.data.or(data.data) },
            disk: DiskArgs { disk_reserve: self.disk.disk_reserve.or(disk.disk_reserve) },
            serve: ServeArgs {
                listen: self.serve.listen.or(serve.listen),
                connections: self.serve.connections.or(serve.connections),
                log: self.serve.log.or(serve.log),
                log_format: self.serve.log_format.or(serve.log_format),
            },
            decide: DecideArgs {
                retain: self.decide.retain.or(decide.retain),
                internal_listen: self.decide.internal_listen.or(decide.internal_listen),
                advertise: self.decide.advertise.or(decide.advertise),
                name: self.decide.name.or(decide.name),
            },
            kafka: KafkaArgs {
                kafka: self.kafka.kafka.or(kafka.kafka),
                kafka_prefix: self.kafka.kafka_prefix.or(kafka.kafka_prefix),
            },
            new_log: NewLogArgs {
                partitions: self.new_log.partitions.or(new_log.partitions),
                kafka_replication: self.new_log.kafka_replication.or(new_log.kafka_replication),
            },
            cql: CqlArgs {
                cql: self.cql.cql.or(cql.cql),
                cql_keyspace: self.cql.cql_keyspace.or(cql.cql_keyspace),
            },
            new_views: NewViewsArgs {
                cql_replication: self.new_views.cql_replication.or(new_views.cql_replication),
            },
        }
    }
}

/// A variable that is nobody's, and nearly one of these.
fn assert_no_variable_misspelt() -> anyhow::Result<()> {
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
fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let distances = names.iter().map(|known| (strsim::damerau_levenshtein(name, known), *known));
    distances.filter(|(distance, _)| *distance <= MOST_TYPOS).min().map(|(_, known)| known)
}

/// A number given as a flag or a variable; clap adds the name of the flag.
fn number(text: &str, range: &RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number
        .ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
}
