//! What all clients share: settings, and how to know one that is lost.
//!
//! A cluster whose brokers have all stood still for too long answers for a moment that it has
//! none. librdkafka then forgets every broker, the ones of its settings too, and never asks again
//! (its issue 5301, up to 2.13 at least): the client says "all brokers are down" for ever. So
//! whoever holds a client that has said so sees whether it still [`reaches`] the cluster, and
//! makes another where it does not.

use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use crate::LogError;
use crate::kafka::{ASK_TIMEOUT, KafkaConfig};

/// Reconnects soon: librdkafka would wait up to 10 s after a broker's restart.
pub(super) fn base(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", &config.client_id)
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("retry.backoff.ms", "50")
        .set("retry.backoff.max.ms", "500")
        .set("socket.nagle.disable", "true")
        .set("socket.timeout.ms", "10000")
        .set("broker.address.family", "any");
    config.options.give_to(&mut client);
    client
}

/// Of a consumer that reads one partition from an offset and belongs to no group: the name is asked
/// for and never used, because nothing is committed.
pub(super) fn partition_consumer(config: &KafkaConfig) -> ClientConfig {
    let mut client = base(config);
    client
        .set("group.id", format!("{}.unused", config.prefix))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        // 1 s by default: a reader that was full would stand still for as long.
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.error.backoff.ms", "50")
        .set("fetch.wait.max.ms", "200")
        .set("queued.max.messages.kbytes", "16384");
    client
}

/// Has a consumer read a partition from an offset.
pub(super) fn assign(
    consumer: &BaseConsumer,
    topic: &str,
    partition: u32,
    from: i64,
) -> Result<(), LogError> {
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, partition_number(partition), Offset::Offset(from))
        .and_then(|()| consumer.assign(&assignment))
        .map_err(|error| unavailable(&error))
}

pub(super) fn is_out_of_range(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
    )
}

/// Whether a client gets an answer, and the answer names brokers.
pub(super) fn reaches<C: ClientContext>(client: &Client<C>, topic: &str, wait: Duration) -> bool {
    client.fetch_metadata(Some(topic), wait).is_ok_and(|metadata| !metadata.brokers().is_empty())
}

/// The first offset that a partition has, and its end.
///
/// A client that neither reads nor writes a topic asks only every five minutes who leads it. Until then it says
/// "unknown partition" where the leader that it knows of has left the cluster. So it is made to ask again where it
/// fails.
pub(super) fn watermarks<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partition: i32,
) -> Result<(i64, i64), LogError> {
    client.fetch_watermarks(topic, partition, ASK_TIMEOUT).map_err(|error| {
        if knows_no_leader(&error) {
            reaches(client, topic, ASK_TIMEOUT);
        }
        unavailable(&error)
    })
}

fn knows_no_leader(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
        )
    )
}

/// Whether this may be the last that is heard of a client.
pub(super) fn may_be_lost(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown)
}

pub(super) fn unavailable(error: &KafkaError) -> LogError {
    LogError::Unavailable(error.to_string())
}

/// Kafka counts partitions and offsets in signed numbers.
pub(super) fn partition_number(partition: u32) -> i32 {
    i32::try_from(partition).expect("Kafka made the partition, so its number fits")
}

pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => result,
        Err(panic) => Err(LogError::Broken(panic.to_string())),
    }
}
