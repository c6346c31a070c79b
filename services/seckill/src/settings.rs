//! Settings: what is given, checked, with the defaults.

use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use seckill_log::kafka::KafkaConfig;
use seckill_proto::DEFAULT_PREFIX;
use seckill_telemetry::LogFormat;
use seckill_views::CqlConfig;

use crate::given::{CONNECTIONS, Given, PARTITIONS, REPLICAS, RESERVE_MB};

const DEFAULT_RESERVE_MB: u32 = 128;
const DEFAULT_RETAIN: Duration = Duration::from_secs(60 * 60);

/// What this system does, and of the engines only what needs somebody.
const QUIET_LIBRARIES: &str = "info,fjall=warn,lsm_tree=warn,scylla=warn,rdkafka=error";

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
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Up | Self::Verify | Self::Repair | Self::Upgrade => 8080,
            Self::Admin => 8081,
            Self::Command => 8082,
            Self::Query => 8083,
            Self::Projector => 8084,
        }
    }

    /// A role alone shares the engines with others, which the embedded ones cannot.
    fn needs(self) -> (bool, bool) {
        match self {
            Self::Up | Self::Verify | Self::Repair | Self::Upgrade => (false, false),
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
    /// In bytes.
    pub(crate) disk_reserve: u64,
    pub(crate) partitions: Option<u32>,
    pub(crate) kafka: Option<KafkaConfig>,
    pub(crate) cql: Option<CqlConfig>,
    pub(crate) advertise: Option<String>,
    pub(crate) name: String,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
}

impl Given {
    /// Adds the file and the defaults, and checks every value.
    pub(crate) fn settle(self, role: Role) -> anyhow::Result<Settings> {
        let given = self.over_file()?;
        let (needs_kafka, needs_cql) = role.needs();
        let name = role.name();
        if needs_kafka && given.kafka.kafka.is_none() {
            bail!("kafka is not set: `seckill {name}` alone needs --kafka HOST:PORT");
        }
        if needs_cql && given.cql.cql.is_none() {
            bail!("cql is not set: `seckill {name}` alone needs --cql HOST:PORT");
        }
        given.checked(role)
    }

    fn checked(self, role: Role) -> anyhow::Result<Settings> {
        in_range("partitions", self.new_log.partitions, &PARTITIONS)?;
        in_range("connections", self.serve.connections, &CONNECTIONS)?;
        in_range("disk_reserve", self.disk.disk_reserve, &RESERVE_MB)?;
        in_range("kafka_replication", self.new_log.kafka_replication, &REPLICAS)?;
        in_range("cql_replication", self.new_views.cql_replication, &REPLICAS)?;
        let default_listen = format!("127.0.0.1:{}", role.default_port());
        let default_name = format!("{}-{}", role.name(), std::process::id());
        Ok(Settings {
            listen: address("listen", self.serve.listen.as_deref().unwrap_or(&default_listen))?,
            internal_listen: self.internal_listen()?,
            kafka: self.kafka_config()?,
            cql: self.cql_config()?,
            connections: self.serve.connections,
            retain: retain(self.decide.retain.as_deref())?,
            disk_reserve: u64::from(self.disk.disk_reserve.unwrap_or(DEFAULT_RESERVE_MB)) << 20,
            partitions: self.new_log.partitions,
            advertise: self.decide.advertise.map(base_url).transpose()?,
            data: self.data.data.unwrap_or_else(|| "data".into()),
            name: self.decide.name.unwrap_or(default_name),
            log: self.serve.log.unwrap_or_else(|| QUIET_LIBRARIES.into()),
            log_format: log_format(self.serve.log_format.as_deref())?,
        })
    }

    /// None where there are no other nodes, unless it is asked for.
    fn internal_listen(&self) -> anyhow::Result<Option<SocketAddr>> {
        let given = self.decide.internal_listen.as_deref();
        let default = self.kafka.kafka.is_some().then_some("127.0.0.1:0");
        given.or(default).map(|text| address("internal_listen", text)).transpose()
    }

    fn kafka_config(&self) -> anyhow::Result<Option<KafkaConfig>> {
        let Some(brokers) = &self.kafka.kafka else { return Ok(None) };
        host_ports("kafka", brokers)?;
        let prefix = self.kafka.kafka_prefix.as_deref().unwrap_or(DEFAULT_PREFIX);
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if prefix.is_empty() || prefix.len() > 200 || !prefix.chars().all(allowed) {
            bail!(
                "kafka_prefix may have 1 to 200 letters, digits, '.', '_' and '-', not {prefix:?}"
            );
        }
        Ok(Some(KafkaConfig {
            prefix: prefix.to_owned(),
            partitions: self.new_log.partitions,
            replication: self
                .new_log
                .kafka_replication
                .and_then(|replicas| u16::try_from(replicas).ok()),
            ..KafkaConfig::new(brokers)
        }))
    }

    fn cql_config(&self) -> anyhow::Result<Option<CqlConfig>> {
        let Some(nodes) = &self.cql.cql else { return Ok(None) };
        let keyspace = self.cql.cql_keyspace.clone().unwrap_or_else(|| "seckill".into());
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let starts_right = keyspace.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts_right || keyspace.len() > 48 || !keyspace.chars().all(allowed) {
            bail!(
                "cql_keyspace may have 1 to 48 lower-case letters, digits and '_' and starts with \
                 a letter, not {keyspace:?}"
            );
        }
        Ok(Some(CqlConfig {
            contact_points: host_ports("cql", nodes)?,
            keyspace,
            replication_factor: self.new_views.cql_replication.unwrap_or(1),
            ..CqlConfig::default()
        }))
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

    /// How long to wait for an engine at the start.
    pub(crate) fn with_timeout(mut self, timeout: Duration) -> Self {
        self.kafka.iter_mut().for_each(|kafka| kafka.connect_timeout = timeout);
        self.cql.iter_mut().for_each(|cql| cql.connect_within = timeout);
        self
    }
}

fn in_range(name: &str, value: Option<u32>, range: &RangeInclusive<u32>) -> anyhow::Result<()> {
    match value {
        Some(value) if !range.contains(&value) => {
            bail!("{name} must be from {} to {}, not {value}", range.start(), range.end())
        }
        Some(_) | None => Ok(()),
    }
}

fn address(name: &str, text: &str) -> anyhow::Result<SocketAddr> {
    let wrong = || format!("{name} must be HOST:PORT, such as 127.0.0.1:8080, not {text:?}");
    let mut addresses = text.to_socket_addrs().with_context(wrong)?;
    addresses.next().with_context(wrong)
}

fn host_ports(name: &str, text: &str) -> anyhow::Result<Vec<String>> {
    let is_host_port = |part: &str| match part.rsplit_once(':') {
        Some((host, port)) => !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0),
        None => false,
    };
    let parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
    if let Some(wrong) = parts.iter().find(|part| !is_host_port(part)) {
        bail!("{name} must be HOST:PORT[,HOST:PORT...], not {wrong:?}");
    }
    Ok(parts)
}

fn base_url(text: String) -> anyhow::Result<String> {
    match reqwest::Url::parse(&text) {
        Ok(url) if url.scheme() == "http" && url.has_host() => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        Ok(_) | Err(_) => bail!("advertise must be a URL such as http://node-1:8082, not {text:?}"),
    }
}

fn retain(text: Option<&str>) -> anyhow::Result<Duration> {
    let Some(text) = text else { return Ok(DEFAULT_RETAIN) };
    let duration = text.parse::<jiff::SignedDuration>().ok();
    let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
    duration.with_context(|| format!("retain must be a time such as 90s or 2h, not {text:?}"))
}

fn log_format(text: Option<&str>) -> anyhow::Result<LogFormat> {
    match text {
        None | Some("text") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        Some(other) => bail!("log_format must be text or json, not {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_toml(text: &str) -> anyhow::Result<Settings> {
        Given::from_toml(text)?.settle(Role::Up)
    }

    #[test]
    fn defaults_are_embedded_on_loopback() {
        let settings = from_toml("").expect("settings");
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.data, PathBuf::from("data"));
        assert!(settings.kafka.is_none() && settings.cql.is_none());
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let flag = Given::from_toml("partitions = 2").expect("settings");
        let file = Given::from_toml("partitions = 3\ncql_replication = 5").expect("settings");
        let both = flag.or(file);
        let settled = (both.new_log.partitions, both.new_views.cql_replication);
        assert_eq!(settled, (Some(2), Some(5)));
    }

    #[test]
    fn a_wrong_value_is_named_with_what_it_may_be() {
        let cases = [
            ("partitions = 0", "partitions must be from 1 to 4096"),
            ("partitions = 5000", "partitions must be from 1 to 4096"),
            ("listen = \"nowhere\"", "listen must be HOST:PORT"),
            ("internal_listen = \"nowhere\"", "internal_listen must be HOST:PORT"),
            ("kafka = \"broker\"", "kafka must be HOST:PORT"),
            ("kafka = \"a:1,b\"", "kafka must be HOST:PORT"),
            ("kafka = \"a:1\"\nkafka_prefix = \"a b\"", "kafka_prefix may have"),
            ("cql = \"a:0\"", "cql must be HOST:PORT"),
            ("cql = \"a:1\"\ncql_keyspace = \"Sales\"", "cql_keyspace may have"),
            ("cql_replication = 99", "cql_replication must be from 1 to 16"),
            ("advertise = \"ftp://x\"", "advertise must be a URL"),
            ("retain = \"soon\"", "retain must be a time"),
            ("disk_reserve = 0", "disk_reserve must be from 1"),
            ("connections = 0", "connections must be from 1"),
            ("log_format = \"xml\"", "log_format must be text or json"),
            ("partition = 3", "unknown setting `partition`; did you mean `partitions`?"),
            ("config = \"x\"", "unknown setting `config`"),
            ("partitions = \"3\"", "partitions"),
        ];
        for (text, expected) in cases {
            let error = format!("{:#}", from_toml(text).expect_err(text));
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_role_alone_says_which_engine_it_needs() {
        let error = Given::default().settle(Role::Query).expect_err("no engines").to_string();
        assert!(error.contains("--kafka"), "{error}");
    }
}
