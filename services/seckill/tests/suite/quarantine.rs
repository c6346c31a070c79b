//! Records that nobody can read, in the middle of a sale.

use std::sync::Arc;
use std::time::Duration;

use seckill_log::embedded::EmbeddedLog;
use seckill_log::kafka::{KafkaConfig, KafkaLog};
use seckill_log::{Delivery, Log};
use seckill_proto::partition_of;
use serde_json::json;

use crate::rebuild::commands;
use crate::system::crowd::RunningCrowd;
use crate::system::{Engines, System, eventually, run, text};

const PATIENCE: Duration = Duration::from_secs(60);

/// Writes what belongs to no log, as another program would by mistake. An embedded log belongs to one
/// process, so that is stopped meanwhile.
async fn write_junk(sale: &mut System, promotion: &str, junk: &[&[u8]]) -> (u32, Vec<u64>) {
    let flags = sale.flags();
    let flag = |name: &str| {
        let at = flags.iter().position(|flag| flag == name)?;
        Some(flags[at + 1].clone())
    };
    let kafka = flag("--kafka");
    let log: Arc<dyn Log> = match &kafka {
        Some(brokers) => {
            let prefix = flag("--kafka-prefix").expect("a prefix");
            let config = KafkaConfig { prefix, ..KafkaConfig::new(brokers) };
            Arc::new(KafkaLog::open(config).await.expect("a broker"))
        }
        None => {
            sale.stop();
            Arc::new(EmbeddedLog::open(&sale.data().join("log"), None).expect("a log"))
        }
    };
    let partition = partition_of(promotion, log.partitions());
    let mut offsets = Vec::new();
    for record in junk {
        match log.append(partition, vec![record.to_vec()]).deliveries().await[..] {
            [Delivery::At(offset)] => offsets.push(offset),
            ref other => panic!("{other:?}"),
        }
    }
    drop(log);
    if kafka.is_none() {
        sale.spawn();
        let url = format!("{}/healthz", sale.url());
        let answers = async || sale.client().get(&url).send().await.is_ok();
        eventually("it answers", PATIENCE, answers).await;
    }
    (partition, offsets)
}

fn quarantine(sale: &System, words: &[&str]) -> (bool, String) {
    let url = sale.url();
    let flags = words.iter().copied().chain(["--target", &url]).map(str::to_owned);
    let output = run("quarantine", &flags.collect::<Vec<_>>());
    (output.status.success(), text(&output))
}

async fn is_skipped(engines: Engines) {
    let mut sale = System::open(engines).await;
    sale.offer("elsewhere", 5).await;
    let crowd = RunningCrowd::come_at(&sale, 6_000, 400).await;
    let promotion = crowd.promotion();
    crowd.more(100, PATIENCE).await;
    let junk: [&[u8]; 3] = [b"{\"to\": \"another topic\"}", b"", b"hello"];
    let (partition, offsets) = write_junk(&mut sale, &promotion, &junk).await;
    let at = |offset: &u64| format!("{partition}:{offset}");
    eventually("the views stop there", PATIENCE, async || {
        let list = sale.get("/v1/quarantine").await;
        list.status == 200 && list.json["unreadable"] == 3
    })
    .await;

    // The others go on, and this one says why it does not.
    let progress = sale.get("/v1/progress").await.json;
    let partitions = progress.as_array().expect("partitions");
    let stopped = partitions.iter().filter(|reached| !reached["stopped"].is_null());
    assert_eq!(stopped.count(), 1, "{progress}");
    let partitions = u32::try_from(partitions.len()).expect("few");
    if partition_of("elsewhere", partitions) != partition {
        assert_eq!(sale.grab("elsewhere", "ann").await.status, 201);
    }
    let (clear, said) = quarantine(&sale, &["list"]);
    assert!(!clear && said.contains(&at(&offsets[0])), "{said}");
    let (shown, said) = quarantine(&sale, &["show", &at(&offsets[0])]);
    assert!(shown && said.contains("another topic"), "{said}");
    let skip = ["--reason", "of another topic", "--by", "ann"];
    for (record, reason) in [
        (at(&(offsets[0] - 1)), "can be read"),
        (at(&9_999_999), "no record at"),
        ("99:0".to_owned(), "no record at"),
        ("nonsense".to_owned(), "PARTITION:OFFSET"),
    ] {
        let words: Vec<_> = ["skip", &record].into_iter().chain(skip).collect();
        let (done, said) = quarantine(&sale, &words);
        assert!(!done && said.contains(reason), "{record}: {said}");
    }
    let path = format!("/v1/quarantine/{}/skip", at(&offsets[0]));
    for wrong in [
        json!({"by": "", "reason": "x"}),
        json!({"by": "ann", "reason": " "}),
        json!({"by": "ann"}),
        json!({"by": "ann", "reason": "x", "through": 0}),
    ] {
        assert_eq!(sale.post(&path, wrong.clone()).await.status, 400, "{wrong}");
    }
    assert_eq!(sale.get("/v1/quarantine").await.json["skipped"], 0);

    // As the document tells it.
    let here = |word: &String| match word.as_str() {
        "3:1042" => at(&offsets[0]),
        "3:1043" => at(&offsets[1]),
        "3:1050" => at(&offsets[2]),
        "1050" => offsets[2].to_string(),
        other => other.to_owned(),
    };
    let commands = commands("docs/quarantine.md");
    assert!(commands.len() > 4, "{commands:?}");
    for command in commands {
        let words: Vec<String> = command[1..].iter().map(here).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (done, said) = quarantine(&sale, &words);
        assert_eq!(done, words[0] != "list", "{words:?}: {said}");
    }
    let first = at(&offsets[0]);
    let words: Vec<_> = ["skip", &first].into_iter().chain(skip).collect();
    let (done, said) = quarantine(&sale, &words);
    assert!(!done && said.contains("skipped already, by ann"), "{said}");
    let (clear, said) = quarantine(&sale, &["list"]);
    assert!(clear && said.contains("3  skipped"), "{said}");

    crowd.sold_out().await;
    sale.stop();
    let verified = sale.verify();
    let said = text(&verified);
    assert!(verified.status.success(), "{said}");
    assert!(said.contains("3  skipped records") && said.contains("skipped by ann"), "{said}");
    assert_moves(&sale);
}

/// What was skipped stays so in a copy of the log.
fn assert_moves(sale: &System) {
    let file = sale.data().with_file_name("log.export").display().to_string();
    let mut from = vec![file.clone()];
    from.extend(sale.flags());
    if let Some(cql) = from.iter().position(|flag| flag == "--cql") {
        from.truncate(cql);
    }
    let exported = run("export", &from);
    assert!(exported.status.success(), "{}", text(&exported));
    let other = System::closed(Engines::Embedded);
    let imported = run("import", &[vec![file], other.flags()].concat());
    assert!(imported.status.success(), "{}", text(&imported));
    let events =
        |flags: Vec<String>| String::from_utf8(run("replay", &flags).stdout).expect("text");
    assert_eq!(events(other.flags()), events(from.split_off(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_record_stops_its_partition_until_it_is_skipped() {
    is_skipped(Engines::Embedded).await;
}

#[cfg(feature = "real-engines")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_record_in_kafka_stops_its_partition_until_it_is_skipped() {
    is_skipped(Engines::real()).await;
}
