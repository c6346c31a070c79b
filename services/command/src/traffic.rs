//! What clients of this process were told of grabs, by promotion and second, for the last two minutes. For people
//! who watch a sale: it is kept in memory, and each process knows its own clients only.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use seckill_proto::v1::{Answer, answer};

use crate::Failure;

/// Seconds that are kept.
const SECONDS: u64 = 120;
/// Promotions that are watched at the same time; more are not.
const PROMOTIONS: usize = 256;
/// Latencies are counted in classes, each half as wide again as the one before, from a tenth of a millisecond to 19 s.
const CLASSES: usize = 30;
const FIRST_MS: f64 = 0.1;
const WIDER: f64 = 1.5;

/// Grabs of all promotions.
pub(crate) struct Traffic {
    begun: Instant,
    promotions: Mutex<HashMap<String, VecDeque<Second>>>,
}

/// Grabs of one promotion that were answered within one second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Second {
    at: u64,
    /// Told that the coupon is theirs.
    pub(crate) granted: u32,
    /// Told that they have it already.
    pub(crate) repeated: u32,
    /// Told no, such as sold out.
    pub(crate) refused: u32,
    /// Told to try again, or that nobody knows.
    pub(crate) failed: u32,
    latencies: [u32; CLASSES],
}

impl Default for Traffic {
    fn default() -> Self {
        Self { begun: Instant::now(), promotions: Mutex::default() }
    }
}

impl Traffic {
    /// Takes note of an answer and of how long it took.
    pub(crate) fn note(&self, promotion_id: &str, told: &Result<Answer, Failure>, took: Duration) {
        let now = self.begun.elapsed().as_secs();
        let mut promotions = self.promotions.lock();
        if !promotions.contains_key(promotion_id) {
            if promotions.len() >= PROMOTIONS {
                promotions.retain(|_, seconds| is_recent(seconds.back(), now));
            }
            if promotions.len() >= PROMOTIONS {
                return;
            }
            promotions.insert(promotion_id.to_owned(), VecDeque::new());
        }
        let Some(seconds) = promotions.get_mut(promotion_id) else { return };
        if seconds.back().is_none_or(|second| second.at != now) {
            seconds.push_back(Second { at: now, ..Second::default() });
        }
        while !is_recent(seconds.front(), now) {
            seconds.pop_front();
        }
        if let Some(second) = seconds.back_mut() {
            second.note(told, took);
        }
    }

    /// The seconds in which a promotion had grabs, the oldest first, each with how long ago it was.
    pub(crate) fn of(&self, promotion_id: &str) -> Vec<(Duration, Second)> {
        let now = self.begun.elapsed().as_secs();
        let promotions = self.promotions.lock();
        let seconds = promotions.get(promotion_id).into_iter().flatten();
        let recent = seconds.filter(|second| is_recent(Some(second), now));
        recent.map(|second| (Duration::from_secs(now - second.at), second.clone())).collect()
    }
}

fn is_recent(second: Option<&Second>, now: u64) -> bool {
    second.is_some_and(|second| second.at + SECONDS > now)
}

impl Second {
    fn note(&mut self, told: &Result<Answer, Failure>, took: Duration) {
        let counter = match told.as_ref().map(|answer| &answer.outcome) {
            Ok(Some(answer::Outcome::Accepted(accepted))) if accepted.repeated => {
                &mut self.repeated
            }
            Ok(Some(answer::Outcome::Accepted(_))) => &mut self.granted,
            Ok(Some(answer::Outcome::Refused(_))) => &mut self.refused,
            Ok(None) | Err(_) => &mut self.failed,
        };
        *counter = counter.saturating_add(1);
        let (mut class, mut below_ms) = (0, FIRST_MS);
        while took.as_secs_f64() * 1_000.0 > below_ms && class + 1 < CLASSES {
            (class, below_ms) = (class + 1, below_ms * WIDER);
        }
        self.latencies[class] = self.latencies[class].saturating_add(1);
    }

    /// In milliseconds: such a part of the answers took at most so long, to half as much again.
    #[must_use]
    pub(crate) fn latency_ms(&self, part: f64) -> f64 {
        let all: u32 = self.latencies.iter().fold(0, |all, count| all.saturating_add(*count));
        let (mut below_ms, mut counted) = (FIRST_MS, 0_u32);
        for count in self.latencies {
            counted = counted.saturating_add(count);
            if f64::from(counted) >= part * f64::from(all) {
                break;
            }
            below_ms *= WIDER;
        }
        below_ms
    }
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::{Accepted, Refusal};

    use super::*;

    fn told(outcome: answer::Outcome) -> Result<Answer, Failure> {
        Ok(Answer { outcome: Some(outcome), ..Answer::default() })
    }

    #[test]
    fn answers_are_counted_by_what_they_say() {
        let traffic = Traffic::default();
        let accepted = |repeated| {
            told(answer::Outcome::Accepted(Accepted { repeated, ..Accepted::default() }))
        };
        let millisecond = Duration::from_millis(1);
        traffic.note("p", &accepted(false), millisecond);
        traffic.note("p", &accepted(true), millisecond);
        let refused = told(answer::Outcome::Refused(Refusal::SoldOut.into()));
        traffic.note("p", &refused, millisecond);
        traffic.note("p", &Err(Failure::Unknown), Duration::from_secs(100));
        traffic.note("q", &refused, millisecond);
        let seconds = traffic.of("p");
        let sum =
            |of: fn(&Second) -> u32| seconds.iter().map(|(_, second)| of(second)).sum::<u32>();
        let counted = [
            sum(|second| second.granted),
            sum(|second| second.repeated),
            sum(|second| second.refused),
            sum(|second| second.failed),
        ];
        assert_eq!(counted, [1, 1, 1, 1]);
        assert_eq!(traffic.of("nobody"), []);
    }

    #[test]
    fn a_latency_is_told_to_half_as_much_again() {
        let mut second = Second::default();
        (1..=100).for_each(|ms| second.note(&Err(Failure::Unknown), Duration::from_millis(ms)));
        for (part, ms) in [(0.5, 50.0), (0.99, 99.0)] {
            let told = second.latency_ms(part);
            assert!((ms..ms * 1.5).contains(&told), "{part}: {told}");
        }
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let traffic = Traffic::default();
        for number in 0..PROMOTIONS + 10 {
            traffic.note(&number.to_string(), &Err(Failure::Unknown), Duration::ZERO);
        }
        assert_eq!(traffic.promotions.lock().len(), PROMOTIONS);
        for seconds in traffic.promotions.lock().values_mut() {
            seconds.iter_mut().for_each(|second| second.at = 0);
        }
        let later = Traffic {
            begun: Instant::now()
                .checked_sub(Duration::from_secs(SECONDS))
                .expect("a clock that runs"),
            promotions: Mutex::new(traffic.promotions.into_inner()),
        };
        later.note("new", &Err(Failure::Unknown), Duration::ZERO);
        assert_eq!(later.promotions.lock().len(), 1, "what is old makes room");
    }
}
