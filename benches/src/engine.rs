//! The log that is measured on.

use std::sync::Arc;
use std::time::Duration;

use seckill_log::Log;

use crate::args::GrabsArgs;
use crate::embedded::{BurstRival, EmbeddedEngine};
use crate::kafka::{KafkaEngine, ProducerRival};
use crate::lap::Tally;
use crate::record::Record;

pub(crate) enum Engine {
    Kafka(KafkaEngine),
    Embedded(EmbeddedEngine),
}

/// The engine without the system.
pub(crate) enum Rival {
    Producer(ProducerRival),
    Bursts(BurstRival),
}

impl Engine {
    pub(crate) fn chosen(args: &GrabsArgs, run: &str) -> anyhow::Result<Self> {
        Ok(match &args.kafka {
            Some(brokers) => Self::Kafka(KafkaEngine::new(brokers, run, args.partitions)),
            None => Self::Embedded(EmbeddedEngine::new(&args.data, args.partitions)?),
        })
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Kafka(kafka) => kafka.describe(),
            Self::Embedded(embedded) => embedded.describe(),
        }
    }

    pub(crate) async fn log(&self) -> anyhow::Result<Arc<dyn Log>> {
        match self {
            Self::Kafka(kafka) => kafka.log().await,
            Self::Embedded(embedded) => embedded.log().await,
        }
    }

    /// Rivals that each keep so many of these records under way.
    pub(crate) async fn rivals(
        &self,
        args: &GrabsArgs,
        records: Arc<Vec<Record>>,
    ) -> anyhow::Result<Vec<Rival>> {
        match self {
            Self::Kafka(kafka) => {
                let rivals = kafka.rivals(&args.linger_ms, args.clients, records).await?;
                Ok(rivals.into_iter().map(Rival::Producer).collect())
            }
            Self::Embedded(embedded) => {
                Ok(vec![Rival::Bursts(embedded.rival(args.clients, &records).await?)])
            }
        }
    }

    /// Deletes what was made.
    pub(crate) async fn clean_up(self) -> anyhow::Result<()> {
        match self {
            Self::Kafka(kafka) => kafka.clean_up().await,
            Self::Embedded(embedded) => embedded.clean_up(),
        }
    }
}

impl Rival {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Producer(producer) => producer.name(),
            Self::Bursts(bursts) => bursts.name(),
        }
    }

    pub(crate) async fn lap(&self, length: Duration) -> anyhow::Result<Tally> {
        match self {
            Self::Producer(producer) => producer.lap(length).await,
            Self::Bursts(bursts) => bursts.lap(length).await,
        }
    }
}
