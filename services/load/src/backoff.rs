//! How long to wait before the same request again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// Doubles from 10 ms to 1 s, spread at random so that a crowd does not return all at once.
///
/// What the server asked for (`Retry-After`) goes before that, and is spread over a quarter more.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { next: FIRST }
    }

    pub(crate) fn pause(&mut self, retry_after: Option<Duration>) -> Duration {
        let grown = self.next;
        self.next = (grown * 2).min(LONGEST);
        match retry_after {
            Some(asked) if !asked.is_zero() => asked.mul_f64(rand::random_range(1.0..1.25)),
            _ => grown.mul_f64(rand::random_range(0.5..1.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let mut backoff = Backoff::new();
        assert!((5..10).contains(&backoff.pause(None).as_millis()));
        for _ in 0..20 {
            backoff.pause(None);
        }
        assert!((500..1_000).contains(&backoff.pause(None).as_millis()));
    }

    #[test]
    fn what_the_server_asked_for_is_kept() {
        let pause = Backoff::new().pause(Some(Duration::from_secs(2)));
        assert!((2_000..2_500).contains(&pause.as_millis()));
    }
}
