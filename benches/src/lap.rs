//! One contestant's turn in one round.

use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;

const WARM_UP: Duration = Duration::from_secs(1);

/// The laps of each contestant: in every round each has one turn. Every other round runs backwards, so that nobody always
/// follows the same one.
pub(crate) async fn in_turns(
    rounds: u32,
    names: &[String],
    mut lap: impl AsyncFnMut(usize) -> anyhow::Result<Lap>,
) -> anyhow::Result<Vec<Vec<Lap>>> {
    let mut laps = vec![Vec::new(); names.len()];
    for round in 1..=rounds {
        let mut turns: Vec<usize> = (0..names.len()).collect();
        if round % 2 == 0 {
            turns.reverse();
        }
        for turn in turns {
            let name = &names[turn];
            let lap = lap(turn).await.with_context(|| name.clone())?;
            eprintln!("round {round}: {name}: {:.0} per second", lap.per_second);
            laps[turn].push(lap);
        }
    }
    Ok(laps)
}

/// When answers count: after the warm-up, until the turn is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    opens: Instant,
    closes: Instant,
}

impl Window {
    /// Begins to warm up now.
    pub(crate) fn of(length: Duration) -> Self {
        let opens = Instant::now() + WARM_UP;
        Self { opens, closes: opens + length }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.closes
    }

    fn holds(&self, moment: Instant) -> bool {
        (self.opens..self.closes).contains(&moment)
    }

    fn seconds(&self) -> f64 {
        (self.closes - self.opens).as_secs_f64()
    }
}

/// What a turn, or one client of it, has seen.
pub(crate) struct Tally {
    window: Window,
    /// Latencies of what was answered in the window, in microseconds.
    micros: Vec<u32>,
    /// Answered at any time, warm-up included.
    pub(crate) answered: u64,
    failed: u64,
}

impl Tally {
    pub(crate) fn new(window: Window) -> Self {
        Self { window, micros: Vec::new(), answered: 0, failed: 0 }
    }

    /// Counts what was begun then and is durable now.
    pub(crate) fn answered(&mut self, begun: Instant) {
        let now = Instant::now();
        self.answered += 1;
        if self.window.holds(now) {
            // A histogram of each client's own would not fit into the caches.
            self.micros.push(u32::try_from((now - begun).as_micros()).unwrap_or(u32::MAX));
        }
    }

    /// Counts anything but the answer hoped for.
    pub(crate) fn failed(&mut self) {
        self.failed += 1;
    }

    fn absorb(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.answered += other.answered;
        self.failed += other.failed;
    }

    /// Adds up what the clients of a turn have seen, once all have left.
    pub(crate) async fn gather(
        window: Window,
        mut clients: JoinSet<anyhow::Result<Self>>,
    ) -> anyhow::Result<Self> {
        let mut all = Self::new(window);
        while let Some(left) = clients.join_next().await {
            all.absorb(left.context("a client ended badly")??);
        }
        Ok(all)
    }
}

/// What a turn comes to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Lap {
    /// Answered in the window, by its length.
    pub(crate) per_second: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    /// Microseconds of each process, in user and kernel, for each answer.
    pub(crate) cpu: Vec<(&'static str, f64)>,
    pub(crate) failed: u64,
}

impl Lap {
    /// # Errors
    /// Nothing was answered.
    pub(crate) fn new(tally: Tally, spent: Vec<(&'static str, Duration)>) -> anyhow::Result<Self> {
        anyhow::ensure!(!tally.micros.is_empty(), "nothing was answered");
        let mut micros = Histogram::<u64>::new(3)?;
        tally.micros.iter().try_for_each(|latency| micros.record(u64::from(*latency)))?;
        let ms = |quantile| Some(micros.value_at_quantile(quantile) as f64 / 1e3);
        Ok(Self {
            per_second: tally.micros.len() as f64 / tally.window.seconds(),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            cpu: each(spent, tally.answered),
            failed: tally.failed,
        })
    }

    /// For ratios, as every quantity of a lap.
    pub(crate) fn rate(&self) -> Option<f64> {
        Some(self.per_second)
    }

    pub(crate) fn p99(&self) -> Option<f64> {
        self.p99_ms
    }

    /// Of the first process.
    pub(crate) fn cpu(&self) -> Option<f64> {
        self.cpu.first().map(|(_, micros)| *micros)
    }

    /// Of so many that were done in a time, and whose latencies say nothing.
    pub(crate) fn of(count: u64, took: Duration, spent: Vec<(&'static str, Duration)>) -> Self {
        let per_second = count as f64 / took.as_secs_f64();
        Self { per_second, cpu: each(spent, count), ..Self::default() }
    }
}

/// Microseconds for each of so many.
pub(crate) fn each(spent: Vec<(&'static str, Duration)>, count: u64) -> Vec<(&'static str, f64)> {
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    spent.into_iter().map(|(process, time)| (process, micros(time))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(opens: Instant) -> Window {
        Window { opens, closes: opens + Duration::from_secs(2) }
    }

    #[test]
    fn only_what_is_answered_in_the_window_counts_for_the_rate() {
        let now = Instant::now();
        let mut tally = Tally::new(window(now + Duration::from_secs(60)));
        tally.answered(now);
        assert!(Lap::new(tally, Vec::new()).is_err(), "warming up");

        let mut tally = Tally::new(window(now));
        let mut other = Tally::new(window(now));
        tally.answered(now);
        other.answered(now - Duration::from_millis(500));
        other.failed();
        tally.absorb(other);
        let spent = vec![("bench", Duration::from_micros(10))];
        let lap = Lap::new(tally, spent).expect("a lap");
        assert_eq!((lap.per_second, lap.failed), (1.0, 1));
        assert_eq!(lap.cpu, [("bench", 5.0)]);
        assert!(lap.p50_ms < Some(500.0) && lap.p99_ms >= Some(500.0), "{lap:?}");
    }
}
