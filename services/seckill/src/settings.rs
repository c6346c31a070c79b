//! Settings: what is given, checked, with the defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use seckill_log::kafka::KafkaConfig;
use seckill_proto::DEFAULT_PREFIX;
use seckill_telemetry::LogFormat;
use seckill_views::CqlConfig;

use crate::given::{Given, Nodes, assert_no_variable_misspelt};

const DEFAULT_RESERVE_MB: u32 = 128;
const DEFAULT_STANDBYS: u32 = 1;
const DEFAULT_RETAIN: Duration = Duration::from_secs(60 * 60);

/// What this system does, and of the engines only what needs somebody.
const QUIET_LIBRARIES: &str =
    "info,fjall=warn,lsm_tree=warn,scylla=warn,rdkafka=error,opentelemetry=warn";

/// What the process is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Up,
    Command,
    Admin,
    Projector,
    Query,
    Verify,
    Repair,
    Upgrade,
    Replay,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Command => "command",
            Self::Admin => "admin",
            Self::Projector => "projector",
            Self::Query => "query",
            Self::Verify => "verify",
            Self::Repair => "repair",
            Self::Upgrade => "upgrade",
            Self::Replay => "replay",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Up | Self::Verify | Self::Repair | Self::Upgrade | Self::Replay => 8080,
            Self::Admin => 8081,
            Self::Command => 8082,
            Self::Query => 8083,
            Self::Projector => 8084,
        }
    }

    /// A role alone shares the engines with others, which the embedded ones cannot.
    fn needs(self) -> (bool, bool) {
        match self {
            Self::Up | Self::Verify | Self::Repair | Self::Upgrade | Self::Replay => (false, false),
            Self::Command | Self::Admin => (true, false),
            Self::Projector | Self::Query => (true, true),
        }
    }
}

/// Settings checked and complete.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) data: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) internal_listen: Option<SocketAddr>,
    pub(crate) connections: Option<u32>,
    pub(crate) retain: Duration,
    pub(crate) standbys: usize,
    /// In bytes.
    pub(crate) disk_reserve: u64,
    pub(crate) partitions: Option<u32>,
    pub(crate) kafka: Option<KafkaConfig>,
    pub(crate) cql: Option<CqlConfig>,
    pub(crate) advertise: Option<String>,
    pub(crate) public_url: Option<String>,
    pub(crate) name: String,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
    pub(crate) otlp: Option<String>,
}

impl Given {
    /// Adds the defaults, and checks what is given together.
    pub(crate) fn settle(self, role: Role) -> anyhow::Result<Settings> {
        assert_no_variable_misspelt()?;
        let (needs_kafka, needs_cql) = role.needs();
        let name = role.name();
        if needs_kafka && self.kafka.kafka.is_none() {
            bail!("kafka is not set: `seckill {name}` alone needs --kafka HOST:PORT");
        }
        if needs_cql && self.cql.cql.is_none() {
            bail!("cql is not set: `seckill {name}` alone needs --cql HOST:PORT");
        }
        self.complete(role)
    }

    fn complete(self, role: Role) -> anyhow::Result<Settings> {
        let default_listen = SocketAddr::from(([127, 0, 0, 1], role.default_port()));
        Ok(Settings {
            listen: self.serve.listen.unwrap_or(default_listen),
            internal_listen: self.internal_listen(),
            kafka: self.kafka_config(role)?,
            cql: self.cql_config(),
            name: self.name(role),
            connections: self.serve.connections,
            retain: self.decide.retain.unwrap_or(DEFAULT_RETAIN),
            standbys: self.decide.standbys.unwrap_or(DEFAULT_STANDBYS) as usize,
            disk_reserve: u64::from(self.disk.disk_reserve.unwrap_or(DEFAULT_RESERVE_MB)) << 20,
            partitions: self.new_log.partitions,
            advertise: self.decide.advertise,
            public_url: self.decide.public_url,
            data: self.data.data.unwrap_or_else(|| "data".into()),
            log: self.serve.log.unwrap_or_else(|| QUIET_LIBRARIES.into()),
            log_format: self.serve.log_format.unwrap_or(LogFormat::Text),
            otlp: self.serve.otlp,
        })
    }

