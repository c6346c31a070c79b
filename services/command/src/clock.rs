//! The time by which a sale starts and ends: the wall clock as it was at the start, carried on by the
//! time since boot.
//!
//! A wall clock may be set at any moment. One that is corrected bit by bit is followed, by at most
//! 5 ms a second. One that jumps is not: the time goes on as it was, so a jump opens and finishes
//! nothing, and [`Clock::lead_ms`] says how far apart the two are. A restart takes the wall clock as
//! it then is, unless a second clock says that it is wrong: [`Clock::hold_to`].

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

/// A wall clock that is further away than this has jumped, in milliseconds.
pub const JUMP_MS: i64 = 2_000;
/// How often the wall clock is followed, and by how much at most, in milliseconds.
const FOLLOW_EVERY_MS: i64 = 1_000;
const FOLLOWED_MS: i64 = 5;

type Wall = dyn Fn() -> i64 + Send + Sync;
type SinceBoot = dyn Fn() -> u64 + Send + Sync;

/// A clock that never jumps and never goes back. Copies share the time.
#[derive(Clone)]
pub struct Clock {
    wall: Arc<Wall>,
    since_boot: Arc<SinceBoot>,
    state: Arc<Mutex<State>>,
}

/// The time at the moment when the wall clock was last followed.
#[derive(Debug, Clone, Copy)]
struct State {
    base_ms: i64,
    base_since_boot_ms: u64,
    /// How far the wall clock was ahead when last read.
    lead_ms: i64,
    /// The last time given.
    last_ms: i64,
}

impl Clock {
    /// The clock of this machine. Its time goes on while the machine sleeps.
    #[must_use]
    pub fn system() -> Self {
        Self::new(wall_ms, since_boot_ms)
    }

    /// A clock of two sources, in milliseconds: since 1970, which may jump, and since any moment,
    /// which may not.
    pub fn new(
        wall: impl Fn() -> i64 + Send + Sync + 'static,
        since_boot: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let now_ms = wall();
        let state = State {
            base_ms: now_ms,
            base_since_boot_ms: since_boot(),
            lead_ms: 0,
            last_ms: now_ms,
        };
        Self {
            wall: Arc::new(wall),
            since_boot: Arc::new(since_boot),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The time now, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.state.lock().read((self.wall)(), (self.since_boot)())
    }

    /// Takes the time of another clock, such as the broker's, where the wall clock is further from it
    /// than a jump. For the start: afterwards time may not go back.
    pub fn hold_to(&self, other_ms: i64) {
        let now_ms = self.now_ms();
        if now_ms.abs_diff(other_ms) <= JUMP_MS.unsigned_abs() {
            return;
        }
        let ahead_s = (now_ms - other_ms) / 1_000;
        tracing::error!(ahead_s, "the wall clock differs from the log's: the log's time is used");
        let base_since_boot_ms = (self.since_boot)();
        let lead_ms = now_ms - other_ms;
        *self.state.lock() =
            State { base_ms: other_ms, base_since_boot_ms, lead_ms, last_ms: other_ms };
    }

    /// Milliseconds of a clock that cannot be set: for measuring how old something is.
    #[must_use]
    pub fn since_boot_ms(&self) -> u64 {
        (self.since_boot)()
    }

    /// How far the wall clock is ahead of this one, in milliseconds; behind it where negative.
    #[must_use]
    pub fn lead_ms(&self) -> i64 {
        let mut state = self.state.lock();
        state.read((self.wall)(), (self.since_boot)());
        state.lead_ms
    }
}

impl State {
    fn read(&mut self, wall_ms: i64, since_boot_ms: u64) -> i64 {
        let passed = since_boot_ms.saturating_sub(self.base_since_boot_ms);
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        let mut now_ms = self.base_ms.saturating_add(passed);
        self.lead_ms = wall_ms.saturating_sub(now_ms);
        if passed >= FOLLOW_EVERY_MS {
            let most = passed / FOLLOW_EVERY_MS * FOLLOWED_MS;
            let followed = if self.has_jumped() { 0 } else { self.lead_ms.clamp(-most, most) };
            now_ms += followed;
            self.lead_ms -= followed;
            (self.base_ms, self.base_since_boot_ms) = (now_ms, since_boot_ms);
        }
        // Two clocks that are read one after the other, in whole milliseconds, differ by a little.
        let same = self.lead_ms.unsigned_abs() <= FOLLOWED_MS.unsigned_abs();
        self.last_ms = self.last_ms.max(if same { wall_ms } else { now_ms });
        self.last_ms
    }

