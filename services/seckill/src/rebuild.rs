//! `seckill rebuild`: new tables for the views, made by running projectors. This only asks for it, and shows
//! how it goes.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use seckill_projector::RebuildStatus;
use seckill_views::{Phase, Rebuild};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::node::{Node, TargetArgs};

/// Prints a line; whoever reads may have left.
macro_rules! say {
    ($($words:tt)*) => {
        let _ = writeln!(std::io::stdout(), $($words)*);
    };
}

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two lines where no bar can be drawn.
const PRINT_EVERY: Duration = Duration::from_secs(5);
/// For how long a node that does not answer is asked again: it may be starting.
const ASK_AGAIN_FOR: Duration = Duration::from_secs(60);

/// Make views again from the start of the log, beside those that are read, and let readers have them once
/// they are complete. It goes on in the system whoever watches: with a step, see or change how it goes.
/// Exit code 0 when the views are switched, or built with --switch manual; 1 when rows differ
#[derive(Args)]
pub(crate) struct RebuildArgs {
    #[command(subcommand)]
    step: Option<Verb>,
    #[command(flatten)]
    target: TargetArgs,
    /// A view to make again; repeatable [default: all there are]
    #[arg(long, value_name = "NAME")]
    view: Vec<String>,
    /// Records a second to read at most, over all partitions [default: as fast as it goes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// What happens once the new tables are complete: auto gives them to readers if their rows are the
    /// same as before, or the view is new; manual waits for `seckill rebuild switch`
    /// [default: auto]
    #[arg(long, value_enum)]
    switch: Option<Switch>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    Auto,
    Manual,
}

#[derive(Subcommand)]
enum Verb {
    /// Show how it goes
    Status,
    /// Let it stand still
    Pause,
    /// Let it go on
    Resume,
    /// Give readers the new tables
    Switch,
    /// Give readers the tables of before again
    Undo,
    /// End it, and delete the new tables; before they were switched
    Abort,
    /// End it, and delete the tables that are not read; after they were switched
    Drop,
}

impl Verb {
    fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Switch => "switch",
            Self::Undo => "undo",
            Self::Abort => "abort",
            Self::Drop => "drop",
        }
    }
}

/// Whether all is well.
pub(crate) async fn run(args: RebuildArgs) -> anyhow::Result<bool> {
    let step = args.step.as_ref().map_or("start", Verb::name);
    let says_how = !args.view.is_empty() || args.rate.is_some() || args.switch.is_some();
    if step != "start" && says_how {
        bail!("--view, --rate and --switch say how a rebuild begins, so none goes with {step}");
    }
    let node = Asking(Node::new(&args.target)?);
    match step {
        "status" => node.status().await.map(|status| show(&status)),
        "start" => {
            let switch = if args.switch == Some(Switch::Manual) { "manual" } else { "auto" };
            let views = (!args.view.is_empty()).then_some(args.view);
            let body = json!({ "views": views, "rate": args.rate, "switch": switch });
            node.ask(Method::POST, "", Some(body)).await?;
            node.follow().await
        }
        step => {
            node.ask(Method::POST, &format!("/{step}"), None).await?;
            match step {
                "resume" => node.follow().await,
                "abort" | "drop" => node.settle("The tables that were not read are deleted.").await,
                _ => node.settle("There is no rebuild.").await,
            }
        }
    }
}

/// The rebuild of a node.
struct Asking(Node);

impl Asking {
    async fn ask(
        &self,
        method: Method,
        step: &str,
        body: Option<Value>,
    ) -> anyhow::Result<RebuildStatus> {
        let request = self.0.request(method, &format!("/v1/rebuild{step}"));
        let request = body.iter().fold(request, |request, body| request.json(body));
        self.0.ask(request).await
    }

    async fn status(&self) -> anyhow::Result<RebuildStatus> {
        self.ask(Method::GET, "", None).await
    }

    /// The same from a node that may be starting again.
    async fn patient_status(&self) -> anyhow::Result<RebuildStatus> {
        let begun = Instant::now();
        loop {
            match self.status().await {
                Err(_) if begun.elapsed() < ASK_AGAIN_FOR => tokio::time::sleep(LOOK_EVERY).await,
                status => return status,
            }
        }
    }

