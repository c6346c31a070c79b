//! Properties of librdkafka that an operator sets, such as those for TLS and passwords. Those that the protocol rests on, and
//! those that this program sets itself, are refused. A value may be a secret: nothing here prints one that may be.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

/// Why properties are not to be set, and which.
const REFUSED: [(&str, &[&str]); 5] = [
    ("another setting says it", &["bootstrap.servers", "metadata.broker.list", "client.id"]),
    (
        "what is durable, and in which order it was written, rests on it",
        &[
            "acks",
            "request.required.acks",
            "enable.idempotence",
            "enable.gapless.guarantee",
            "max.in.flight",
            "max.in.flight.requests.per.connection",
            "retries",
            "message.send.max.retries",
            "transactional.id",
            "transaction.timeout.ms",
            "message.timeout.ms",
            "delivery.timeout.ms",
            "request.timeout.ms",
            "partitioner",
        ],
    ),
    (
        "what is read, and from where, rests on it",
        &[
            "enable.auto.commit",
            "auto.commit.enable",
            "auto.commit.interval.ms",
            "enable.auto.offset.store",
            "auto.offset.reset",
            "enable.partition.eof",
            "isolation.level",
            "check.crcs",
            "allow.auto.create.topics",
        ],
    ),
    (
        "which process looks after which partition rests on it",
        &[
            "group.id",
            "group.instance.id",
            "group.protocol",
            "group.protocol.type",
            "group.remote.assignor",
            "partition.assignment.strategy",
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "max.poll.interval.ms",
            "coordinator.query.interval.ms",
        ],
    ),
    (
        "this program sets it to what it was measured with",
        &[
            "linger.ms",
            "queue.buffering.max.ms",
            "queue.buffering.max.messages",
            "queued.max.messages.kbytes",
            "fetch.wait.max.ms",
            "fetch.queue.backoff.ms",
            "fetch.error.backoff.ms",
            "statistics.interval.ms",
        ],
    ),
];

/// Parts of names whose values may be secrets.
const SECRET: [&str; 5] = ["password", "secret", "username", ".pem", "oauthbearer.config"];

/// Properties by their names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClientOptions(BTreeMap<String, String>);

/// Why a property is not taken. Never holds a value that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// There is no sign between name and value.
    #[error("a property is NAME=VALUE, such as security.protocol=SSL")]
    NoValue,
    /// It is not to be set.
    #[error("{name} cannot be set: {reason}")]
    Refused {
        /// Of the property.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// It does not exist, or has no such value.
    #[error("{name}: {reason}")]
    Invalid {
        /// Of the property.
        name: String,
        /// What librdkafka says.
        reason: String,
    },
}

impl ClientOptions {
    /// Sets a property, as NAME=VALUE.
    ///
    /// # Errors
    /// It is none, or not to be set.
    pub fn set(&mut self, text: &str) -> Result<(), OptionError> {
        let (name, value) = text.split_once('=').ok_or(OptionError::NoValue)?;
        let (name, value) = (name.trim(), value.trim());
        let refused = REFUSED.iter().find(|(_, names)| names.contains(&name));
        if let Some((reason, _)) = refused {
            return Err(OptionError::Refused { name: name.to_owned(), reason });
        }
        known(name, value)?;
        self.0.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Sets the properties of a text with one on each line; empty lines and those that begin with # say nothing.
    ///
    /// # Errors
    /// As [`ClientOptions::set`], with the number of the line.
    pub fn set_all(&mut self, text: &str) -> Result<(), (usize, OptionError)> {
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                self.set(line).map_err(|error| (number, error))?;
            }
        }
        Ok(())
    }

    pub(super) fn give_to(&self, client: &mut ClientConfig) {
        for (name, value) in &self.0 {
            client.set(name, value);
        }
    }
}

/// Whether librdkafka has such a property, and takes this value.
fn known(name: &str, value: &str) -> Result<(), OptionError> {
    let Err(error) = ClientConfig::new().set(name, value).create_native_config() else {
        return Ok(());
    };
    let reason = match error {
        KafkaError::ClientConfig(..) if SECRET.iter().any(|part| name.contains(part)) => {
            "librdkafka does not take its value".to_owned()
        }
        KafkaError::ClientConfig(_, said, ..) => said,
        other => other.to_string(),
    };
    Err(OptionError::Invalid { name: name.to_owned(), reason })
}

/// Names without values.
impl fmt::Debug for ClientOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Result<ClientOptions, OptionError> {
        let mut options = ClientOptions::default();
        options.set(text).map(|()| options)
    }

    #[test]
    fn what_an_operator_sets_is_given_to_each_client() {
        let mut options = ClientOptions::default();
        let text = "# for the firewall\nsocket.keepalive.enable = true\n\nclient.rack=r1\n";
        assert_eq!(options.set_all(text), Ok(()));
        assert_eq!(options.set("client.rack=r2=3"), Ok(()));
        let mut client = ClientConfig::new();
        options.give_to(&mut client);
        assert_eq!(client.get("socket.keepalive.enable"), Some("true"));
        assert_eq!(client.get("client.rack"), Some("r2=3"));
    }

    #[test]
    fn what_the_protocol_rests_on_is_refused_with_the_reason() {
        for (reason, names) in REFUSED {
            for name in names {
                let error = set(&format!("{name}=1")).expect_err(name).to_string();
                assert!(error.contains(name) && error.contains(reason), "{error}");
            }
        }
        let mut options = ClientOptions::default();
        let (line, error) = options.set_all("client.rack=a\nacks=1").expect_err("refused");
        assert!(line == 2 && error.to_string().starts_with("acks cannot be set"), "{error}");
    }

    /// A name that librdkafka does not know would be refused in vain.
    #[test]
    fn all_that_is_refused_exists() {
        for name in REFUSED.iter().flat_map(|(_, names)| *names) {
            let unknown =
                known(name, "?").is_err_and(|error| error.to_string().contains("No such"));
            assert!(!unknown, "{name}");
        }
    }

    #[test]
    fn what_does_not_exist_or_has_no_such_value_is_told() {
        assert_eq!(set("client.rack"), Err(OptionError::NoValue));
        let error = set("security.protokol=SSL").expect_err("a typo").to_string();
        assert!(error.contains("No such configuration property"), "{error}");
        let error = set("security.protocol=SLS").expect_err("a typo").to_string();
        assert!(error.contains("Invalid value"), "{error}");
    }

    #[test]
    fn a_secret_is_never_told() {
        let options = set("sasl.password=hunter2").expect("it is taken");
        assert_eq!(format!("{options:?}"), "{\"sasl.password\"}");
        for text in ["ssl.key.password.x=hunter2", "sasl.oauthbearer.method.secret=hunter2"] {
            let error = set(text).expect_err(text);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