    fn has_jumped(&self) -> bool {
        self.lead_ms.unsigned_abs() > JUMP_MS.unsigned_abs()
    }
}

fn wall_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

fn since_boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds * 1_000 + nanos / 1_000_000
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use super::*;

    const START_MS: i64 = 1_700_000_000_000;
    const YEAR_MS: i64 = 365 * 24 * 3_600_000;

    /// A clock whose two sources a test sets.
    struct Sources {
        wall: Arc<AtomicI64>,
        boot: Arc<AtomicU64>,
        clock: Clock,
    }

    impl Sources {
        fn new() -> Self {
            let (wall, boot) = (Arc::new(AtomicI64::new(START_MS)), Arc::new(AtomicU64::new(77)));
            let (w, b) = (Arc::clone(&wall), Arc::clone(&boot));
            let clock =
                Clock::new(move || w.load(Ordering::Relaxed), move || b.load(Ordering::Relaxed));
            Self { wall, boot, clock }
        }

        /// Lets time pass, and the wall clock run by so much more.
        fn pass(&self, ms: u64, wall_more_ms: i64) -> i64 {
            self.boot.fetch_add(ms, Ordering::Relaxed);
            self.wall.fetch_add(ms.cast_signed() + wall_more_ms, Ordering::Relaxed);
            self.clock.now_ms() - START_MS
        }
    }

    #[test]
    fn time_passes_as_it_does() {
        let sources = Sources::new();
        assert_eq!(sources.pass(0, 0), 0);
        assert_eq!(sources.pass(7, 0), 7);
        assert_eq!(sources.pass(10_000, 0), 10_007);
        assert_eq!(sources.clock.lead_ms(), 0);
    }

    #[test]
    fn a_jump_moves_nothing_and_is_told() {
        let sources = Sources::new();
        sources.pass(5_000, 0);
        assert_eq!(sources.pass(1_500, YEAR_MS), 6_500);
        assert_eq!(sources.clock.lead_ms(), YEAR_MS);
        assert_eq!(sources.pass(3_600_000, 0), 3_606_500, "however long it stays");
        assert_eq!(sources.pass(1_000, -YEAR_MS), 3_607_500, "and back");
        assert_eq!(sources.clock.lead_ms(), 0);
        assert_eq!(sources.pass(1_000, -2 * YEAR_MS), 3_608_500, "nor the other way");
    }

    #[test]
    fn a_small_correction_is_followed_slowly_and_never_backwards() {
        let sources = Sources::new();
        sources.pass(1_000, 1_500);
        let mut before = sources.pass(0, 0);
        for _ in 0..400 {
            let now = sources.pass(1_000, 0);
            assert!((1_000..=1_010).contains(&(now - before)), "{now} after {before}");
            before = now;
        }
        assert_eq!(sources.clock.lead_ms(), 0);
        sources.pass(0, -1_000);
        for _ in 0..400 {
            let now = sources.pass(500, 0);
            assert!((490..=500).contains(&(now - before)), "{now} after {before}");
            before = now;
        }
        assert_eq!(sources.clock.lead_ms(), 0);
    }

    #[test]
    fn a_second_clock_wins_over_a_wall_clock_that_is_wrong_at_the_start() {
        let sources = Sources::new();
        sources.clock.hold_to(START_MS + 1_500);
        assert_eq!(sources.pass(0, 0), 0, "they agree");
        sources.clock.hold_to(START_MS - YEAR_MS);
        assert_eq!(sources.pass(2_000, 0), 2_000 - YEAR_MS);
        assert_eq!(sources.clock.lead_ms(), YEAR_MS);
        assert_eq!(sources.pass(1_000, -YEAR_MS), 3_000 - YEAR_MS, "and it is set right");
        assert_eq!(sources.clock.lead_ms(), 0);
    }

    #[test]
    fn the_machine_has_both_sources() {
        let clock = Clock::system();
        let (before, boot) = (clock.now_ms(), clock.since_boot_ms());
        assert!(before > START_MS && boot > 0);
        assert!(clock.now_ms() >= before && clock.since_boot_ms() >= boot);
    }
}