    /// None where there are no other nodes, unless it is asked for.
    fn internal_listen(&self) -> Option<SocketAddr> {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let default = self.kafka.kafka.is_some().then_some(any_port);
        self.decide.internal_listen.or(default)
    }

    fn name(&self, role: Role) -> String {
        let default = || name_of_process(role);
        self.decide.name.clone().unwrap_or_else(default)
    }

    fn kafka_config(&self, role: Role) -> anyhow::Result<Option<KafkaConfig>> {
        let Some(Nodes(brokers)) = self.kafka.kafka.as_ref() else { return Ok(None) };
        let replicas = self.new_log.kafka_replication;
        Ok(Some(KafkaConfig {
            options: self.kafka.options()?,
            client_id: format!("seckill.{}", self.name(role)),
            prefix: self.kafka.kafka_prefix.clone().unwrap_or_else(|| DEFAULT_PREFIX.into()),
            partitions: self.new_log.partitions,
            replication: replicas.and_then(|replicas| u16::try_from(replicas).ok()),
            ..KafkaConfig::new(&brokers.join(","))
        }))
    }

    fn cql_config(&self) -> Option<CqlConfig> {
        let Nodes(contact_points) = self.cql.cql.clone()?;
        Some(CqlConfig {
            contact_points,
            keyspace: self.cql.cql_keyspace.clone().unwrap_or_else(|| "seckill".into()),
            replication_factor: self.new_views.cql_replication.unwrap_or(1),
            ..CqlConfig::default()
        })
    }
}

impl Settings {
    /// The address under which other nodes find what listens for them at `bound`.
    pub(crate) fn endpoint(&self, bound: SocketAddr) -> String {
        self.advertise.clone().unwrap_or_else(|| {
            if bound.ip().is_unspecified() {
                tracing::warn!("other nodes cannot reach {bound}; set advertise if there are any");
                return format!("http://127.0.0.1:{}", bound.port());
            }
            format!("http://{bound}")
        })
    }

    /// Where clients find what listens for them at `bound`; empty where nobody can know.
    pub(crate) fn url(&self, bound: SocketAddr) -> String {
        let bound = Some(bound).filter(|bound| !bound.ip().is_unspecified());
        let default = || bound.map(|bound| format!("http://{bound}")).unwrap_or_default();
        self.public_url.clone().unwrap_or_else(default)
    }

    /// How long to wait for an engine at the start.
    pub(crate) fn with_timeout(mut self, timeout: Duration) -> Self {
        self.kafka.iter_mut().for_each(|kafka| kafka.connect_timeout = timeout);
        self.cql.iter_mut().for_each(|cql| cql.connect_within = timeout);
        self
    }
}

