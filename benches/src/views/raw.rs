//! Every record of the log, and nothing done with it.

use std::time::Duration;

use anyhow::{Context, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use seckill_log::Log;

use crate::kafka::KafkaEngine;

const STALLED: Duration = Duration::from_secs(20);

/// By a consumer of Kafka as anybody would write it.
pub(super) async fn consume(kafka: &KafkaEngine, records: u64) -> anyhow::Result<()> {
    let (brokers, topic) = (kafka.brokers().to_owned(), kafka.events_topic());
    let partitions = super::PARTITIONS;
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("group.id", "seckill-bench-raw")
            .set("enable.auto.commit", "false")
            .create()?;
        let mut all = TopicPartitionList::new();
        for partition in 0..i32::try_from(partitions)? {
            all.add_partition_offset(&topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&all)?;
        for number in 0..records {
            let record = consumer.poll(STALLED);
            record.with_context(|| format!("{number} of {records} records came"))??;
        }
        Ok(())
    })
    .await?
}

/// From the embedded log, as it gives them.
pub(super) async fn read(log: &dyn Log) -> anyhow::Result<()> {
    for partition in 0..log.partitions() {
        let (end, mut next) = (log.end(partition).await?, 0);
        let mut reader = log.read(partition, 0).await?;
        while next < end {
            let records = reader.next(STALLED).await?;
            ensure!(!records.is_empty(), "partition {partition} ends at {next}, before {end}");
            next = records.last().map_or(next, |(offset, _)| offset + 1);
        }
    }
    Ok(())
}
