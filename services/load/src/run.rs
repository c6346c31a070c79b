//! One run from the first promotion to the verdict.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use tokio_util::sync::CancellationToken;

use crate::args::{LoadArgs, Model, Protocol};
use crate::audit::Auditor;
use crate::crowd::Crowd;
use crate::grab::{Counter, Dialect, History};
use crate::ledger::Ledger;
use crate::original::Market;
use crate::plan::{self, Pace};
use crate::progress::Progress;
use crate::promotion::{self, Offer, Opening};
use crate::report::{Occasion, Report};
use crate::stream::Streams;
use crate::target::Fleet;
use crate::views::Views;
use crate::way::Way;
use crate::wire::Http;
use crate::{closed, open};

/// What a run showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything told is so.
    Passed,
    /// Something told is not so, could not be checked, or nobody was answered.
    Failed,
}

/// Runs until the crowd was served or Ctrl-C, then drains, prints and audits. A second Ctrl-C
/// leaves at once.
///
/// # Errors
/// The options do not fit together, a URL is wrong, a promotion could not be opened or found, the
/// report could not be written, or Ctrl-C was pressed twice. That something told turned out wrong
/// is no error but [`Verdict::Failed`].
pub async fn run(args: LoadArgs) -> Result<Verdict> {
    let stop = CancellationToken::new();
    tokio::select! {
        verdict = run_until(args, stop.clone()) => verdict,
        error = interrupted_twice(&stop) => Err(error),
    }
}

/// The same, with the caller's own signal to stop sending.
///
/// # Errors
/// As [`run`].
pub async fn run_until(args: LoadArgs, stop: CancellationToken) -> Result<Verdict> {
    let mut json = args.json.as_deref().map(JsonFile::create).transpose()?;
    let report = report(&args, &stop).await?;
    let _ = writeln!(std::io::stdout(), "{report}"); // nobody may be reading any more
    json.as_mut().map_or(Ok(()), |json| json.write(&report))?;
    Ok(report.verdict)
}

/// Where the report goes: opened before anybody comes, because a run that ends in a wrong path is lost.
/// Without a report it leaves what was there.
struct JsonFile<'a> {
    path: &'a Path,
    file: File,
    empty: bool,
}

impl<'a> JsonFile<'a> {
    fn create(path: &'a Path) -> Result<Self> {
        let empty = !path.exists();
        let file = File::options().create(true).truncate(false).write(true).open(path);
        Ok(Self { path, file: file.with_context(|| cannot_write(path))?, empty })
    }

    fn write(&mut self, report: &Report) -> Result<()> {
        let json = serde_json::to_vec_pretty(report)?;
        self.empty = false;
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(&json));
        written.with_context(|| cannot_write(self.path))
    }
}

impl Drop for JsonFile<'_> {
    fn drop(&mut self) {
        if self.empty {
            let _ = std::fs::remove_file(self.path); // it is nothing
        }
    }
}

fn cannot_write(path: &Path) -> String {
    format!("--json: {} cannot be written", path.display())
}

async fn interrupted_twice(stop: &CancellationToken) -> anyhow::Error {
    interrupt().await;
    stop.cancel();
    eprintln!("interrupted: nobody new comes; draining and auditing (again to leave at once)");
    interrupt().await;
    anyhow!("interrupted twice: nothing was audited")
}

/// Never ends where signals cannot be had.
async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn report(args: &LoadArgs, stop: &CancellationToken) -> Result<Report> {
    Prepared::new(args.clone()).await?.play(stop).await
}

/// A run before anybody has come.
pub(crate) struct Prepared {
    args: LoadArgs,
    pace: Pace,
    seed: u64,
    views: Views,
    pub(crate) counter: Arc<Counter>,
    pub(crate) sales: Vec<Arc<Offer>>,
}

impl Prepared {
    pub(crate) async fn new(args: LoadArgs) -> Result<Self> {
        let pace = Pace::of(&args)?;
        let seed = args.seed.unwrap_or_else(rand::random);
        let views = Views::new(fleet(&args.query, &args)?);
        let counter = Arc::new(counter(&args)?);
        counter.way.assert_somebody_answers().await?;
        let sales = sales(&args, &counter, &views).await?;
        counter.history.as_ref().map_or(Ok(()), History::begin)?;
        Ok(Self { args, pace, seed, views, counter, sales })
    }

