//! Writes records into the log that do not belong there.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::{Client, StatusCode};
use seckill_log::kafka::{KafkaConfig, KafkaLog};
use seckill_log::{Delivery, Log, Stretch};
use seckill_proto::v1::Fence;
use seckill_proto::{Position, decode_record, encode_fence};
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::NAME;
use crate::fault::Writing;

/// Records of each kind that are written at once.
const RECORDS: usize = 3;
/// An operator tries again for so long. Skipping needs the broker, the owner and the database at once, each of them is away for
/// up to half a minute after a fault, and there is a fault of some kind every two seconds.
const SKIPPED_WITHIN: Duration = Duration::from_secs(180);
const TRY_EVERY: Duration = Duration::from_millis(500);
const ASK_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Stranger {
    log: KafkaLog,
    client: Client,
    /// Where an operator asks: nodes that write the views.
    projectors: Vec<String>,
}

impl Stranger {
    pub(crate) async fn come(kafka: &str, projectors: Vec<String>) -> Result<Self> {
        let config = KafkaConfig {
            client_id: "a stranger".to_owned(),
            prefix: NAME.to_owned(),
            ..KafkaConfig::new(kafka)
        };
        let log = KafkaLog::open(config).await?;
        let client = Client::builder().no_proxy().timeout(ASK_TIMEOUT).build()?;
        Ok(Self { log, client, projectors })
    }

    /// Writes into a partition. What nobody can read is skipped by an operator some time later.
    pub(crate) async fn write(
        &self,
        writing: Writing,
        lasts: Duration,
        mut random: StdRng,
    ) -> Result<()> {
        let partition = random.random_range(0..self.log.partitions());
        let records = match writing {
            Writing::Fences => (0..RECORDS).map(|_| fence(random.random())).collect(),
            // A log that cannot be read now keeps a stranger away too.
            Writing::Repeats => self.old_records(partition, &mut random).await.unwrap_or_default(),
            Writing::Garbage => (0..RECORDS).map(|_| vec![0xff; 20]).collect(),
        };
        let written = self.log.append(partition, records).deliveries().await;
        tokio::time::sleep(lasts).await;
        match writing {
            Writing::Garbage => self.skip_all(partition, &written).await,
            Writing::Fences | Writing::Repeats => Ok(()),
        }
    }

    async fn skip_all(&self, partition: u32, written: &[Delivery]) -> Result<()> {
        for delivery in written {
            if let Delivery::At(offset) = *delivery {
                self.skip(Position { partition, offset }).await?;
            }
        }
        Ok(())
    }

    /// Some that stand in a partition already.
    async fn old_records(&self, partition: u32, random: &mut StdRng) -> Result<Vec<Vec<u8>>> {
        let end = self.log.end(partition).await?;
        let from = random.random_range(0..end.max(1));
        let records = Stretch::from(&self.log, partition, from).await?.next().await?;
        // Garbage again is garbage.
        let records = records.into_iter().filter(|(_, record)| decode_record(record).is_ok());
        Ok(records.take(RECORDS).map(|(_, record)| record.to_vec()).collect())
    }

    /// As an operator does: whatever is in the way is skipped, if anybody answers.
    pub(crate) async fn tidy(&self) {
        for projector in &self.projectors {
            if self.skip_listed(projector).await.is_ok() {
                return;
            }
        }
    }

    async fn skip_listed(&self, projector: &str) -> Result<()> {
        let asked = self.client.get(format!("{projector}/v1/quarantine")).send().await?;
        let list: serde_json::Value = asked.error_for_status()?.json().await?;
        let records = list["records"].as_array().into_iter().flatten();
        for record in records.filter(|record| record["skipped"].is_null()) {
            let position = record["position"].as_str().unwrap_or_default().parse()?;
            self.ask_to_skip(projector, position).await?;
        }
        Ok(())
    }

    /// Skips a record, as an operator does, by way of any projector that answers.
    async fn skip(&self, position: Position) -> Result<()> {
        let (deadline, mut said) = (Instant::now() + SKIPPED_WITHIN, String::new());
        for projector in self.projectors.iter().cycle() {
            match self.ask_to_skip(projector, position).await {
                Ok(()) => return Ok(()),
                Err(error) => said = format!("{error:#}"),
            }
            if Instant::now() > deadline {
                break;
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
        bail!("{position} is not skipped within {SKIPPED_WITHIN:?}: {said}")
    }

    async fn ask_to_skip(&self, projector: &str, position: Position) -> Result<()> {
        let url = format!("{projector}/v1/quarantine/{position}");
        let skip = json!({"by": "the drill", "reason": "a stranger wrote it"});
        let asked = self.client.post(format!("{url}/skip")).json(&skip).send().await?;
        let status = asked.status();
        if status.is_success() {
            return Ok(());
        }
        let said = asked.text().await?;
        // It was skipped by a question whose answer was lost.
        let skipped = status == StatusCode::CONFLICT && self.is_skipped(&url).await?;
        skipped.then_some(()).with_context(|| format!("{status}: {said}"))
    }

    async fn is_skipped(&self, url: &str) -> Result<bool> {
        let record: serde_json::Value = self.client.get(url).send().await?.json().await?;
        Ok(!record["skipped"].is_null())
    }
}

fn fence(id: u8) -> Vec<u8> {
    let fence_id = vec![id; 16];
    let node = "a stranger".to_owned();
    encode_fence(Fence {
        fence_id,
        node,
        endpoint: "http://127.0.0.1:9".to_owned(),
        ..Fence::default()
    })
}
