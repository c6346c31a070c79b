//! What all nodes of a simulated cluster share: the time, chance, and the trace of what happened.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The wall clock when a run begins, in milliseconds since 1970.
const BEGINNING_MS: i64 = 1_790_000_000_000;

/// How bad it gets. Every number is a chance from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// That a record is lost on its way, or its answer, or that it comes twice.
    pub(crate) append: f64,
    /// That another call fails.
    pub(crate) call: f64,
    /// That a call takes long.
    pub(crate) slow: f64,
}

impl Weather {
    /// Nothing goes wrong.
    pub(crate) const CALM: Self = Self { append: 0.0, call: 0.0, slow: 0.0 };
}

pub(crate) struct World {
    random: Mutex<SmallRng>,
    weather: Mutex<Weather>,
    begun: Instant,
    trace: Mutex<Trace>,
    /// When clients did something last, in microseconds: no two things happen at the same time.
    ticks: Mutex<u64>,
    /// While it stands still, the broker answers nobody.
    pub(crate) broker_stands: Watched<bool>,
}

/// A value that is waited for. Those who wait go on in the order in which they began to, which they would
/// not with tokio's `watch`.
#[derive(Default)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Copy> Watched<T> {
    pub(crate) fn set(&self, value: T) {
        *self.value.lock() = value;
        self.changed.notify_waiters();
    }

    pub(crate) async fn wait_for(&self, is: impl Fn(T) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is(*self.value.lock()) {
                return;
            }
            changed.await;
        }
    }
}

/// What happened, and a hash of all of it.
#[derive(Default)]
struct Trace {
    hash: u64,
    lines: u64,
    kept: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(seed: u64, keep_trace: bool) -> Arc<Self> {
        Arc::new(Self {
            random: Mutex::new(SmallRng::seed_from_u64(seed)),
            weather: Mutex::new(Weather::CALM),
            begun: Instant::now(),
            trace: Mutex::new(Trace { kept: keep_trace.then(Vec::new), ..Trace::default() }),
            ticks: Mutex::default(),
            broker_stands: Watched::default(),
        })
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        *self.weather.lock() = weather;
    }

    pub(crate) fn weather(&self) -> Weather {
        *self.weather.lock()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// By a wall clock that is right, in milliseconds since 1970.
    pub(crate) fn wall_ms(&self) -> i64 {
        BEGINNING_MS + self.now_ms().cast_signed()
    }

    /// A number below `end`.
    pub(crate) fn below(&self, end: usize) -> usize {
        self.random.lock().random_range(0..end)
    }

    pub(crate) fn number(&self) -> u64 {
        self.random.lock().random()
    }

    pub(crate) fn chance(&self, probability: f64) -> bool {
        probability > 0.0 && self.random.lock().random_bool(probability)
    }

    pub(crate) fn ms(&self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.random.lock().random_range(from * 1_000..to * 1_000))
    }

    /// As long as something takes that goes over a network: as a rule little.
    pub(crate) async fn takes(&self) {
        let time = match self.weather().slow {
            slow if self.chance(slow / 20.0) => self.ms(1_000, 8_000),
            slow if self.chance(slow) => self.ms(20, 900),
            _ => self.ms(0, 4),
        };
        tokio::time::sleep(time).await;
    }

    /// The same of the broker, which may stand still.
    pub(crate) async fn broker_takes(&self) {
        self.takes().await;
        self.broker_stands.wait_for(|stands| !stands).await;
    }

    pub(crate) fn tick(&self) -> u64 {
        let now = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut ticks = self.ticks.lock();
        *ticks = now.max(*ticks + 1);
        *ticks
    }

    pub(crate) fn note(&self, what: std::fmt::Arguments<'_>) {
        let now = self.begun.elapsed();
        let mut trace = self.trace.lock();
        let mut line = String::new();
        let _ = write!(line, "{:>10.3} {what}", now.as_secs_f64() * 1_000.0);
        // FNV-1a: the same on every machine.
        for byte in line.bytes() {
            trace.hash = (trace.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        trace.lines += 1;
        trace.kept.iter_mut().for_each(|kept| kept.push(line.clone()));
    }

    /// How many things happened, and the hash of them.
    pub(crate) fn fingerprint(&self) -> (u64, u64) {
        let trace = self.trace.lock();
        (trace.lines, trace.hash)
    }

    pub(crate) fn take_trace(&self) -> Vec<String> {
        self.trace.lock().kept.take().unwrap_or_default()
    }
}
