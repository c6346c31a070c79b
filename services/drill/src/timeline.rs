//! How a drill went, moment by moment, from what customers were told.

use std::collections::HashMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use seckill_checker::{Attempt, Outcome};
use serde::Serialize;

/// Moments of a timeline, at most.
const MOMENTS: u32 = 300;
/// A shorter moment says nothing.
const SHORTEST: Duration = Duration::from_millis(250);

/// What requests were answered in one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Moment {
    /// Since the crowd came.
    pub at_seconds: f64,
    /// Coupons given.
    pub granted: u64,
    /// Refused definitely.
    pub refused: u64,
    /// Not accepted, and asked again: 429 and 503.
    pub turned_away: u64,
    /// Requests asked then of which nobody knew what became of them.
    pub unknown: u64,
    /// Of those answered definitely: the median.
    pub p50_ms: f64,
    /// Of those answered definitely.
    pub p99_ms: f64,
}

/// Moments of the same length.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timeline {
    /// Of each moment.
    pub moment_seconds: f64,
    /// From the crowd's coming on.
    pub moments: Vec<Moment>,
}

/// What requests came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// Who wanted a coupon.
    pub customers: u64,
    /// When the last one of them came, since the first one: later than planned where those who were there before were not
    /// answered soon.
    pub came_within_ms: u64,
    /// All that were sent.
    pub sent: u64,
    /// Answered with a coupon, new or had already.
    pub granted: u64,
    /// Refused definitely.
    pub refused: u64,
    /// Not accepted, and asked again.
    pub turned_away: u64,
    /// Not answered, or answered that nobody knows; asked again.
    pub unknown: u64,
}

/// When a request was answered, or asked where no answer came, by its clock.
fn told_us(attempt: &Attempt) -> u64 {
    attempt.answered.unwrap_or(attempt.asked)
}

/// What the crowd was told, from its first request to its last answer.
pub(crate) fn timeline(attempts: &[Attempt]) -> (Timeline, Requests) {
    let begun_us = attempts.iter().map(|attempt| attempt.asked).min().unwrap_or_default();
    let end_us = attempts.iter().map(told_us).max().unwrap_or_default();
    let mut watch = Watch::over(begun_us, Duration::from_micros(end_us - begun_us));
    attempts.iter().for_each(|attempt| watch.add(attempt));
    let (timeline, mut requests) = watch.end();
    let came_us = came_us(attempts);
    requests.customers = came_us.len() as u64;
    let last_us = came_us.into_iter().max().unwrap_or_default();
    requests.came_within_ms = (last_us - begun_us) / 1_000;
    (timeline, requests)
}

/// When each customer asked first.
fn came_us(attempts: &[Attempt]) -> Vec<u64> {
    let mut came_us = HashMap::new();
    for Attempt { promotion_id, customer_id, key, asked, .. } in attempts {
        let first = came_us.entry((promotion_id, customer_id, key)).or_insert(*asked);
        *first = (*first).min(*asked);
    }
    came_us.into_values().collect()
}

/// Puts a timeline together.
struct Watch {
    /// When it begins, by the clock of the attempts.
    begun_us: u64,
    /// How long each is.
    moment: Duration,
    timeline: Timeline,
    latencies: Vec<Histogram<u64>>,
    requests: Requests,
}

impl Watch {
    /// Over so long a time.
    fn over(begun_us: u64, duration: Duration) -> Self {
        let length = (duration / MOMENTS).max(SHORTEST);
        let moment = length.as_secs_f64();
        let count = (duration.as_secs_f64() / moment).ceil().max(1.0);
        let at =
            |number: u32| Moment { at_seconds: f64::from(number) * moment, ..Moment::default() };
        let moments = (0..=MOMENTS).map(at).take_while(|of| of.at_seconds < count * moment);
        let timeline = Timeline { moment_seconds: moment, moments: moments.collect() };
        let latency = || Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("bounds that fit");
        let latencies = timeline.moments.iter().map(|_| latency()).collect();
        Self { begun_us, moment: length, timeline, latencies, requests: Requests::default() }
    }

