//! How this process answered grabs, by promotion and second, for the last two minutes. For people
//! who watch a sale: it is kept in memory, and each process knows its own clients only.

use std::collections::{HashMap, VecDeque};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use seckill_proto::v1::{Answer, Refusal, answer};

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
    /// The second of the wall clock in which it began, in milliseconds; said by the first who looks, so that a
    /// second keeps its name.
    begun_ms: OnceLock<i64>,
    sales: Mutex<Sales>,
}

#[derive(Default)]
struct Sales {
    by_promotion: HashMap<String, VecDeque<Second>>,
    /// When those without grabs were last let go of.
    tidied: u64,
}

/// Grabs of one promotion that were answered within one second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Second {
    at: u64,
    /// A coupon was granted.
    pub(crate) granted: u32,
    /// The customer had it already.
    pub(crate) repeated: u32,
    /// Refused, such as sold out.
    pub(crate) refused: u32,
    /// Not decided, or nobody knows.
    pub(crate) failed: u32,
    latencies: [u32; CLASSES],
}

impl Default for Traffic {
    fn default() -> Self {
        Self { begun: Instant::now(), begun_ms: OnceLock::new(), sales: Mutex::default() }
    }
}

impl Traffic {
    /// Takes note of an answer and of how long it took.
    pub(crate) fn note(&self, promotion_id: &str, told: &Result<Answer, Failure>, took: Duration) {
        let class = class_of(took);
        let mut sales = self.sales.lock();
        // Within the lock: seconds come in order.
        let now = self.begun.elapsed().as_secs();
        if let Some(second) = sales.second(promotion_id, now, is_of_a_sale(told)) {
            second.note(told, class);
        }
    }

    /// Which second it is, and the seconds in which a promotion had grabs, the oldest first; all by the wall
    /// clock, of which `now_ms` is the time.
    pub(crate) fn of(&self, promotion_id: &str, now_ms: i64) -> (i64, Vec<(i64, Second)>) {
        let elapsed = self.begun.elapsed();
        let ms = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000);
        let elapsed_ms = i64::try_from(elapsed.as_millis()).unwrap_or_default();
        let begun_ms = *self.begun_ms.get_or_init(|| (now_ms - elapsed_ms) / 1_000 * 1_000);
        let (now, sales) = (elapsed.as_secs(), self.sales.lock());
        let seconds = sales.by_promotion.get(promotion_id).into_iter().flatten();
        let recent = seconds.filter(|second| is_recent(Some(second), now));
        let recent = recent.map(|second| (begun_ms + ms(second.at), second.clone()));
        (begun_ms + ms(now), recent.collect())
    }
}

impl Sales {
    /// The second that a grab of a promotion counts in; none where there is no room for another promotion, or
    /// the promotion is not `known` to exist.
    fn second(&mut self, promotion_id: &str, now: u64, known: bool) -> Option<&mut Second> {
        if !self.by_promotion.contains_key(promotion_id) {
            if self.by_promotion.len() >= PROMOTIONS && self.tidied != now {
                self.tidied = now;
                self.by_promotion.retain(|_, seconds| is_recent(seconds.back(), now));
            }
            if !known || self.by_promotion.len() >= PROMOTIONS {
                return None;
            }
            self.by_promotion.insert(promotion_id.to_owned(), VecDeque::new());
        }
        let seconds = self.by_promotion.get_mut(promotion_id)?;
        if seconds.back().is_none_or(|second| second.at != now) {
            seconds.push_back(Second { at: now, ..Second::default() });
        }
        while !is_recent(seconds.front(), now) {
            seconds.pop_front();
        }
        seconds.back_mut()
    }
}

/// Whether there is such a promotion, as far as an answer tells: ids that somebody invents take no room.
fn is_of_a_sale(told: &Result<Answer, Failure>) -> bool {
    match told.as_ref().map(|answer| &answer.outcome) {
        Ok(Some(answer::Outcome::Accepted(_))) => true,
        Ok(Some(answer::Outcome::Refused(refusal))) => *refusal != i32::from(Refusal::NotFound),
        Ok(None) | Err(_) => false,
    }
}

fn class_of(took: Duration) -> usize {
    let (mut class, mut below_ms) = (0, FIRST_MS);
    while took.as_secs_f64() * 1_000.0 > below_ms && class + 1 < CLASSES {
        (class, below_ms) = (class + 1, below_ms * WIDER);
    }
    class
}

fn is_recent(second: Option<&Second>, now: u64) -> bool {
    second.is_some_and(|second| second.at + SECONDS > now)
}

impl Second {
    fn note(&mut self, told: &Result<Answer, Failure>, class: usize) {
        let counter = match told.as_ref().map(|answer| &answer.outcome) {
            Ok(Some(answer::Outcome::Accepted(accepted))) if accepted.repeated => {
                &mut self.repeated
            }
            Ok(Some(answer::Outcome::Accepted(_))) => &mut self.granted,
            Ok(Some(answer::Outcome::Refused(_))) => &mut self.refused,
            Ok(None) | Err(_) => &mut self.failed,
        };
        *counter = counter.saturating_add(1);
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
    use seckill_proto::v1::Accepted;

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
        let (_, seconds) = traffic.of("p", 1_000_000);
        let sum =
            |of: fn(&Second) -> u32| seconds.iter().map(|(_, second)| of(second)).sum::<u32>();
        let counted = [
            sum(|second| second.granted),
            sum(|second| second.repeated),
            sum(|second| second.refused),
            sum(|second| second.failed),
        ];
        assert_eq!(counted, [1, 1, 1, 1]);
        assert_eq!(traffic.of("nobody", 1_000_500).1, []);
    }

    #[test]
    fn a_latency_is_told_to_half_as_much_again() {
        let mut second = Second::default();
        (1..=100).for_each(|ms| {
            second.note(&Err(Failure::Unknown), class_of(Duration::from_millis(ms)))
        });
        for (part, ms) in [(0.5, 50.0), (0.99, 99.0)] {
            let told = second.latency_ms(part);
            assert!((ms..ms * 1.5).contains(&told), "{part}: {told}");
        }
    }

    #[test]
    fn what_is_kept_has_a_bound_and_what_is_old_makes_room() {
        let mut sales = Sales::default();
        for number in 0..PROMOTIONS + 10 {
            let room = sales.second(&number.to_string(), 7, true).is_some();
            assert_eq!(room, number < PROMOTIONS);
        }
        assert!(sales.second("0", 7 + SECONDS - 1, true).is_some());
        assert!(sales.second("new", 7 + SECONDS, true).is_some());
        assert_eq!(sales.by_promotion.len(), 2, "all others are old");
        assert!(sales.second("invented", 7 + SECONDS, false).is_none());
    }

    #[test]
    fn invented_promotions_take_no_room() {
        let traffic = Traffic::default();
        let not_found = told(answer::Outcome::Refused(Refusal::NotFound.into()));
        for told in [not_found, Err(Failure::Unavailable)] {
            traffic.note("invented", &told, Duration::ZERO);
        }
        assert!(traffic.sales.lock().by_promotion.is_empty());
    }

    #[test]
    fn a_second_keeps_its_name() {
        let traffic = Traffic::default();
        let sold_out = told(answer::Outcome::Refused(Refusal::SoldOut.into()));
        traffic.note("p", &sold_out, Duration::ZERO);
        let names = [1_000_999, 1_001_001].map(|now_ms| traffic.of("p", now_ms).1[0].0);
        assert_eq!(names, [1_000_000; 2]);
    }
}