    /// Has them come, until `stop` or until all were served, and audits.
    pub(crate) async fn play(self, stop: &CancellationToken) -> Result<Report> {
        let Self { args, pace, seed, views, counter, sales } = self;
        let started = Instant::now();
        let progress = Progress::start(Arc::clone(&counter), args.quiet);
        let served = serve(&args, pace, seed, &counter, sales, stop).await;
        progress.finish().await;
        let sales = served?;
        let recorded = counter.history.as_ref().map_or(Ok(()), History::close);
        counter.way.close_idle(); // to look takes as long as the views are behind
        let requests = counter.ledger.requests();
        let mut book = counter.ledger.close();
        let auditor = Auditor {
            views: &views,
            crowd: &counter.crowd,
            sales: &sales,
            timeout: args.audit_timeout,
        };
        let audit = if args.no_audit { None } else { Some(auditor.audit(&mut book).await) };
        let interrupted = stop.is_cancelled();
        let run = counter.crowd.prefix();
        let occasion = Occasion { args: &args, seed, started, requests, interrupted, run };
        let mut report = Report::new(&occasion, &book, &sales, audit.as_ref());
        if let Err(error) = recorded {
            report.surprises.push(format!("{error:#}"));
            report.verdict = Verdict::Failed; // what was to be judged is not there
        }
        Ok(report)
    }
}

async fn serve(
    args: &LoadArgs,
    pace: Pace,
    seed: u64,
    counter: &Arc<Counter>,
    sales: Vec<Arc<Offer>>,
    stop: &CancellationToken,
) -> Result<Vec<Arc<Offer>>> {
    match pace {
        Pace::Open(crowd) => {
            open::serve(counter, &sales, crowd, seed, stop).await?;
            Ok(sales)
        }
        Pace::Closed(crowd) => {
            closed::serve(counter, &sales, crowd, stop).await?;
            Ok(sales)
        }
        Pace::Original(fair) => {
            let query = fleet(&args.query, args)?;
            let admin = fleet(&args.admin, args)?;
            let market = Market::new(Arc::clone(counter), query, admin, plan::coupons(args), fair);
            Arc::new(market).hold(seed, stop).await
        }
    }
}

fn way(args: &LoadArgs) -> Result<Way> {
    let streams = match args.protocol {
        Protocol::Http | Protocol::Http2 => None,
        Protocol::Grpc => Some(Streams::new(&args.target, args.request_timeout)?),
    };
    if streams.is_some() && (args.batch.is_some() || args.direct) {
        bail!("--batch and --direct are for --protocol http and http2");
    }
    let http = if args.protocol == Protocol::Http2 { Http::Two } else { Http::One };
    let fleet = Fleet::over(http, &args.target, args.request_timeout)?;
    Ok(Way::new(fleet, args.direct, args.batch.map(usize::from)).over(streams))
}

fn counter(args: &LoadArgs) -> Result<Counter> {
    Ok(Counter {
        way: way(args)?,
        crowd: Crowd::fresh(),
        ledger: Ledger::new(),
        dialect: match args.model {
            Model::Grab => Dialect::Native,
            Model::Original => Dialect::Original,
        },
        give_up: args.give_up,
        history: args.history.as_deref().map(History::open).transpose()?,
    })
}

/// The nodes of a role, or those of `--target`.
fn fleet(urls: &[String], args: &LoadArgs) -> Result<Fleet> {
    let urls = if urls.is_empty() { &args.target } else { urls };
    Fleet::new(urls, args.request_timeout)
}

/// The promotions there are before anybody comes: none in the original model.
async fn sales(args: &LoadArgs, counter: &Counter, views: &Views) -> Result<Vec<Arc<Offer>>> {
    match args.model {
        Model::Original => Ok(Vec::new()),
        Model::Grab if args.promotion.is_empty() => open_sales(args, counter, views).await,
        Model::Grab => find_sales(args, views).await,
    }
}

async fn open_sales(args: &LoadArgs, counter: &Counter, views: &Views) -> Result<Vec<Arc<Offer>>> {
    let admin = fleet(&args.admin, args)?;
    let opening = Opening { admin: &admin, views, ledger: &counter.ledger, timeout: args.give_up };
    let mut sales = Vec::new();
    for index in 0..args.promotions {
        let id = format!("load-{}-{index}", counter.crowd.prefix());
        sales.push(Arc::new(opening.open(index, &id, plan::coupons(args)).await?));
    }
    Ok(sales)
}

async fn find_sales(args: &LoadArgs, views: &Views) -> Result<Vec<Arc<Offer>>> {
    let mut sales = Vec::new();
    for (index, id) in (0..=u16::MAX).zip(&args.promotion) {
        if args.promotion[..usize::from(index)].contains(id) {
            bail!("--promotion {id} is given twice");
        }
        sales.push(Arc::new(promotion::find(views, index, id).await?));
    }
    Ok(sales)
}