/// In a container every process has the same number, and every container has a host name of its own.
fn name_of_process(role: Role) -> String {
    let machine = rustix::system::uname();
    let host = machine.nodename().to_string_lossy();
    format!("{}-{host}-{}", role.name(), std::process::id())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

    use seckill_log::kafka::ClientOptions;

    use super::*;
    use crate::file;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        verb: Verb,
    }

    #[derive(Subcommand)]
    enum Verb {
        Up(Box<Given>),
    }

    /// What `seckill up` would run with, given a file and these flags.
    fn settings(text: &str, flags: &[&str]) -> anyhow::Result<Settings> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        let mut args: Vec<OsString> = ["seckill", "up", "--config"].map(OsString::from).to_vec();
        args.push(file.path().into());
        args.extend(flags.iter().map(OsString::from));
        let matches = file::matches(Cli::command(), &args)?;
        let Verb::Up(given) = Cli::from_arg_matches(&matches)?.verb;
        given.settle(Role::Up)
    }

    #[test]
    fn defaults_are_embedded_on_loopback() {
        let settings = settings("", &[]).expect("settings");
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.data, PathBuf::from("data"));
        assert!(settings.kafka.is_none() && settings.cql.is_none());
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let file = "partitions = 3\ncql = \"a:1,b:2\"\ncql_replication = 5\nlisten = \"[::1]:9\"";
        let settings = settings(file, &["--partitions", "2"]).expect("settings");
        let cql = settings.cql.expect("views in CQL");
        assert_eq!((settings.partitions, cql.replication_factor), (Some(2), 5));
        assert_eq!(cql.contact_points, ["a:1", "b:2"]);
        assert_eq!(settings.listen.to_string(), "[::1]:9");
    }

    #[test]
    fn a_wrong_value_is_named_with_what_it_may_be() {
        let cases = [
            ("partitions = 0", "must be a whole number from 1 to 4096"),
            ("partitions = 5000", "must be a whole number from 1 to 4096"),
            ("listen = \"nowhere\"", "must be HOST:PORT"),
            ("internal_listen = \"nowhere\"", "must be HOST:PORT"),
            ("kafka = \"broker\"", "must be HOST:PORT"),
            ("kafka = \"a:1,b\"", "must be HOST:PORT"),
            ("kafka_prefix = \"a b\"", "may have 1 to 200"),
            ("cql = \"a:0\"", "must be HOST:PORT"),
            ("cql_keyspace = \"Sales\"", "may have 1 to 48"),
            ("cql_replication = 99", "must be a whole number from 1 to 16"),
            ("advertise = \"ftp://x\"", "must be a URL"),
            ("public_url = \"x\"", "must be a URL"),
            ("retain = \"soon\"", "must be a time"),
            ("disk_reserve = 0", "must be a whole number from 1"),
            ("connections = 0", "must be a whole number from 1"),
            ("log_format = \"xml\"", "must be text or json"),
            ("otlp = \"https://x\"", "must be the address of a collector without TLS"),
            ("partition = 3", "unknown setting `partition`; did you mean `partitions`?"),
            ("config = \"x\"", "unknown setting `config`"),
            ("partitions = true", "must be a text or a whole number, not boolean"),
        ];
        for (text, expected) in cases {
            let error = format!("{:#}", settings(text, &[]).expect_err(text));
            assert!(error.contains(expected) && error.contains("config: "), "{text}: {error}");
            let name = text.split(' ').next().expect("a name");
            let flag = name.replace('_', "-");
            assert!(error.contains(name) || error.contains(&flag), "{text}: {error}");
        }
    }

    #[test]
    fn properties_of_librdkafka_come_from_flags_files_and_tables() {
        let more = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(more.path(), "# secrets\nclient.rack=b\nsasl.password=hunter2\n")
            .expect("a file");
        let text = "kafka = \"a:1\"\n[kafka_option]\nclient.rack = \"a\"\nsocket.keepalive.enable = true\n";
        let path = more.path().display().to_string();
        let taken = settings(text, &["--kafka-options-file", &path]).expect("settings");
        let kafka = taken.kafka.expect("a log in Kafka");
        let mut expected = ClientOptions::default();
        let all = "client.rack=a\nsocket.keepalive.enable=true\nsasl.password=hunter2";
        expected.set_all(all).expect("properties");
        assert_eq!(kafka.options, expected, "a table of the file is as flags are");
        assert!(!format!("{kafka:?}").contains("hunter2"), "{kafka:?}");

        for (flags, expected) in [
            (
                &["--kafka-option", "acks=1"][..],
                "kafka-option: acks cannot be set: what is durable",
            ),
            (&["--kafka-option", "client.rack"], "a property is NAME=VALUE"),
            (&["--kafka-options-file", "/nowhere"], "kafka-options-file: /nowhere"),
        ] {
            let error = settings("kafka = \"a:1\"", flags).expect_err(expected);
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
        std::fs::write(more.path(), "\nacks=1").expect("a file");
        let error =
            settings("kafka = \"a:1\"", &["--kafka-options-file", &path]).expect_err("acks");
        assert!(error.to_string().contains("line 2: acks cannot be set"), "{error}");
    }

    #[test]
    fn a_role_alone_says_which_engine_it_needs() {
        let error = Given::default().settle(Role::Query).expect_err("no engines").to_string();
        assert!(error.contains("--kafka"), "{error}");
    }
}
