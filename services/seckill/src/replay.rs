//! `seckill replay`, `export` and `import`: the log as lines, and as a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::{BufMut, BytesMut};
use clap::{Args, ValueEnum};
use seckill_edge::{Bound, now_ms};
use seckill_log::Log;
use seckill_log::embedded::EmbeddedLog;
use seckill_replay::{Import, Item, Replay, Selection, export, to_json};
use seckill_telemetry::{say, start_tracing};

use crate::bar::{bar, show};
use crate::engines;
use crate::given::{Given, LogArgs};
use crate::settings::{Role, Settings};

/// How long an engine may take to answer.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(10);

const BAR: &str = "{bar:30} {percent:>3} %  {human_pos} records, {per_sec}, {eta} left";

/// Print the events of the log, one a line, those of all partitions by time
#[derive(Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    engines: LogArgs,
    /// Begin at this event (such as 3:1042, which leaves other partitions out) or time (such as
    /// 2026-11-26T10:00:00Z)
    #[arg(long, value_name = "POSITION|TIME")]
    from: Option<Bound>,
    /// End with this event or time
    #[arg(long, value_name = "POSITION|TIME")]
    to: Option<Bound>,
    /// Only events of this promotion
    #[arg(long, value_name = "ID")]
    promotion: Option<String>,
    /// Go on with events as they come, until Ctrl-C
    #[arg(long)]
    follow: bool,
    /// Print records too that count for nobody, left behind by owners that were deposed
    #[arg(long)]
    void: bool,
    /// Print fences and skips too: by whom a partition was taken over, and what an operator has taken out
    #[arg(long)]
    fences: bool,
    /// End after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// json: a line each; proto: records of seckill.v1.Record, each after its length
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Proto,
}

/// Write the whole log into one file with checksums
#[derive(Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    engines: LogArgs,
    /// The file; it must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Make a new log of a file that `export` wrote; every record comes to where it was
#[derive(Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    engines: LogArgs,
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) async fn replay(args: ReplayArgs) -> anyhow::Result<()> {
    let ReplayArgs { engines, from, to, promotion, follow, void, fences, limit, format } = args;
    let settings = settle(engines)?;
    if follow && settings.kafka.is_none() {
        bail!(
            "--follow: the embedded log belongs to one process; while `up` runs ask it: \
             GET /v1/events?follow=true"
        );
    }
    let log = open(&settings).await?;
    let selection = Selection { from, to, promotion_id: promotion, void, fences, follow, limit };
    selection.check(&*log, now_ms()).await?;
    let mut replay = Replay::open(&*log, selection).await?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    loop {
        // What is at hand is written before anything is waited for.
        let item = tokio::select! {
            biased;
            item = replay.next() => item?,
            () = std::future::ready(()), if !out.buffer().is_empty() => {
                if !written(out.flush())? { return Ok(()) }
                continue;
            }
        };
        let Some(item) = item else { break };
        if !written(write_item(&mut out, &item, format))? {
            return Ok(());
        }
    }
    written(out.flush())?;
    Ok(())
}

fn write_item(out: &mut impl Write, item: &Item, format: Format) -> std::io::Result<()> {
    if format == Format::Json {
        return writeln!(out, "{}", to_json(item));
    }
    let mut bytes = BytesMut::new();
    prost::encode_length_delimiter(item.record.len(), &mut bytes).map_err(std::io::Error::other)?;
    bytes.put_slice(&item.record);
    out.write_all(&bytes)
}

/// Whether somebody still reads: `head` and the like end early, and that is no error.
fn written(result: std::io::Result<()>) -> std::io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) async fn export_log(args: ExportArgs) -> anyhow::Result<()> {
    let log = open(&settle(args.engines)?).await?;
    let path = args.file;
    let named = || format!("{} cannot be written", path.display());
    let file = File::options().write(true).create_new(true).open(&path).with_context(named)?;
    let (bar, mut out) = (bar(BAR), BufWriter::new(file));
    let exported = export(&*log, &mut out, |done, all| show(&bar, done, all)).await;
    bar.finish_and_clear();
    let finished = exported.map_err(anyhow::Error::from).and_then(|records| {
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        Ok(records)
    });
    let records =
        finished.with_context(named).inspect_err(|_| drop(std::fs::remove_file(&path)))?;
    say!("{records} records are in {}.", path.display());
    Ok(())
}

pub(crate) async fn import(args: ImportArgs) -> anyhow::Result<()> {
    let mut settings = settle(args.engines)?;
    let path = args.file;
    let checking = tokio::task::spawn_blocking(move || Import::check(&path));
    let import = checking.await?.context("nothing was imported")?;
    settings.partitions = Some(import.partitions());
    settings.kafka.iter_mut().for_each(|kafka| kafka.partitions = settings.partitions);
    let records = match settings.kafka {
        Some(_) => write(&import, engines::log(&settings).await?).await?,
        None => import_embedded(&import, &settings.data).await?,
    };
    say!("{records} records were imported. The views are made from them by `up`, or a projector.");
    Ok(())
}

async fn write(import: &Import, log: Arc<dyn Log>) -> anyhow::Result<u64> {
    let bar = bar(BAR);
    let records = import.write_to(&*log, |done, all| show(&bar, done, all)).await;
    bar.finish_and_clear();
    Ok(records?)
}

/// Under another name until all of it is there: half a log would be sold from.
async fn import_embedded(import: &Import, data: &Path) -> anyhow::Result<u64> {
    let (directory, importing) = (data.join("log"), data.join("log.importing"));
    if directory.exists() {
        bail!(
            "nothing was imported: {} exists, and an import makes a new log",
            directory.display()
        );
    }
    if importing.exists() {
        let cannot = || format!("{} cannot be deleted", importing.display());
        std::fs::remove_dir_all(&importing).with_context(cannot)?; // of an import that was broken off
    }
    engines::create(data)?;
    let (path, partitions) = (importing.clone(), import.partitions());
    let open = tokio::task::spawn_blocking(move || EmbeddedLog::open(&path, Some(partitions)));
    let records = write(import, Arc::new(open.await??)).await?;
    std::fs::rename(&importing, &directory)
        .with_context(|| format!("{} cannot be named", directory.display()))?;
    File::open(data)?.sync_all()?;
    Ok(records)
}

fn settle(engines: LogArgs) -> anyhow::Result<Settings> {
    let settings = Given::from(engines).settle(Role::Replay)?.with_timeout(ENGINE_TIMEOUT);
    start_tracing("warn", settings.log_format)?;
    Ok(settings)
}

async fn open(settings: &Settings) -> anyhow::Result<Arc<dyn Log>> {
    engines::log_to_read(settings).await
}