    /// Counts an attempt in the moment of its answer.
    fn add(&mut self, attempt: &Attempt) {
        let index = self.index(Duration::from_micros(told_us(attempt) - self.begun_us));
        let (moment, requests) = (&mut self.timeline.moments[index], &mut self.requests);
        let (of_moment, of_all, is_definite) = match attempt.outcome {
            Outcome::Granted { .. } => (&mut moment.granted, &mut requests.granted, true),
            Outcome::Refused { .. } => (&mut moment.refused, &mut requests.refused, true),
            Outcome::NotAccepted => (&mut moment.turned_away, &mut requests.turned_away, false),
            Outcome::Unknown => (&mut moment.unknown, &mut requests.unknown, false),
        };
        (*of_moment, *of_all) = (*of_moment + 1, *of_all + 1);
        requests.sent += 1;
        if let (true, Some(answered)) = (is_definite, attempt.answered) {
            self.latencies[index].saturating_record((answered - attempt.asked).max(1));
        }
    }

    /// Of the moment in which something was told; after the last one it counts to that.
    fn index(&self, when: Duration) -> usize {
        let last = self.timeline.moments.len().saturating_sub(1);
        let index = when.as_micros() / self.moment.as_micros();
        usize::try_from(index).unwrap_or(last).min(last)
    }

    fn end(mut self) -> (Timeline, Requests) {
        for (moment, latency) in self.timeline.moments.iter_mut().zip(&self.latencies) {
            let ms = |quantile| latency.value_at_quantile(quantile) as f64 / 1_000.0;
            (moment.p50_ms, moment.p99_ms) = (ms(0.5), ms(0.99));
        }
        (self.timeline, self.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seckill_proto::Position;

    const SECOND: u64 = 1_000_000;

    fn attempt(asked: u64, answered: Option<u64>, outcome: Outcome) -> Attempt {
        let (promotion_id, customer_id) = ("p".to_owned(), "c".to_owned());
        Attempt { promotion_id, customer_id, key: String::new(), asked, answered, outcome }
    }

    #[test]
    fn what_was_told_stands_in_its_moment() {
        let mut watch = Watch::over(5 * SECOND, Duration::from_secs(75));
        let position = Position { partition: 0, offset: 1 };
        let granted = Outcome::Granted { serial: 1, position, repeated: false };
        watch.add(&attempt(5 * SECOND, Some(5 * SECOND + 2_000), granted.clone()));
        watch.add(&attempt(16 * SECOND, Some(16 * SECOND + 500), Outcome::NotAccepted));
        watch.add(&attempt(16 * SECOND, None, Outcome::Unknown));
        watch.add(&attempt(85 * SECOND, Some(165 * SECOND), granted));
        let (timeline, requests) = watch.end();
        assert_eq!((timeline.moments.len(), timeline.moment_seconds), (300, 0.25));
        let moment = &timeline.moments[44];
        assert_eq!((moment.at_seconds, moment.turned_away, moment.unknown), (11.0, 1, 1));
        assert_eq!(timeline.moments[0].granted, 1);
        assert!((1.9..2.1).contains(&timeline.moments[0].p99_ms), "{:?}", timeline.moments[0]);
        assert_eq!(timeline.moments[299].granted, 1); // after the end counts to it
        assert_eq!((requests.sent, requests.granted), (4, 2));
    }

    #[test]
    fn customers_are_counted_once_and_come_when_they_first_ask() {
        let first = attempt(5 * SECOND, Some(6 * SECOND), Outcome::NotAccepted);
        let again = attempt(90 * SECOND, None, Outcome::Unknown);
        let other = attempt(8 * SECOND, Some(9 * SECOND), Outcome::NotAccepted);
        let other = Attempt { customer_id: "d".to_owned(), ..other };
        let (_, requests) = timeline(&[again, first, other]);
        assert_eq!((requests.customers, requests.came_within_ms), (2, 3_000));
    }
}
