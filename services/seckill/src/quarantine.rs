//! `seckill quarantine`: records that nobody can read, and what to do about them. It asks a running node.

use std::io::Write;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use reqwest::Method;
use seckill_projector::{NewSkip, QuarantineList, Quarantined, Reached};
use seckill_proto::Position;
use tokio::time::Instant;

use crate::node::{Node, TargetArgs};

/// Prints a line; whoever reads may have left.
macro_rules! say {
    ($($words:tt)*) => {
        let _ = writeln!(std::io::stdout(), $($words)*);
    };
}

const LOOK_EVERY: Duration = Duration::from_millis(200);
const SKIPPED_WITHIN: Duration = Duration::from_secs(600);
/// Projectors try again every two seconds, owners every five.
const RETRIED_WITHIN: Duration = Duration::from_secs(15);

/// Records that cannot be read: each stops the sales and the views of its partition, until a program reads
/// it or an operator has it skipped. Exit code 0 when nothing is in the way
#[derive(Args)]
pub(crate) struct QuarantineArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Subcommand)]
enum Verb {
    /// List what is in the way, and what was skipped
    List,
    /// Show a record, with its first bytes
    Show(RecordArgs),
    /// Wait until the record has been read or passed over, for 15 s at most
    Retry(RecordArgs),
    /// Have every reader pass over a record, for ever. That is written into the log. Refused where somebody
    /// has read the record, or where what follows rests on it
    Skip(SkipArgs),
}

#[derive(Args)]
struct RecordArgs {
    /// Where the record is, such as 3:1042
    #[arg(value_name = "POSITION")]
    position: Position,
}

#[derive(Args)]
struct SkipArgs {
    #[command(flatten)]
    record: RecordArgs,
    /// Why; kept in the log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who says so; kept in the log
    #[arg(long, value_name = "NAME", env = "USER", default_value = "an operator")]
    by: String,
    /// Also all others of the partition that cannot be read, up to this offset
    #[arg(long, value_name = "OFFSET")]
    through: Option<u64>,
}

/// Whether nothing is in the way.
pub(crate) async fn run(args: QuarantineArgs) -> anyhow::Result<bool> {
    let node = Node::new(&args.target)?;
    match args.verb {
        Verb::List => list(&node).await,
        Verb::Show(record) => show(&node, record.position).await.map(|()| true),
        Verb::Retry(record) => retry(&node, record.position).await,
        Verb::Skip(args) => skip(&node, args).await.map(|()| true),
    }
}

async fn list(node: &Node) -> anyhow::Result<bool> {
    let list: QuarantineList = node.ask(node.request(Method::GET, "/v1/quarantine")).await?;
    list.records.iter().for_each(print);
    for last in &list.last_unreadable {
        say!("LAST: {last} is the last one of its partition that cannot be read");
    }
    let listed = |skipped: bool| {
        list.records.iter().filter(|record| record.skipped.is_some() == skipped).count() as u64
    };
    if listed(false) < list.unreadable || listed(true) < list.skipped {
        say!("Not all are listed: of each partition 100 of either kind.");
    }
    say!("{:>12}  cannot be read", list.unreadable);
    say!("{:>12}  skipped", list.skipped);
    Ok(list.unreadable == 0)
}

fn print(record: &Quarantined) {
    let position = &record.position;
    if let Some(skipped) = &record.skipped {
        let (by, at, reason) = (&skipped.by, &skipped.at, &skipped.reason);
        say!("SKIPPED: {position} by {by} at {at}: {reason}");
    } else if let Some(why) = &record.why {
        say!("UNREADABLE: {position}, {} bytes: {why}", record.bytes.unwrap_or_default());
    } else {
        say!("{position}, {} bytes: it can be read", record.bytes.unwrap_or_default());
    }
}

async fn get(node: &Node, position: Position) -> anyhow::Result<Quarantined> {
    node.ask(node.request(Method::GET, &format!("/v1/quarantine/{position}"))).await
}

async fn show(node: &Node, position: Position) -> anyhow::Result<()> {
    let record = get(node, position).await?;
    print(&record);
    if let Some(content) = &record.content {
        say!("hex:  {}", content.hex);
        say!("text: {:?}", content.text);
    }
    Ok(())
}

async fn retry(node: &Node, position: Position) -> anyhow::Result<bool> {
    let record = get(node, position).await?; // says so where there is none
    let deadline = Instant::now() + RETRIED_WITHIN;
    loop {
        let reached: Vec<Reached> = node.ask(node.request(Method::GET, "/v1/progress")).await?;
        let partition = reached.iter().find(|reached| reached.partition == position.partition);
        let Some(partition) = partition else { bail!("there is no such partition") };
        let passed = partition.next_offset > position.offset;
        if passed && sells(node, position.partition).await? {
            say!("{position} is passed: the views have all before {}", partition.next_offset);
            return Ok(true);
        }
        if Instant::now() > deadline {
            print(&record);
            let still = || format!("the views are at offset {}", partition.next_offset);
            say!("Not passed: {}", partition.stopped.clone().unwrap_or_else(still));
            return Ok(false);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether no owner on this node stands still there.
async fn sells(node: &Node, partition: u32) -> anyhow::Result<bool> {
    let answer = node.request(Method::GET, "/readyz").send().await?.text().await?;
    Ok(!answer.contains(&format!("\"command/partition/{partition}\"")))
}

async fn skip(
    node: &Node,
    SkipArgs { record, reason, by, through }: SkipArgs,
) -> anyhow::Result<()> {
    let path = format!("/v1/quarantine/{}/skip", record.position);
    let asked = NewSkip { by, reason, through };
    // The partition is folded once for it.
    let request = node.request(Method::POST, &path).json(&asked).timeout(SKIPPED_WITHIN);
    let skipped: Vec<Quarantined> = node.ask(request).await?;
    skipped.iter().for_each(print);
    say!("{:>12}  skipped; readers go on within some seconds", skipped.len());
    Ok(())
}
