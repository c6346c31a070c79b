//! When the customers of the open model mean to come.
//!
//! The times are fixed before anything is sent, from the seed alone: a slow server changes neither
//! when a customer came nor how many came.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::args::Arrivals;

/// Times since the start, never falling, until the duration is over.
pub(crate) struct Schedule {
    spacing: Arrivals,
    rate: f64,
    end: f64,
    next: f64,
    random: StdRng,
}

impl Schedule {
    pub(crate) fn new(spacing: Arrivals, rate: f64, duration: Duration, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { spacing, rate, end: duration.as_secs_f64(), next: 0.0, random }
    }

    fn gap(&mut self) -> f64 {
        match self.spacing {
            Arrivals::Uniform => 1.0 / self.rate,
            Arrivals::Poisson => -(1.0 - self.random.random::<f64>()).ln() / self.rate,
        }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let arrival = self.next;
        self.next += self.gap();
        (arrival < self.end).then(|| Duration::from_secs_f64(arrival))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_SECONDS: Duration = Duration::from_secs(10);

    #[test]
    fn even_arrivals_are_evenly_spaced() {
        let times: Vec<_> = Schedule::new(Arrivals::Uniform, 100.0, TEN_SECONDS, 1).collect();
        assert!((999..=1_001).contains(&times.len()), "{}", times.len());
        assert_eq!(times[1], Duration::from_millis(10));
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_and_spread_like_people() {
        let times: Vec<_> = Schedule::new(Arrivals::Poisson, 1_000.0, TEN_SECONDS, 1).collect();
        assert!((9_600..10_400).contains(&times.len()), "{}", times.len());
        let late = times.windows(2).filter(|pair| pair[1] - pair[0] > Duration::from_millis(1));
        let share = late.count() as f64 / times.len() as f64;
        assert!((0.33..0.41).contains(&share), "{share}: 1/e of the gaps exceed the mean");
        assert!(times.is_sorted());
    }

    #[test]
    fn a_seed_repeats_its_arrivals() {
        let times = |seed| Schedule::new(Arrivals::Poisson, 50.0, TEN_SECONDS, seed);
        assert!(times(7).eq(times(7)));
        assert!(!times(7).eq(times(8)));
    }
}
