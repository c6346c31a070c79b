//! `seckill repair`: what a log has lost, and an operator's word to go on without it.
//!
//! Without a flag it only shows. With `--accept-loss` the log is cut at its damage where there is
//! any, the loss is written into the log as part of a fence, what proved it is put aside, and the
//! views are made again. What the views knew of the lost part is shown first: those coupons were
//! given, and whoever holds one was told so.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use seckill_command::{Clock, forget_proof, known_of, newest_snapshot};
use seckill_feed::{accept_feed_loss, lost_of_feed};
use seckill_log::embedded::{Cut, EmbeddedLog};
use seckill_log::{
    Contradiction, Delivery, Fold, Folded, Log, LogError, Stretch, Witness, contradiction,
    fold_from,
};
use seckill_promotion::Book;
use seckill_proto::v1::{AcceptedLoss, Checkpoint, Fence};
use seckill_proto::{CouponId, encode_fence};
use seckill_telemetry::{say, start_tracing};
use seckill_views::{CouponRow, CouponsByPromotion, Scanned, Views};

use crate::engines;
use crate::given::{EnginesArgs, Given};
use crate::settings::{Role, Settings};

/// How long an engine may take to answer.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(10);
/// Lost coupons shown.
const SHOWN: usize = 100;
/// A log further ahead than this has seen a clock that was wrong, in milliseconds.
const AHEAD_MS: i64 = 60_000;

/// Show what the log has lost; with a flag, go on without it
#[derive(Args)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    engines: EnginesArgs,
    /// Go on without the lost records: writes so into the log, and makes the views again. Coupons
    /// that were given in the lost part may then be given a second time. Stop all other processes
    /// of this installation first, and start them afterwards
    #[arg(long)]
    accept_loss: bool,
    /// Let the time of a partition go on from now, where a clock that was wrong has put it ahead
    #[arg(long)]
    reset_clock: bool,
}

/// Whether there is nothing left to repair.
pub(crate) async fn run(args: RepairArgs) -> anyhow::Result<bool> {
    let settings = Given::from(args.engines).settle(Role::Repair)?.with_timeout(ENGINE_TIMEOUT);
    start_tracing("warn", settings.log_format)?;
    let cuts = match settings.kafka {
        Some(_) => Some(Vec::new()),
        None => settle_files(&settings.data.join("log"), args.accept_loss).await?,
    };
    let feed_cuts = match feed_of(&settings) {
        Some(feed) => settle_files(&feed, args.accept_loss).await?,
        None => Some(Vec::new()),
    };
    let Some((cuts, _)) = cuts.zip(feed_cuts) else {
        let left = EmbeddedLog::open_what_is_left(&settings.data.join("log"))?;
        lost(&left, &settings).await?;
        say!(
            "Nothing was changed. `--accept-loss` cuts the log there and goes on without the rest.",
        );
        return Ok(false);
    };
    let changes = args.accept_loss || args.reset_clock;
    let log = match changes {
        true => engines::log(&settings).await?,
        false => engines::log_to_read(&settings).await?,
    };
    let lost = lost(&*log, &settings).await?;
    if !settle_loss(&log, &settings, &lost, &cuts, args.accept_loss).await? {
        say!("Nothing was changed. `--accept-loss` goes on without the lost records.");
        return Ok(false); // nothing else is written to a log that has lost records
    }
    if !settle_loss_of_feed(&*log, args.accept_loss).await? {
        say!("Nothing was changed. `--accept-loss` feeds again what is missing.");
        return Ok(false);
    }
    let timely = settle_clock(&*log, args.reset_clock).await?;
    if timely {
        say!("The log is whole.");
    }
    Ok(timely)
}

/// The folder of the feed of an embedded log.
fn feed_of(settings: &Settings) -> Option<PathBuf> {
    let embedded = settings.kafka.is_none();
    embedded.then(|| EmbeddedLog::feed_folder(&settings.data.join("log"))).flatten()
}

/// Shows damaged files of the embedded log, and cuts them where that was asked for. What was cut; none
/// where the log cannot be opened.
async fn settle_files(directory: &Path, accept: bool) -> anyhow::Result<Option<Vec<Cut>>> {
    let directory = directory.to_owned();
    let survey = move || {
        let survey = EmbeddedLog::survey(&directory)?;
        for damage in &survey.damages {
            say!("DAMAGED: {damage}");
        }
        if survey.damages.is_empty() || !accept {
            return Ok(survey.damages.is_empty().then(Vec::new));
        }
        let cuts = EmbeddedLog::cut_damage(&directory)?;
        say!("CUT: what was cut is kept in the folders lost-N of {}.", directory.display());
        Ok::<_, LogError>(Some(cuts))
    };
    tokio::task::spawn_blocking(survey).await?.context("the log cannot be read")
}

