//! `seckill verify`: are the views what the log says?

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use reqwest::Response;
use seckill_command::newest_snapshots;
use seckill_log::{Log, LogError};
use seckill_projector::{AskClaims, Claim, Report, Stage, Verifying, verify_watched};
use seckill_telemetry::{say, start_tracing};
use seckill_views::VIEWS;

use crate::bar::{bar, show};
use crate::engines;
use crate::given::{EnginesArgs, Given, base_url};
use crate::settings::Role;
use crate::told;

/// An engine that is there answers sooner; one that is not shall not keep anybody waiting.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(10);

/// Compare every row of the views with the log; exit code 0 when they are equal, 1 when they are not or something is
/// damaged, 2 when they were not compared: there is no log or are no views, or something is in use or cannot be read
#[derive(Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    engines: EnginesArgs,
    /// Have it done by a running node that writes the views, http://HOST:PORT, instead of here; embedded
    /// engines belong to one process
    #[arg(long, value_name = "URL", value_parser = base_url)]
    target: Option<String>,
    /// Compare the tables beside those that are read: the new ones of a rebuild, or those before it
    #[arg(long)]
    beside: bool,
    /// Also hold what `seckill load --history` wrote against the log, or the folder of a drill; repeatable. What breaks a
    /// promise is a difference. Not with --target: it reads the log itself, and embedded engines have to be stopped first
    #[arg(long, value_name = "FILE|DIR", conflicts_with = "target")]
    history: Vec<PathBuf>,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

/// Prints counts and differences; whether there are none.
pub(crate) async fn run(args: VerifyArgs) -> anyhow::Result<bool> {
    let VerifyArgs { engines, target, beside, history, json } = args;
    let settings = Given::from(engines).settle(Role::Verify)?.with_timeout(ENGINE_TIMEOUT);
    start_tracing("warn", settings.log_format)?;
    let bar = bar("{bar:30} {percent:>3} % of the {msg}, {elapsed}").with_message("log");
    let report = match target {
        Some(target) => ask(&target, beside, &bar).await,
        None => {
            let log = engines::log_to_read(&settings).await?;
            let (views, _copy) = engines::views_to_read(&settings, log.partitions()).await?;
            let views = if beside { views.beside() } else { views };
            let watch = &mut |stage, done, all| show_stage(&bar, stage, done, all);
            let claims = snapshots(&*log).await?;
            let verified = verify_watched(&*log, &views, claims, watch).await;
            let mut report = verified.map_err(anyhow::Error::from);
            if let (Ok(report), false) = (&mut report, history.is_empty()) {
                told::add(report, &*log, &history).await?;
            }
            report
        }
    };
    bar.finish_and_clear();
    let report = report?;
    if json {
        say!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(report.is_equal())
}

fn print(report: &Report) {
    for (what, count) in &report.counts {
        let is_view = VIEWS.iter().any(|view| view.name() == what);
        say!("{count:>12}  {}{what}", if is_view { "rows of " } else { "" });
    }
    for repair in &report.repairs {
        say!("REPAIRED: {repair}");
    }
    for difference in &report.differences {
        say!("DIFFERENT: {difference}");
    }
    let shown = report.differences.len() as u64;
    let first = (shown < report.different).then(|| format!("; the first {shown} are above"));
    let of_them = first.unwrap_or_default();
    say!("{:>12}  differences{of_them}", report.different);
}

/// Has a node compare, and shows how it goes.
async fn ask(target: &str, beside: bool, bar: &ProgressBar) -> anyhow::Result<Report> {
    let url = format!("{target}/v1/verify?beside={beside}");
    let client = reqwest::Client::builder().no_proxy().connect_timeout(ENGINE_TIMEOUT).build()?;
    let answer = client.post(&url).send().await;
    let mut answer = answer.with_context(|| format!("{url} cannot be asked"))?;
    if !answer.status().is_success() {
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        bail!("{url} answers {status}: {}", problem["detail"].as_str().unwrap_or(&text));
    }
    let mut said = Vec::new();
    while let Some(line) = next_line(&mut answer, &mut said).await? {
        match serde_json::from_slice(&line).context("the answer cannot be read")? {
            Verifying::Progress { stage, done, all } => show_stage(bar, stage, done, all),
            Verifying::Report(report) => return Ok(report),
            Verifying::Failed(reason) => bail!("{reason}"),
        }
    }
    bail!("{url} ended before it was done")
}

/// The next line of an answer; `said` holds what follows it.
async fn next_line(answer: &mut Response, said: &mut Vec<u8>) -> anyhow::Result<Option<Vec<u8>>> {
    loop {
        if let Some(end) = said.iter().position(|byte| *byte == b'\n') {
            let rest = said.split_off(end + 1);
            return Ok(Some(std::mem::replace(said, rest)));
        }
        match answer.chunk().await.context("the node went away before it had finished")? {
            Some(chunk) => said.extend_from_slice(&chunk),
            None => return Ok(None),
        }
    }
}

fn show_stage(bar: &ProgressBar, stage: Stage, done: u64, all: u64) {
    bar.set_message(match stage {
        Stage::Log => "log",
        Stage::Rows => "rows",
    });
    show(bar, done, all);
}

/// What is kept beside the log, for a node that compares.
pub(crate) fn claims(log: &Arc<dyn Log>) -> AskClaims {
    let log = Arc::clone(log);
    Arc::new(move || {
        let log = Arc::clone(&log);
        Box::pin(async move { snapshots(&*log).await })
    })
}

/// What the snapshots claim.
async fn snapshots(log: &dyn Log) -> Result<Vec<Claim>, LogError> {
    Ok(newest_snapshots(log).await?.into_iter().map(Claim::of_snapshot).collect())
}