    /// Shows how it goes until it waits for an operator.
    async fn follow(&self) -> anyhow::Result<bool> {
        let mut line = Line::new();
        loop {
            let status = self.patient_status().await?;
            let Some(rebuild) = &status.rebuild else { bail!("the rebuild was ended") };
            if is_settled(rebuild) {
                line.end();
                return Ok(show(&status));
            }
            line.draw(rebuild, &status);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits for what is on its way.
    async fn settle(&self, ended: &str) -> anyhow::Result<bool> {
        loop {
            let status = self.patient_status().await?;
            if status.rebuild.is_none() {
                say!("{ended}");
                return Ok(true);
            }
            let under_way = status.rebuild.as_ref().is_some_and(|rebuild| !is_settled(rebuild));
            if !under_way {
                return Ok(show(&status));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Whether nothing happens before an operator says so, or the log is read on.
fn is_settled(rebuild: &Rebuild) -> bool {
    match rebuild.phase {
        Phase::Preparing
        | Phase::Building
        | Phase::Comparing
        | Phase::Switching
        | Phase::Undoing
        | Phase::Dropping => false,
        Phase::Paused | Phase::Built | Phase::Switched | Phase::Undone => true,
    }
}

/// The line that shows how it goes.
struct Line {
    bar: Option<ProgressBar>,
    printed: Option<Instant>,
}

impl Line {
    fn new() -> Self {
        let template = "{bar:30} {percent:>3} %  {msg}";
        let style =
            ProgressStyle::with_template(template).expect("the template is a valid constant");
        let bar = || ProgressBar::new(1).with_style(style);
        Self { bar: std::io::stderr().is_terminal().then(bar), printed: None }
    }

    fn draw(&mut self, rebuild: &Rebuild, status: &RebuildStatus) {
        let text = describe(rebuild, status);
        if let Some(bar) = &self.bar {
            bar.set_length(status.partitions.iter().map(|reached| reached.end).sum());
            bar.set_position(status.partitions.iter().map(|reached| reached.next_offset).sum());
            bar.set_message(text);
        } else if self.printed.is_none_or(|printed| printed.elapsed() > PRINT_EVERY) {
            self.printed = Some(Instant::now());
            eprintln!("{text}");
        }
    }

    fn end(&self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}

fn describe(rebuild: &Rebuild, status: &RebuildStatus) -> String {
    let speed = status.records_per_second.map(|speed| format!(", {speed:.0} records/s"));
    let left = status.seconds_left.map(|seconds| format!(", {seconds:.0} s left"));
    let part = |reached: &seckill_projector::Reached| {
        let percent = (reached.next_offset * 100).checked_div(reached.end).unwrap_or(100);
        format!("{}: {percent} %", reached.partition)
    };
    let parts: Vec<String> = status.partitions.iter().map(part).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    let (speed, left) = (speed.unwrap_or_default(), left.unwrap_or_default());
    format!("rebuild {} is {}{speed}{left}{parts}", rebuild.number, rebuild.phase.name())
}

/// Prints all there is to say; whether no row differs and nothing stands still.
fn show(status: &RebuildStatus) -> bool {
    let Some(rebuild) = &status.rebuild else {
        say!("There is no rebuild.");
        return true;
    };
    say!("{}", describe(rebuild, status));
    say!("views: {}", rebuild.views.join(", "));
    let mut well = true;
    for reached in &status.partitions {
        if let Some(reason) = &reached.stopped {
            say!("STOPPED: partition {}: {reason}", reached.partition);
            well = false;
        }
    }
    let Some(comparison) = &rebuild.comparison else { return well };
    for (view, rows) in &comparison.rows {
        say!("{rows:>12}  {view}");
    }
    if !comparison.new.is_empty() {
        say!("not compared, as they are new: {}", comparison.new.join(", "));
    }
    for difference in &comparison.differences {
        say!("DIFFERENT: {difference}");
    }
    say!("{:>12}  differences", comparison.different);
    say!("{}", hint(rebuild));
    well && comparison.different == 0
}

/// What an operator may do.
fn hint(rebuild: &Rebuild) -> &'static str {
    match rebuild.phase {
        Phase::Built => {
            "`seckill rebuild switch` gives readers the new tables, `abort` deletes them."
        }
        Phase::Switched => {
            "Readers have the new tables. `seckill rebuild undo` goes back, `drop` deletes the old ones."
        }
        Phase::Undone => {
            "Readers have the old tables. `seckill rebuild switch` gives them the new ones again, `drop` deletes those."
        }
        _ => "`seckill rebuild status` shows how it goes.",
    }
}