/// What the log has lost by the word of those who have seen it, by partition.
type Lost = BTreeMap<u32, Vec<Contradiction>>;

async fn lost(log: &dyn Log, settings: &Settings) -> anyhow::Result<Lost> {
    let views = match settings.cql.is_some() || settings.data.join("views").exists() {
        true => {
            let views = engines::views_to_read(settings, log.partitions()).await;
            views.inspect_err(|error| say!("The views cannot be asked: {error:#}")).ok()
        }
        false => None,
    };
    let mut lost = Lost::new();
    for partition in 0..log.partitions() {
        let mut witnesses = known_of(log, partition).await?;
        if let Some((views, _)) = &views {
            let progress = views.progress(partition).await?;
            let seen = progress.map(|progress| Witness::new("the views", progress.checkpoint()));
            witnesses.extend(seen);
        }
        for witness in witnesses {
            let found = contradiction(log, partition, &[witness]).await?;
            lost.entry(partition).or_default().extend(found);
        }
    }
    lost.retain(|_, contradictions| !contradictions.is_empty());
    for contradictions in lost.values() {
        let furthest = contradictions.iter().max_by_key(|found| found.checkpoint.next_offset);
        furthest.iter().for_each(|found| say!("LOST: {}", found.what()));
        let others = contradictions.iter().map(|found| found.witness.as_str());
        say!("  seen by {}", others.collect::<Vec<_>>().join(", "));
    }
    if let Some((views, _)) = views {
        show_lost_coupons(log, &views, &lost).await?;
    }
    Ok(lost)
}

/// Coupons that the views show and the log does not have any more.
async fn show_lost_coupons(log: &dyn Log, views: &Views, lost: &Lost) -> anyhow::Result<()> {
    if lost.is_empty() {
        return Ok(());
    }
    let mut in_log: HashMap<CouponId, String> = HashMap::new();
    for partition in lost.keys() {
        let (_, book) = fold(log, *partition).await?;
        for (promotion_id, promotion) in book.iter() {
            let id = |serial| CouponId { promotion_id: promotion_id.to_owned(), serial };
            let holders = promotion.holders();
            in_log.extend(holders.map(|(serial, holder)| (id(serial), holder.to_owned())));
        }
    }
    let mut coupons: Vec<CouponRow> = Vec::new();
    let mut note = |row: Scanned<CouponRow>| {
        let Ok(row) = row else { return };
        let id = CouponId { promotion_id: row.promotion_id.clone(), serial: row.serial };
        let is_here = lost.contains_key(&row.position.partition);
        if is_here && in_log.get(&id) != Some(&row.customer_id) {
            coupons.push(row);
        }
    };
    views.scan::<CouponsByPromotion>(&mut note).await?;
    say!("{} coupons are in the views and not in the log.", coupons.len());
    coupons.sort_by_key(|row| row.position);
    for row in coupons.iter().take(SHOWN) {
        let CouponRow { id, customer_id, grabbed_at, position, .. } = row;
        say!("  {id} of {customer_id:?}, given {grabbed_at}, at {position}");
    }
    if coupons.len() > SHOWN {
        say!("  and {} more", coupons.len() - SHOWN);
    }
    Ok(())
}

/// Writes the loss into the log, and then puts aside what contradicts it: as long as that is there, a
/// loss that was not written is found again. Whether nothing is lost or all is accepted.
async fn settle_loss(
    log: &Arc<dyn Log>,
    settings: &Settings,
    lost: &Lost,
    cuts: &[Cut],
    accept: bool,
) -> anyhow::Result<bool> {
    let mut refuted: BTreeMap<u32, Vec<Checkpoint>> = BTreeMap::new();
    for (partition, contradictions) in lost {
        let seen = contradictions.iter().map(|found| found.checkpoint.clone());
        refuted.entry(*partition).or_default().extend(seen);
    }
    for Cut { partition, reached } in cuts {
        refuted.entry(*partition).or_default().extend(reached.clone());
    }
    if refuted.is_empty() || !accept {
        return Ok(refuted.is_empty());
    }
    let partitions: Vec<u32> = refuted.keys().copied().collect();
    for (partition, refuted) in refuted {
        let end = log.end(partition).await?;
        let accepted_loss = Some(AcceptedLoss { end, refuted });
        let at = append(&**log, partition, Fence { accepted_loss, ..fence() }).await?;
        say!("ACCEPTED: partition {partition} goes on from offset {end}; it says so at {at}.");
    }
    settle_feed(&**log).await?;
    for partition in partitions {
        forget_proof(&**log, partition).await?;
    }
    clear_views(settings, log.partitions()).await?;
    Ok(true)
}

