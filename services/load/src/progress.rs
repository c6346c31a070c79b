//! The line that shows a run is alive: redrawn on a terminal, printed now and then elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::grab::Counter;
use crate::ledger::Ledger;

const REDRAW: Duration = Duration::from_millis(200);
const PRINT: Duration = Duration::from_secs(5);

pub(crate) struct Progress {
    showing: Option<(JoinHandle<()>, ProgressBar)>,
}

impl Progress {
    pub(crate) fn start(counter: Arc<Counter>, quiet: bool) -> Self {
        if quiet {
            return Self { showing: None };
        }
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { spinner() } else { ProgressBar::hidden() };
        let showing = tokio::spawn(show(counter, bar.clone(), terminal));
        Self { showing: Some((showing, bar)) }
    }

    pub(crate) async fn finish(self) {
        if let Some((showing, bar)) = self.showing {
            showing.abort();
            // It was told to end, so how it ended says nothing.
            drop(showing.await);
            bar.finish_and_clear();
        }
    }
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}");
    ProgressBar::new_spinner().with_style(style.expect("the template is a valid constant"))
}

async fn show(counter: Arc<Counter>, bar: ProgressBar, terminal: bool) {
    let every = if terminal { REDRAW } else { PRINT };
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut before = (Instant::now(), counter.ledger.came());
    loop {
        ticks.tick().await;
        let now = (Instant::now(), counter.ledger.came());
        let rate = (now.1 - before.1) as f64 / (now.0 - before.0).as_secs_f64();
        before = now;
        let line = line(&counter.ledger, rate);
        if terminal {
            bar.set_message(line);
            bar.tick();
        } else {
            eprintln!("{line}");
        }
    }
}

fn line(ledger: &Ledger, rate: f64) -> String {
    let came = ledger.came();
    let book = ledger.book();
    let counts = &book.counts;
    let again = counts.unavailable
        + counts.overloaded
        + counts.timed_out
        + counts.lost
        + counts.unsent
        + counts.unexpected;
    let waiting = came.saturating_sub(counts.answered() + counts.gave_up);
    format!(
        "{rate:.0} sent/s, {} granted, {} refused, {waiting} waiting, {again} retried, p99 {:.1} ms",
        counts.granted + counts.already_yours,
        counts.refused_in_all(),
        book.timings.all.value_at_quantile(0.99) as f64 / 1_000.0,
    )
}