/// The feed goes on with what the log has.
async fn settle_feed(log: &dyn Log) -> anyhow::Result<()> {
    let lost = accept_feed_loss(log).await.context("the feed")?;
    if lost > 0 {
        say!("{lost} coupons are in the feed and not in the log. They stay there.");
    }
    Ok(())
}

/// Shows what the feed itself has lost, and lets it go on where that was asked for. Whether nothing is lost, or
/// all is accepted.
async fn settle_loss_of_feed(log: &dyn Log, accept: bool) -> anyhow::Result<bool> {
    let lost = lost_of_feed(log).await.context("the feed")?;
    if lost == 0 {
        return Ok(true);
    }
    say!("LOST: the feed of other programs ends {lost} records before it was seen to end.");
    if accept {
        settle_feed(log).await?;
        say!(
            "The coupons that are missing in it are fed again, and get numbers that others had: whoever reads \
             it, by /sync or with a Kafka client, has to begin again."
        );
    }
    Ok(accept)
}

/// The views are made again from the log by the next projector.
async fn clear_views(settings: &Settings, partitions: u32) -> anyhow::Result<()> {
    if let Some(config) = &settings.cql {
        return Ok(Views::create_in_cql(config, partitions).await?.clear().await?);
    }
    let directory = settings.data.join("views");
    if directory.exists() {
        let aside = engines::put_aside(&directory, "before-repair")?;
        say!("The views are put aside in {} and made again from the log.", aside.display());
    }
    Ok(())
}

/// Shows partitions whose time is ahead, and lets it go on from now where that was asked for.
async fn settle_clock(log: &dyn Log, reset: bool) -> anyhow::Result<bool> {
    let (now_ms, mut timely) = (Clock::system().now_ms(), true);
    for partition in 0..log.partitions() {
        let ahead_ms = at_ms(log, partition).await? - now_ms;
        if ahead_ms <= AHEAD_MS {
            continue;
        }
        let ahead_s = ahead_ms / 1_000;
        say!("AHEAD: the time of partition {partition} is {ahead_s} s ahead of the clock.");
        if reset {
            let at = append(log, partition, Fence { clock_ms: Some(now_ms), ..fence() }).await?;
            say!("RESET: the time of partition {partition} goes on from now; it says so at {at}.");
        } else {
            say!(
                "  New promotions there may be refused. `--reset-clock` lets time go on from now."
            );
            timely = false;
        }
    }
    Ok(timely)
}

/// Time of the newest event: by the snapshot and what follows it, or by the whole log.
async fn at_ms(log: &dyn Log, partition: u32) -> anyhow::Result<i64> {
    let snapshot = newest_snapshot(log, partition).await?;
    let (checkpoint, book) = snapshot.unwrap_or_default();
    let fold = fold_from(log, partition, &checkpoint).await?;
    Ok(fold_on(log, partition, fold, book).await?.1.at_ms())
}

async fn fold(log: &dyn Log, partition: u32) -> anyhow::Result<(Fold, Book)> {
    let fold = fold_from(log, partition, &Checkpoint::default()).await?;
    fold_on(log, partition, fold, Book::default()).await
}

async fn fold_on(
    log: &dyn Log,
    partition: u32,
    mut fold: Fold,
    mut book: Book,
) -> anyhow::Result<(Fold, Book)> {
    let mut stretch = Stretch::from(log, partition, fold.next_offset()).await?;
    while fold.next_offset() < stretch.end() {
        for (offset, record) in stretch.next().await? {
            match fold.step(offset, &record)? {
                Folded::Event(event) => book.apply(&event)?,
                Folded::Fence(fence) => {
                    fence.clock_ms.into_iter().for_each(|at_ms| book.reset_clock(at_ms));
                }
                Folded::Void | Folded::Skipped(_) | Folded::Skip(_) => {}
            }
        }
    }
    Ok((fold, book))
}

fn fence() -> Fence {
    let fence_id = uuid::Uuid::new_v4().as_bytes().to_vec();
    Fence { fence_id, node: "repair".to_owned(), ..Fence::default() }
}

async fn append(log: &dyn Log, partition: u32, fence: Fence) -> anyhow::Result<u64> {
    match log.append(partition, vec![encode_fence(fence)]).deliveries().await[..] {
        [Delivery::At(offset)] => Ok(offset),
        _ => bail!("partition {partition} could not be written; try again"),
    }
}
